import { closeSync, readdirSync, renameSync, rmdirSync, unlinkSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { isErrno, SpawnletError } from './error.ts';
import { at, mountOf, openDirectory, pathOf, placeOf } from './handle.ts';
import { temporaryName } from './process.ts';

/** What was put into a directory while it was emptied is removed in another go; who keeps on is told. */
const goes = 10;

/** Directories below each other that are held open at once. What lies deeper is moved to the top, and removed from there. */
const deepest = 64;

/** Entries that are removed before others in this process have their turn. */
const breath = 256;

interface Removal {
  /** The mount that all of it is on. */
  readonly mount: string;
  readonly signal: AbortSignal | undefined;
  /** The first directory, while it is emptied. */
  top: number;
  count: number;
  /** Directories that have been moved to the top. */
  moved: number;
}

/**
 * Removes what an open directory has under a name, with all that is in it; nothing there is fine. Directories on the way are
 * held open: a link in the place of one leads nowhere. No mount is entered, also not that of a directory of the same
 * file system: `ERR_MOUNTED`. Others in this process have their turn meanwhile.
 */
export async function removeEntry(directory: number, name: string, signal?: AbortSignal): Promise<void> {
  const removal: Removal = { mount: mountOf(directory), signal, top: directory, count: 0, moved: 0 };
  await remove(directory, name, 0, removal);
}

async function remove(directory: number, name: string, depth: number, removal: Removal): Promise<void> {
  for (let go = 1; ; go++) {
    const { moved } = removal;
    const inside = openDirectory(directory, name);
    try {
      if (inside === undefined) unlinkSync(at(directory, name));
      else if (await isEmptied(inside, depth, removal)) rmdirSync(at(directory, name));
      else {
        renameSync(at(directory, name), at(removal.top, temporaryName()));
        removal.moved++;
      }
      return;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      if (isErrno(error, 'EBUSY')) throw mounted(`${placeOf(directory)}/${textOf(name)}`, error);
      // Another kind of entry has come into its place, or more into the directory.
      if (!isErrno(error, 'ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'EISDIR')) throw error;
      if (depth === 0 && removal.moved > moved) go--;
      else if (go === goes) throw error;
    } finally {
      if (inside !== undefined) closeSync(inside);
    }
  }
}

/** Empties a directory; false if there is something in it, which lies too deep. */
async function isEmptied(inside: number, depth: number, removal: Removal): Promise<boolean> {
  if (mountOf(inside) !== removal.mount) throw mounted(placeOf(inside));
  if (depth === 0) removal.top = inside;
  const names = readdirSync(pathOf(inside), 'latin1');
  if (depth === deepest) return names.length === 0;
  for (const name of names) {
    if (++removal.count % breath === 0) await setImmediate();
    removal.signal?.throwIfAborted();
    await remove(inside, name, depth + 1, removal);
  }
  return true;
}

const textOf = (name: string) => Buffer.from(name, 'latin1').toString();

const mounted = (point: string, cause?: unknown) =>
  new SpawnletError('ERR_MOUNTED', `something is mounted at ${point}, so it is not removed`, {
    cause,
    hint: `umount '${point}'`,
  });
