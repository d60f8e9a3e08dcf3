import { nearest } from '../host/nearest.ts';

/** Words of docker's and podman's that people will try, and what serves. */
export const elsewhere: Readonly<Record<string, string>> = {
  images: 'spawnlet image ls',
  pull: 'spawnlet image pull',
  rmi: 'spawnlet image rm',
  create: 'spawnlet run: a container is made and started at once',
  restart: 'systemctl restart NAME',
  rename: 'spawnlet rm NAME, then run it under another --name',
  pause: 'systemctl freeze NAME',
  unpause: 'systemctl thaw NAME',
  top: 'systemd-cgtop, or systemctl status NAME',
  stats: 'systemd-cgtop',
  events: 'journalctl -u NAME',
  port: 'spawnlet ps shows published ports',
  info: 'spawnlet doctor',
  system: 'spawnlet image prune',
  update: 'systemctl set-property NAME MemoryMax=…',
  container: 'leave the word out: spawnlet ps, spawnlet rm',
  volume: 'spawnlet run -v /PATH for a directory of the container’s own, -v SRC:DST for one of the host',
  cp: 'not there yet: bind a directory with -v',
  build: 'spawnlet builds no images: spawnlet image pull oci-archive:FILE takes what others build',
  tag: 'spawnlet gives images no other names',
  push: 'spawnlet pushes no images',
  login: 'podman login, docker login, or an auth.json: see docs/run.md',
};

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
