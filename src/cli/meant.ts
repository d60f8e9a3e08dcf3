import { nearest } from '../host/nearest.ts';

/** Words of podman, docker, kubectl, incus and machinectl, and spawnlet's own for the same. */
const synonyms: Readonly<Record<string, readonly string[]>> = {
  list: ['ls', 'status'],
  ls: ['status'],
  ps: ['ls'],
  delete: ['rm', 'down'],
  remove: ['rm', 'down'],
  terminate: ['kill'],
  reboot: ['restart'],
  poweroff: ['stop', 'down'],
  start: ['up'],
  stop: ['down'],
  launch: ['create'],
  create: ['apply', 'prepare', 'up'],
  run: ['apply', 'create'],
  info: ['status', 'inspect', 'describe'],
  inspect: ['status', 'get'],
  show: ['status', 'inspect'],
  copy: ['cp', 'clone'],
  file: ['cp'],
  log: ['logs'],
  console: ['login'],
  config: ['set'],
  uninstall: ['rm'],
};

/**
 * The command that was meant by words that name none; undefined if none is close.
 *
 * @param words as they were typed: `machine list`, `pods`, `rnu`
 * @param known names of commands
 */
export function meantCommand(
  [first = '', second]: readonly string[],
  known: readonly string[],
): string | undefined {
  const firsts = [...new Set(known.map(name => name.split(' ')[0] ?? ''))];
  const below = (room: string) =>
    known.flatMap(name => (name.startsWith(`${room} `) ? name.slice(room.length + 1) : []));
  const isRoom = (name: string) => below(name).length > 0;
  const wordOf = (word: string, words: readonly string[]) =>
    words.find(each => each === word) ??
    synonyms[word]?.find(each => words.includes(each)) ??
    nearest(word, words);
  const plural = isRoom(first.replace(/s$/, '')) ? first.replace(/s$/, '') : undefined;
  const room = isRoom(first) ? first : plural;
  if (room !== undefined && second !== undefined && !second.startsWith('-')) {
    const found = wordOf(second, below(room));
    return found && `${room} ${found}`;
  }
  if (plural !== undefined && plural !== first)
    return `${plural} ${wordOf('ls', below(plural)) ?? ''}`.trim();
  const one = wordOf(first, firsts);
  if (one === undefined || !isRoom(one) || known.includes(one)) return one;
  const found = second === undefined ? undefined : wordOf(second, below(one));
  return found === undefined ? one : `${one} ${found}`;
}
