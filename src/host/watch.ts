import { watch } from 'node:fs';
import { isErrno } from './error.ts';

export interface DirectoryWatch {
  close(): void;
}

/** Milliseconds between two looks where the kernel tells nothing. */
const pause = 250;

/**
 * Calls `changed` with the name of what has changed in a directory. Where all inotify instances or watches of the user are
 * in use, which are 128 by default, it is called again and again, with null for what may have changed.
 *
 * @throws what fs.watch throws but EMFILE and ENOSPC
 */
export function watchDirectory(path: string, changed: (file: string | null) => void): DirectoryWatch {
  try {
    return watch(path, (_event, file) => changed(file));
  } catch (error) {
    if (!isErrno(error, 'EMFILE', 'ENOSPC')) throw error;
    const timer = setInterval(() => changed(null), pause);
    return { close: () => clearInterval(timer) };
  }
}
