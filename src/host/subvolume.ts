import { lstat, open, statfs } from 'node:fs/promises';
import { check } from './child.ts';
import { isErrno } from './error.ts';
import { nearest } from './file-system.ts';
import { refuseMounts } from './files.ts';
import { mountOf } from './handle.ts';
import type { Host } from './host.ts';
import { mountsNow } from './mounts.ts';
import { hasProgram } from './program.ts';

/** Trees on btrfs: a subvolume is copied by a snapshot, which shares all of its blocks and takes no time. */

/** BTRFS_SUPER_MAGIC of linux/magic.h. */
const btrfs = 0x9123683e;

/** BTRFS_FIRST_FREE_OBJECTID: the inode of the root directory of every subvolume, and of nothing else. */
const rootInode = 256;

const isBtrfs = async (path: string): Promise<boolean> => (await statfs(path)).type === btrfs;

async function isSubvolume(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).ino === rootInode && (await isBtrfs(path));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

/**
 * The device of a directory's file system, by the mount that it is reached by: what stat(2) gives is another one in each
 * subvolume.
 */
async function deviceOf(directory: string): Promise<string | undefined> {
  await using handle = await open(directory);
  const id = mountOf(handle.fd);
  return mountsNow().find(mount => mount.id === id)?.device;
}

/** Whether a snapshot of the tree `from` can be made at `to`, where nothing is yet. */
export async function canSnapshot(
  files: Pick<Host['files'], 'look'>,
  from: string,
  to: string,
): Promise<boolean> {
  if (!(await isSubvolume(from)) || !(await hasProgram(files, 'btrfs'))) return false;
  const devices = await Promise.all([deviceOf(from), deviceOf(await nearest(to))]);
  return devices[0] !== undefined && devices[0] === devices[1];
}

/**
 * Subvolumes that lie in the subvolume $1: their numbers, and the path in it of the one with number $2. Whoever made them has
 * chosen the names: a dot behind the path keeps a newline at its end, and a number that is none of these has no path.
 */
const inner = `numbers() {
  local list
  list=$(btrfs subvolume list -o "$1")
  printf '%s\\n' "$list" | sed -n 's/^ID \\([0-9]*\\) .*/\\1/p'
}
place() {
  local own path
  own=$(btrfs inspect-internal rootid "$1")
  own=$(btrfs inspect-internal subvolid-resolve "$own" "$1"; echo .)
  own=\${own%??}
  path=$(btrfs inspect-internal subvolid-resolve "$2" "$1"; echo .)
  path=\${path%??}
  case $path in "$own"/*) printf %s. "\${path#"$own"/}" ;; esac
}`;

/** A snapshot leaves an empty directory where a subvolume lies in another: those get snapshots of their own. */
const snapshot = `${inner}
snapshot() {
  local all number path
  btrfs subvolume snapshot "$1" "$2" >/dev/null
  all=$(numbers "$1")
  for number in $all; do
    path=$(place "$1" "$number")
    path=\${path%.}
    [ -n "$path" ] || continue
    rmdir "$2/$path"
    snapshot "$1/$path" "$2/$path"
  done
}
snapshot "$1" "$2"`;

/** Nothing is removed from a subvolume that is read-only, and no subvolume that has others in it. */
const remove = `${inner}
remove() {
  local number path
  btrfs property set -f -ts "$1" ro false
  for number in $(numbers "$1"); do
    path=$(place "$1" "$number")
    path=\${path%.}
    [ -z "$path" ] || remove "$1/$path"
  done
  btrfs subvolume delete "$1"
}
remove "$1"`;

/** The command that makes it. One that is killed leaves a part of it. */
export const snapshotWords = (from: string, to: string): string[] => ['sh', '-euc', snapshot, 'sh', from, to];

/** Makes the empty root directory of a tree: a subvolume where there can be one. */
export async function makeTree(
  { files, children }: Pick<Host, 'files' | 'children'>,
  path: string,
  mode: number,
  signal: AbortSignal,
): Promise<void> {
  if (!(await isBtrfs(await nearest(path))) || !(await hasProgram(files, 'btrfs')))
    return files.makeDirectory(path, mode);
  await check(children, ['btrfs', 'subvolume', 'create', path], { signal });
  await files.setMode(path, mode);
}

/** Bytes on the disk that go with a tree: of a subvolume without those that it shares with others. */
export async function ownBytes(
  { files, children }: Pick<Host, 'files' | 'children'>,
  path: string,
  signal: AbortSignal,
): Promise<number> {
  const isShared = (await isSubvolume(path)) && (await hasProgram(files, 'btrfs'));
  const argv = isShared
    ? ['btrfs', 'filesystem', 'du', '--summarize', '--raw', path]
    : ['du', '--summarize', '--one-file-system', '--block-size=1', path];
  const { stdout } = await children.capture(argv, { signal });
  const [first = '', second = ''] = (stdout.toString().trim().split('\n').at(-1) ?? '').trim().split(/\s+/);
  // Of all and of its own alone.
  return Number.parseInt(isShared ? second : first, 10) || 0;
}

/**
 * Removes a tree and the subvolumes in it; those that are read-only, too, with btrfs-progs. Nothing there is fine. A killed child may add a last
 * file meanwhile. Throws `ERR_MOUNTED`.
 */
export async function removeTree(host: Pick<Host, 'files' | 'children'>, path: string): Promise<void> {
  for (let goes = 1; ; goes++) {
    try {
      await removeSubvolumes(host, path);
      return await host.files.remove(path);
    } catch (error) {
      if (goes === removals || !isErrno(error, 'ENOTEMPTY')) throw error;
    }
  }
}

/** Children are dead after a few; something that still writes is not the command's. */
const removals = 20;

/** Takes no time, where removing file by file does; and what it leaves is removed so. */
async function removeSubvolumes(
  { files, children }: Pick<Host, 'files' | 'children'>,
  path: string,
): Promise<void> {
  if ((await files.look(path))?.kind !== 'directory' || !(await isBtrfs(await nearest(path)))) return;
  if (!(await hasProgram(files, 'btrfs'))) return;
  refuseMounts(path);
  const found = ['-xdev', '-type', 'd', '-inum', String(rootInode), '-prune'];
  await children.capture(['find', path, ...found, '-exec', 'sh', '-euc', remove, 'sh', '{}', ';']);
}

/**
 * A command that sees the whole file system of a tree, subvolumes in it included, and nothing that somebody has mounted
 * there.
 */
export function withoutMounts(tree: string, argv: readonly string[]): string[] {
  const alone = 'mount --bind "$0" "$0"; exec "$@"';
  return ['unshare', '--mount', 'sh', '-euc', alone, tree, ...argv];
}
