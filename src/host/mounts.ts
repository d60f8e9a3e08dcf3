import { readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** A mount of this process's namespace: proc_pid_mountinfo(5). Characters of its paths are bytes (latin1). */
export interface MountPoint {
  /** The kernel's number, which a handle's `mnt_id` names, too. */
  readonly id: string;
  /** Of the file system: `8:1`. */
  readonly device: string;
  /** What of the file system is mounted: `/` is all of it. */
  readonly root: string;
  readonly path: string;
  /** Of the file system: `tmpfs`, `nfs4`. */
  readonly type: string;
}

/** Blanks and backslashes are in octal. */
const decoded = (field: string) =>
  field.replaceAll(/\\(\d{3})/g, (_whole, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));

/** The mounts, in the order in which they lie upon each other. */
export function mountsNow(): MountPoint[] {
  const lines = readFileSync('/proc/self/mountinfo', 'latin1').split('\n');
  return lines.flatMap(line => {
    const [own = '', source = ''] = line.split(' - ');
    const [id = '', , device = '', root = '', path] = own.split(' ');
    const [type = ''] = source.split(' ');
    return path === undefined ? [] : [{ id, device, root: decoded(root), path: decoded(path), type }];
  });
}

/** The mounts at a path and below it, whose parent directories must be there; the one to go first is the first. */
export function mountsBelow(path: string): MountPoint[] {
  const real = Buffer.from(join(realpathSync(dirname(path)), basename(path))).toString('latin1');
  return mountsNow()
    .filter(mount => mount.path === real || mount.path.startsWith(`${real}/`))
    .toReversed();
}
