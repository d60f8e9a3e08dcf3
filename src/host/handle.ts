import { constants, openSync, readFileSync, readlinkSync } from 'node:fs';
import { isErrno } from './error.ts';

/**
 * Entries of directories that are held open. A name is looked up in a directory's handle and not by a path, so that it is
 * found in that very directory, whatever somebody makes of the path meanwhile. Names are bytes (latin1).
 */

/** O_PATH: a handle to whatever is there, which opens nothing. The number is that of x86 and arm64. */
export const pathOnly = 0o10000000;

/** What this process calls a handle of its own: /proc has a link, which the kernel follows to what is held, by no name. */
export const pathOf = (handle: number): string => `/proc/self/fd/${handle}`;

/** What a child calls a handle that it has been given as its descriptor 3. */
export const handlePath = '/proc/self/fd/3';

/** The same of handles that it has been given as 3, 4 and so on. */
export const handlePaths = (handles: readonly number[]): string[] =>
  handles.map((_handle, index) => pathOf(3 + index));

/** A name in an open directory. */
export const at = (directory: number, name: string): Buffer =>
  Buffer.from(`${pathOf(directory)}/${name}`, 'latin1');

/** A handle of what a directory has under a name, links not followed; undefined if nothing is there. */
export function enter(directory: number, name: string): number | undefined {
  try {
    return openSync(at(directory, name), pathOnly | constants.O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENAMETOOLONG', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/** A handle of a directory to be read; undefined for what is none. */
export function openDirectory(directory: number, name: string): number | undefined {
  try {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    return openSync(at(directory, name), flags);
  } catch (error) {
    if (isErrno(error, 'ENOTDIR', 'ELOOP', 'ENOENT')) return undefined;
    throw error;
  }
}

/** Which mount an open file is on, by the kernel's number: a directory that is bound elsewhere has the same device. */
export function mountOf(handle: number): string {
  const info = readFileSync(`/proc/self/fdinfo/${handle}`, 'latin1');
  return /^mnt_id:\s*(\d+)$/m.exec(info)?.[1] ?? '';
}

/** Where an open file is now, for people: its path at this moment. */
export const placeOf = (handle: number): string => readlinkSync(pathOf(handle));
