import { basename, join } from 'node:path';
import type { ChildResult } from '../host/child.ts';
import { copyPiped, fileWords, treeWords } from '../host/copying.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { enterArgv } from './enter.ts';

/** A path in a lab, or on the host if `lab` is null. */
export interface Place {
  readonly lab: string | null;
  readonly path: string;
}

/** `NAME:/path` or a path of the host; a colon behind a slash belongs to the path, as docker has it. */
export function parsePlace(text: string): Place {
  const [, lab, path] = /^([a-z0-9][a-z0-9-]*):(.+)$/s.exec(text) ?? [];
  if (lab === undefined || path === undefined) return { lab: null, path: text };
  return { lab, path: path.startsWith('/') ? path : `/root/${path}` };
}

type Kind = 'directory' | 'other' | 'nothing';

/**
 * Copies a file or a tree, as `docker cp` does: into a directory that is there under its own name, else as the name
 * given; `SRC/.` means what is in SRC. Modes are kept, owners are those who run at the target.
 */
export async function copy(host: Host, from: Place, to: Place, signal: AbortSignal): Promise<void> {
  const argvAt = async (place: Place, argv: readonly string[]) =>
    place.lab === null ? [...argv] : enterArgv(host, place.lab, argv);
  const run = async (place: Place, argv: readonly string[]): Promise<ChildResult> =>
    host.children.capture(await argvAt(place, argv), { signal });
  const kindOf = async (place: Place): Promise<Kind> => {
    const { code } = await run(place, [
      'sh',
      '-c',
      '[ -d "$1" ] && exit 1; [ -e "$1" ] && exit 2; exit 3',
      'sh',
      place.path,
    ]);
    return code === 1 ? 'directory' : code === 2 ? 'other' : 'nothing';
  };

  const [source, target] = await Promise.all([kindOf(from), kindOf(to)]);
  const shown = ({ lab, path }: Place) => (lab === null ? path : `${lab}:${path}`);
  if (source === 'nothing') throw new SpawnletError('ERR_LAB_COPY', `there is no ${shown(from)}`);
  if (source === 'directory' && target === 'other')
    throw new SpawnletError('ERR_LAB_COPY', `${shown(from)} is a directory, and ${shown(to)} is a file`);
  if (source === 'other' && target === 'nothing' && to.path.endsWith('/'))
    throw new SpawnletError('ERR_LAB_COPY', `there is no directory ${shown(to)}`);
  const contents = source === 'directory' && /(?:^|\/)\.$/.test(from.path);

  const inside = target === 'directory' && !contents;
  const path = inside ? join(to.path, basename(from.path)) : to.path;
  const place = to.lab !== null ? 'container' : inside ? 'host-inside' : 'host';
  const words =
    source === 'directory'
      ? treeWords(from.path, path, place)
      : fileWords(from.path, path, await modeOf(from), place);
  const [produce, consume] = await Promise.all([argvAt(from, words.produce), argvAt(to, words.consume)]);
  const failure = await copyPiped(host.children, { produce, consume }, signal);
  if (failure !== undefined)
    throw new SpawnletError('ERR_LAB_COPY', `copying ${shown(from)} to ${shown(to)} failed: ${failure}`);

  async function modeOf(place: Place): Promise<string> {
    return (await run(place, ['stat', '--dereference', '--format=%a', '--', place.path])).stdout
      .toString()
      .trim();
  }
}
