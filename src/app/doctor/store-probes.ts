import { lstat, mkdir, readFile, statfs } from 'node:fs/promises';
import { messageOf } from '../../host/error.ts';
import { isOnOverlay } from '../../host/file-system.ts';
import type { Entry } from '../../image/layer/entry.ts';
import { Extractor } from '../../image/layer/extractor.ts';
import { blockSize } from '../../image/layer/header.ts';
import { endOfArchive, extraHeaders, writeHeader } from '../../image/layer/writer.ts';
import { stateDirectory } from '../../names.ts';
import { shell } from './ask.ts';
import { missing, note, ok, type Probe } from './diagnosis.ts';

/** Mounts an overlay where nobody sees it, writes through it and removes a file of the lower directory. */
const tryOverlay = `cd "$1"
mkdir lower upper work merged
echo lower > lower/file
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
echo upper > merged/other
rm merged/file
test -c upper/file`;

export const overlay: Probe = {
  name: 'overlay',
  purpose: 'an image’s layers are a container’s root file system',
  needs: ['root'],
  look: async ({ host, directory }, signal) => {
    const at = `${directory}/overlay`;
    await mkdir(at);
    const script = `exec unshare --mount --propagation private /bin/sh -euc '${tryOverlay}' sh "$1"`;
    try {
      await shell(host, script, [at], signal);
      return ok(`mounts in a mount namespace of its own, on the file system of ${stateDirectory}`);
    } catch (error) {
      signal.throwIfAborted();
      const said = messageOf(error);
      if (!(await readFile('/proc/filesystems', 'utf8')).includes('\toverlay\n'))
        return missing('this kernel has no overlayfs', 'modprobe overlay');
      if (await isOnOverlay(directory))
        return missing(
          `${stateDirectory} is on an overlay itself: ${said}`,
          `bind a directory of a real file system at ${stateDirectory}`,
        );
      return missing(`an overlay cannot be mounted: ${said}`, `put ${stateDirectory} on ext4, xfs or btrfs`);
    }
  },
};

/** A device 0:0 stands for a file that an upper layer removes. */
export const whiteouts: Probe = {
  name: 'whiteouts',
  purpose: 'a layer says what it removes by devices 0:0',
  needs: ['root'],
  look: async ({ host, directory }, signal) => {
    try {
      await shell(host, 'exec mknod "$1" c 0 0', [`${directory}/whiteout`], signal);
    } catch (error) {
      signal.throwIfAborted();
      return missing(
        `a device 0:0 cannot be made in ${stateDirectory}: ${messageOf(error)}`,
        'in a container, give it CAP_MKNOD; mount the file system without nodev',
      );
    }
    return ok(`a device 0:0 can be made in ${stateDirectory}`);
  },
};

const member = (entry: Pick<Entry, 'kind' | 'path'> & Partial<Entry>): Buffer => {
  const whole: Entry = {
    mode: 0o755,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: 1,
    nanoseconds: 0,
    target: '',
    major: 0,
    minor: 0,
    xattrs: [],
    ...entry,
  };
  const header = Buffer.alloc(blockSize);
  writeHeader(whole, header, 0);
  return Buffer.concat([extraHeaders(whole), header]);
};

/** A file capability of version 2: CAP_NET_BIND_SERVICE, permitted. */
const capability = Buffer.from('0000000200040000000000000000000000000000', 'hex').toString('latin1');

export const unpacking: Probe = {
  name: 'unpacking',
  purpose: 'tar, confined, unpacks layers with owners, devices and attributes',
  needs: ['root'],
  look: async ({ host, directory }, signal) => {
    const [jail, layer] = [`${directory}/jail`, `${directory}/layer`];
    await Promise.all([mkdir(jail), mkdir(layer)]);
    await using extractor = new Extractor(host.children, jail, layer);
    await extractor.write([
      member({ kind: 'directory', path: 'opaque', xattrs: [{ name: 'trusted.overlay.opaque', value: 'y' }] }),
      member({ kind: 'file', path: 'file', xattrs: [{ name: 'security.capability', value: capability }] }),
      member({ kind: 'char', path: 'whiteout', uid: 4321, gid: 4321 }),
      endOfArchive,
    ]);
    await extractor.finish();
    signal.throwIfAborted();
    const made = await lstat(`${layer}/whiteout`);
    if (!made.isCharacterDevice() || made.uid !== 4321)
      return missing(
        'tar did not give a file its type and owner',
        `put ${stateDirectory} on ext4, xfs or btrfs`,
      );
    return ok('owners, devices, file capabilities and overlay’s marks are kept');
  },
};

const gibibyte = 2 ** 30;

export const space: Probe = {
  name: 'space',
  purpose: `images and what containers write lie in ${stateDirectory}`,
  needs: [],
  look: async ({ directory }) => {
    const { bavail, bsize, ffree, files } = await statfs(directory || '/var/lib');
    const free = bavail * bsize;
    const finding = `${(free / gibibyte).toFixed(1)} GiB free`;
    const fix = 'spawnlet image prune, or give the file system more space';
    if (files > 0 && ffree < 1000) return missing(`${finding}, but only ${ffree} inodes`, fix);
    if (free < gibibyte / 8) return missing(finding, fix);
    return free < 2 * gibibyte ? note(finding, fix) : ok(finding);
  },
};

/** Binds a directory with shifted owners where nobody sees it, and prints who owns it then. */
const tryIdmap = `mkdir "$1/idmap" "$1/shown"
mount --bind -o X-mount.idmap=0:70000:1 "$1/idmap" "$1/shown"
stat --format=%u "$1/shown"`;

export const idmaps: Probe = {
  name: 'idmapped mounts',
  purpose: 'pods with hostUsers: false, and machines with --private-users pick',
  needs: ['root'],
  look: async ({ host, directory }, signal) => {
    const script = `exec unshare --mount --propagation private /bin/sh -euc '${tryIdmap}' sh "$1"`;
    try {
      const owner = await shell(host, script, [directory], signal);
      // A mount(8) that does not know the option leaves it out without a word.
      return note(owner === '70000' ? `work in ${stateDirectory}` : 'this mount(8) does not know them');
    } catch (error) {
      return note(`do not work in ${stateDirectory}: ${messageOf(error)}`);
    }
  },
};
