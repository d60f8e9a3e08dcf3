import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { SpawnletError } from '../host/error.ts';
import { pathOf } from '../host/handle.ts';
import { walk } from '../host/walk.ts';

/** Bytes of a file that are read at most: an image's `/etc/passwd` may not be larger either. */
const sizeMax = 16 * 1024 * 1024;

/**
 * Reads a file of a container that runs, as its processes see it. They may put there what they like, and change it meanwhile:
 * links lead nowhere outside of the root, and nothing but a plain file is opened.
 *
 * @param root the container's root, such as `/proc/PID/root`
 * @returns undefined if there is no such file
 * @throws ERR_GUEST_PATH for what is no plain file, or has more than 16 MiB
 */
export function readInside(root: string, path: string): Buffer | undefined {
  const blocked = (why: string) =>
    new SpawnletError('ERR_GUEST_PATH', `${path} of the container cannot be read: ${why}`, {
      hint: 'name UID:GID',
    });
  const top = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    using spot = walk(top, path, { last: 'follow', outside: 'root', blocked });
    if (spot?.found === undefined) return undefined;
    if (!fstatSync(spot.found).isFile()) throw blocked('it is no plain file');
    const file = openSync(pathOf(spot.found), constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (fstatSync(file).size > sizeMax) throw blocked('it is too large');
      const bytes = Buffer.alloc(fstatSync(file).size);
      return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0));
    } finally {
      closeSync(file);
    }
  } finally {
    closeSync(top);
  }
}
