import { closeSync, constants, fstatSync, openSync, realpathSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { loadLibc } from '../host/libc.ts';

/** Of fcntl(2): a lock of an open file description, which goes with the last handle of it, so with this process at the latest. */
const setOpenFileLock = 37;
const writing = 1;

/** `struct flock` of 64-bit machines; all but the kind of the lock is zero: the whole file. */
function wholeFile(kind: number): Buffer {
  const lock = Buffer.alloc(32);
  lock.writeInt16LE(kind, 0);
  return lock;
}

/**
 * Takes the lock that systemd-nspawn has on a tree while a machine runs in it, as `machinectl clone` and `rename` do: `.#NAME.lck`
 * beside it. Whoever starts the machine until it is disposed of, by whatever means, is told that the tree is busy.
 *
 * @param path of the tree; links are followed, as systemd-nspawn does
 * @returns undefined if somebody else has it
 */
export async function lockTree(path: string): Promise<Disposable | undefined> {
  const libc = await loadLibc();
  const fcntl = libc.func('int fcntl(int, int, ...)');
  const real = realpathSync(path);
  const name = join(dirname(real), `.#${basename(real)}.lck`);
  for (;;) {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NOCTTY;
    const file = openSync(name, flags, 0o600);
    if (fcntl(file, setOpenFileLock, 'void *', wholeFile(writing)) < 0) {
      const code = getSystemErrorName(-libc.errno());
      closeSync(file);
      if (code === 'EAGAIN' || code === 'EACCES') return undefined;
      throw Object.assign(new Error(`${code}: fcntl of ${name}`), { code });
    }
    // Who had it before may have removed the file since it was opened.
    if (fstatSync(file).nlink > 0)
      return {
        [Symbol.dispose]() {
          rmSync(name, { force: true });
          closeSync(file);
        },
      };
    closeSync(file);
  }
}
