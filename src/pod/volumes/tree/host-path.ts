/** What Kubernetes wants of a path of the host before it is given to a container. */
import { closeSync, mkdirSync, openSync, type Stats, statSync } from 'node:fs';
import { isErrno, messageOf, SpawnletError } from '../../../host/error.ts';
import type { CheckHostPath } from '../step.ts';

type Kind = 'directory' | 'file' | 'socket' | 'character device' | 'block device';

/** What a path must be, and whether it is made if nothing is there. */
interface Wanted {
  readonly kind: Kind | 'anything';
  readonly made: 'directory' | 'file' | undefined;
}

/** By Kubernetes' words. A path of which nothing is said is made a directory, as container runtimes do it. */
const types: Readonly<Record<string, Wanted>> = {
  '': { kind: 'anything', made: 'directory' },
  DirectoryOrCreate: { kind: 'directory', made: 'directory' },
  Directory: { kind: 'directory', made: undefined },
  FileOrCreate: { kind: 'file', made: 'file' },
  File: { kind: 'file', made: undefined },
  Socket: { kind: 'socket', made: undefined },
  CharDevice: { kind: 'character device', made: undefined },
  BlockDevice: { kind: 'block device', made: undefined },
};

/** Kubernetes' modes of what is made. */
const modes = { directory: 0o755, file: 0o644 };

function wantedOf({ type }: CheckHostPath): Wanted {
  const wanted = types[type];
  if (wanted) return wanted;
  throw new Error(`${JSON.stringify(type)} is no type of a hostPath, and was not refused`);
}

/** Whether a path is already what it must be. Links are followed: the host's paths are its administrator's. */
export function isAsWanted(step: CheckHostPath): boolean {
  const { kind } = wantedOf(step);
  const stat = statSync(step.path, { throwIfNoEntry: false });
  return stat !== undefined && (kind === 'anything' || kindOf(stat) === kind);
}

/** @throws ERR_HOST_PATH if it is something else, or is missing and not to be made. */
export function makeHostPath(step: CheckHostPath): void {
  const { path, volume } = step;
  const { kind, made } = wantedOf(step);
  if (isAsWanted(step)) return;
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat) throw refused(volume, `${path} is ${withArticle(kindOf(stat))}, no ${kind}`);
  if (made === undefined) throw refused(volume, `${path} is no ${kind}: nothing is there`);
  try {
    if (made === 'directory') mkdirSync(path, { recursive: true, mode: modes.directory });
    else closeSync(openSync(path, 'wx', modes.file));
  } catch (error) {
    if (isErrno(error, 'EEXIST') && isAsWanted(step)) return;
    throw refused(volume, `${path} cannot be made: ${messageOf(error)}`, error);
  }
}

function kindOf(stat: Stats): Kind | 'FIFO' {
  if (stat.isDirectory()) return 'directory';
  if (stat.isFile()) return 'file';
  if (stat.isSocket()) return 'socket';
  if (stat.isCharacterDevice()) return 'character device';
  return stat.isBlockDevice() ? 'block device' : 'FIFO';
}

const withArticle = (kind: string) => `a ${kind}`;

const refused = (volume: string, why: string, cause?: unknown) =>
  new SpawnletError('ERR_HOST_PATH', `volume "${volume}": hostPath type check failed: ${why}`, {
    cause,
    hint: 'correct the path or its type, or make it on this host',
  });
