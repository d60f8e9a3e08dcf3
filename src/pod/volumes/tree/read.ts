/** A file that a container has left in a volume, for variables that come from one. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { isErrno } from '../../../host/error.ts';
import { pathOf, pathOnly } from '../../../host/handle.ts';
import { walk } from '../../../host/walk.ts';

/** Kubernetes reads no more of such a file. */
const maxBytes = 64 * 1024;

/**
 * The text of a regular file in a directory; undefined if there is none, if it is larger than 64 KiB, or if a link leads out
 * of the directory.
 */
export function textInVolume(directory: string, path: string): string | undefined {
  let root: number;
  try {
    root = openSync(directory, pathOnly);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
  try {
    const blocked = () => new LedAway();
    using spot = walk(root, path, { last: 'follow', outside: 'refused', blocked });
    return spot?.found === undefined ? undefined : textOf(spot.found);
  } catch (error) {
    if (error instanceof LedAway) return undefined;
    throw error;
  } finally {
    closeSync(root);
  }
}

class LedAway extends Error {}

function textOf(found: number): string | undefined {
  const stat = fstatSync(found);
  if (!stat.isFile() || stat.size > maxBytes) return undefined;
  const file = openSync(pathOf(found), constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.alloc(stat.size);
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0)).toString();
  } finally {
    closeSync(file);
  }
}
