import { closeSync, openSync } from 'node:fs';
import { isErrno, SpawnletError } from '../host/error.ts';
import { loadLibc } from '../host/libc.ts';

/** CLONE_NEWNET of sched.h. */
const networkNamespace = 0x40000000;

/**
 * Has every socket that this process makes from now on in another network namespace, for good. Sockets that it has stay where
 * they are, so that what listens here can lead there. It is the first thread that goes, which makes all sockets of node:net; names are
 * looked up by other threads.
 *
 * @param path of the namespace, as a file
 * @throws ERR_NETNS
 */
export async function enterNetns(path: string): Promise<void> {
  const libc = await loadLibc();
  const setns = libc.func('int setns(int, int)');
  let handle: number;
  try {
    handle = openSync(path, 'r');
  } catch (cause) {
    if (!isErrno(cause, 'ENOENT')) throw cause;
    throw new SpawnletError('ERR_NETNS', `there is no network namespace ${path}`, { cause });
  }
  try {
    if (setns(handle, networkNamespace) === 0) return;
    throw new SpawnletError('ERR_NETNS', `${path} cannot be entered: error ${libc.errno()}`);
  } finally {
    closeSync(handle);
  }
}
