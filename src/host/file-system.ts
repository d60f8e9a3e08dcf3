import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isErrno } from './error.ts';

/** OVERLAYFS_SUPER_MAGIC of linux/magic.h. */
const overlay = 0x794c7630;

/** A path, or where it is not there the nearest directory above it that is: what it will be on when it has been made. */
export async function nearest(path: string): Promise<string> {
  try {
    await statfs(path);
    return path;
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
    return nearest(dirname(path));
  }
}

/**
 * Whether a path is on an overlay, or will be when it has been made. Nothing else of an overlay's upper directory is known
 * beforehand: the kernel takes no directory of another overlay.
 */
export async function isOnOverlay(path: string): Promise<boolean> {
  return (await statfs(await nearest(path))).type === overlay;
}
