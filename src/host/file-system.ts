import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isErrno } from './error.ts';

/** OVERLAYFS_SUPER_MAGIC of linux/magic.h. */
const overlay = 0x794c7630;

/**
 * Whether a path is on an overlay, or will be when it has been made. Nothing else of an overlay's upper directory is known
 * beforehand: the kernel takes no directory of another overlay.
 */
export async function isOnOverlay(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === overlay;
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
    return isOnOverlay(dirname(path));
  }
}
