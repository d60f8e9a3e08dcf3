import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Host } from '../../host/host.ts';
import type { Executors } from '../../host/step.ts';
import { podsDirectory } from '../../names.ts';
import { directoryOf } from '../unit/names.ts';

/**
 * Places on the host that programs of the host have volumes at. What is not there is made, since a program sees the host's own
 * directories: empty, and gone with the last pod that has something at it. A directory in which another pod has a mount would take
 * that mount with it, so each pod notes what it needs before it is made.
 */
export type MountPointStep =
  | {
      readonly do: 'make-mount-points';
      readonly uid: string;
      readonly mounts: readonly { readonly source: string; readonly target: string }[];
    }
  | { readonly do: 'remove-mount-points'; readonly uid: string };

/** What a program has of its own there is nothing of the host's. */
const ownDirectories = ['/run', '/var/run', '/tmp', '/var/tmp', '/home', '/root', '/proc', '/sys'];

const isBelow = (path: string, directory: string) => path === directory || path.startsWith(`${directory}/`);

const noteOf = (uid: string) => `${directoryOf(uid)}/mount-points`;

export function mountPointExecutors({
  files,
  locks,
}: Pick<Host, 'files' | 'locks'>): Executors<MountPointStep> {
  const notedBy = async (uid: string): Promise<string[]> =>
    ((await files.read(noteOf(uid))) ?? '')
      .split('\n')
      .flatMap(line => (line ? (JSON.parse(line) as string) : []));
  const notedByOthers = async (uid: string): Promise<Set<string>> => {
    const others = (await files.list(podsDirectory)).filter(each => each !== uid);
    return new Set((await Promise.all(others.map(notedBy))).flat());
  };

  /** Paths of a place that are not there, or are of a pod, the highest first; none if a link is on the way. */
  async function missingIn(target: string, others: ReadonlySet<string>): Promise<string[]> {
    const missing: string[] = [];
    for (let path = target; path !== '/'; path = dirname(path)) {
      const entry = await files.look(path);
      if (entry?.kind === 'link') return [];
      if (entry === undefined || others.has(path)) missing.unshift(path);
    }
    return missing;
  }

  async function make(uid: string, source: string, target: string): Promise<void> {
    const others = await notedByOthers(uid);
    const own = await notedBy(uid);
    for (const path of await missingIn(target, others)) {
      if (!own.includes(path)) await files.append(noteOf(uid), `${JSON.stringify(path)}\n`, 0o600);
      if ((await files.look(path)) !== undefined) continue;
      const isFile = path === target && !(await stat(source)).isDirectory();
      if (isFile) await files.append(path, '', 0o644);
      else await files.makeDirectory(path, 0o755);
    }
  }

  return {
    'make-mount-points': {
      describe: ({ mounts }) => `make mount points ${mounts.map(({ target }) => target).join(', ')}`,
      satisfied: async ({ mounts }) => mounts.length === 0,
      async apply({ uid, mounts }, signal) {
        await using _lock = await locks.wait('mount-points', signal);
        for (const { source, target } of mounts) {
          const path = join(target).replace(/\/+$/, '');
          // What lies in another of its volumes is that volume's.
          const isInside = mounts.some(each => each.target !== target && isBelow(path, each.target));
          if (!isInside && !ownDirectories.some(own => isBelow(path, own))) await make(uid, source, path);
        }
      },
    },
    'remove-mount-points': {
      describe: ({ uid }) => `remove mount points of pod ${uid}`,
      satisfied: async ({ uid }) => (await files.look(noteOf(uid))) === undefined,
      async apply({ uid }, signal) {
        await using _lock = await locks.wait('mount-points', signal);
        const others = await notedByOthers(uid);
        for (const path of (await notedBy(uid)).toSorted().toReversed()) {
          if (others.has(path)) continue;
          const entry = await files.look(path);
          if (entry?.kind === 'directory') await files.removeEmpty(path);
          else if (entry?.kind === 'file' && entry.size === 0) await files.remove(path);
        }
        await files.remove(noteOf(uid));
      },
    },
  };
}
