/** The commands that are compared: spawnlet as it was built, and the peers as fast as they can be set up. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { stateDirectory } from '../../src/names.ts';
import { checkout } from '../harness/lab.ts';
import { timeOf } from './sampling.ts';

export const node = process.execPath;

/** `SPAWNLET=` names another build of it, to be compared with this one. */
const program = process.env['SPAWNLET'] ?? join(checkout, 'bin/spawnlet');
export const spawnlet = (...words: string[]): string[] => [program, ...words];

/** On the file system of spawnlet's store, and no overlay: podman mounts overlays whose upper directories lie here. */
const peerDirectory = '/var/lib/containers/bench';
const podmanRoot = join(peerDirectory, 'podman');

/**
 * No events are recorded and no log is kept: neither serves the work. Where the kernel's limits cannot be raised and
 * cgroups are v1, podman needs lower limits and cgroups switched off to run at all.
 */
const podmanFlags = [
  `--root=${podmanRoot}`,
  '--runroot=/run/bench-podman',
  '--storage-driver=overlay',
  '--runtime=crun',
  '--cgroup-manager=cgroupfs',
  '--events-backend=none',
];

export const podman = (...words: string[]): string[] => ['podman', ...podmanFlags, ...words];

export const podmanRunFlags = [
  '--pull=never',
  '--network=host',
  '--cgroups=disabled',
  '--log-driver=none',
  '--ulimit=nofile=1024:1024',
  '--ulimit=nproc=4096:4096',
];

export const podmanPull = (reference: string): string[] =>
  podman('pull', '--quiet', '--tls-verify=false', reference);

export const spawnletPull = (reference: string): string[] =>
  spawnlet('image', 'pull', '--tls-verify=false', reference);

const layout = join(peerDirectory, 'layout');
const tree = join(peerDirectory, 'tree');

/** Milliseconds of the two commands that fetch and unpack an image without an engine. */
export async function skopeoAndUmoci(reference: string): Promise<number> {
  const copied = await timeOf([
    'skopeo',
    'copy',
    '--quiet',
    '--src-tls-verify=false',
    `docker://${reference}`,
    `oci:${layout}:image`,
  ]);
  return copied + (await timeOf(['umoci', 'unpack', '--image', `${layout}:image`, tree]));
}

/** What earlier samples have made. */
const aside = 'bench-aside';

/**
 * Empties a directory by taking away what is in it, or by moving that aside: ext4 passes over the inodes that were deleted in the last
 * minute one by one, so that files which are made after thousands were removed take twice the time.
 */
async function empty(directory: string, how: 'remove' | 'move'): Promise<void> {
  await mkdir(join(directory, aside), { recursive: true });
  const place = await mkdtemp(join(directory, aside, 'sample-'));
  for (const name of await readdir(directory))
    if (name !== aside) await rename(join(directory, name), join(place, name));
  if (how === 'remove') await rm(join(directory, aside), { recursive: true });
}

/** Empties spawnlet's store, which is a mount point in the lab. */
export async function emptyStore(how: 'remove' | 'move' = 'remove'): Promise<void> {
  await empty(stateDirectory, how);
  flush();
}

/** Empties the peers' stores. podman mounts its own over itself. */
export async function emptyPeers(how: 'remove' | 'move' = 'remove'): Promise<void> {
  spawnSync('umount', ['--recursive', join(podmanRoot, 'overlay')]);
  await mkdir(peerDirectory, { recursive: true });
  await empty(peerDirectory, how);
  await rm('/run/bench-podman', { recursive: true, force: true });
  flush();
}

/** What one sample has written is not for the next one to wait for. */
function flush(): void {
  execFileSync('sync', ['--file-system', stateDirectory]);
}

const output = (command: string, ...words: string[]) =>
  execFileSync(command, words, { encoding: 'utf8' }).trim();
const firstLine = (command: string, ...words: string[]) => output(command, ...words).split('\n')[0] ?? '';

/** What was measured on what: programs, file system, machine. */
export function surroundings(): string[] {
  const kind = output('findmnt', '--noheadings', '--output=FSTYPE', '--target', stateDirectory);
  const peer = output('findmnt', '--noheadings', '--output=FSTYPE', '--target', '/var/lib/containers');
  return [
    [
      `node ${process.versions.node}`,
      firstLine('systemctl', '--version').replace(/ \(.*/, ''),
      firstLine('crun', '--version').replace(' version', ''),
      firstLine('conmon', '--version').replace(' version', ''),
      firstLine('podman', '--version').replace(' version', ''),
      firstLine('skopeo', '--version').replace(' version', ''),
      firstLine('umoci', '--version').replace(' version', ''),
      firstLine('docker-registry', '--version').replace(/^\S+ \S+ /, 'docker-registry '),
    ].join(', '),
    `spawnlet: overlay on ${kind}, podman: overlay on ${peer} (crun, --cgroups=disabled, no events, no log), skopeo and umoci: ${peer}`,
    `kernel ${output('uname', '--kernel-release')}, ${output('nproc')} processors; page cache warm, written data flushed before each pull, nothing deleted before one`,
  ];
}
