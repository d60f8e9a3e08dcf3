import { closeSync, constants, openSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { type Children, ended } from './child.ts';
import { isErrno, SpawnletError } from './error.ts';
import { handlePaths, mountOf, pathOnly } from './handle.ts';
import { type MountPoint, mountsBelow } from './mounts.ts';

/** Mounts that are unmounted by one child. */
const atOnce = 64;

/**
 * Unmounts whatever is mounted at a path and below it, the last one first; nothing there is fine. A mount is held and told by
 * the kernel's number, so that none goes but those that were found, whatever becomes of the paths that lead to them. One that
 * is in use is taken out of sight at once, and goes when its last user does.
 * @throws ERR_MOUNTED if some stay.
 */
export async function unmountBelow(path: string, children: Children, signal: AbortSignal): Promise<void> {
  let said = '';
  for (let mounts = mountsBelow(path); mounts.length > 0; ) {
    signal.throwIfAborted();
    said = await unmount(mounts.slice(0, atOnce), children);
    const left = mountsBelow(path);
    if (left.length >= mounts.length) throw stuck(path, left, said);
    mounts = left;
  }
}

/** Says what umount(8) has said. */
async function unmount(mounts: readonly MountPoint[], children: Children): Promise<string> {
  const remote = mounts.filter(isRemote).map(({ path }) => path);
  const handles = mounts.filter(mount => !isRemote(mount)).flatMap(mount => handleOf(mount) ?? []);
  const paths = [...handlePaths(handles), ...remote];
  try {
    if (paths.length === 0) return '';
    const child = children.spawn(['umount', '--no-canonicalize', '--lazy', '--', ...paths], {
      stdio: ['ignore', 'ignore', 'pipe', ...handles],
    });
    const [, text] = await Promise.all([ended(child), buffer(child.stderr as NodeJS.ReadableStream)]);
    return text.toString().trim();
  } finally {
    for (const handle of handles) closeSync(handle);
  }
}

/** To open what a server has may take for ever; the kernel does not ask it to unmount that. */
const isRemote = ({ type }: MountPoint) => type.startsWith('nfs');

/** A handle of a mount; undefined if it is gone, or something else is on top of it. */
function handleOf({ id, path }: MountPoint): number | undefined {
  let handle: number;
  try {
    handle = openSync(Buffer.from(path, 'latin1'), pathOnly | constants.O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
    throw error;
  }
  if (mountOf(handle) === id) return handle;
  closeSync(handle);
  return undefined;
}

function stuck(path: string, left: readonly MountPoint[], said: string): SpawnletError {
  const point = Buffer.from(left[0]?.path ?? '', 'latin1').toString();
  const why = said === '' ? '' : `: ${said}`;
  return new SpawnletError('ERR_MOUNTED', `what is mounted at ${point} below ${path} stays there${why}`, {
    hint: `umount '${point}'`,
  });
}
