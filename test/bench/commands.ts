/** The commands that are compared: spawnlet as it was built, and the peers as fast as they can be set up. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { stateDirectory } from '../../src/names.ts';
import { useFileSystem } from '../harness/file-system.ts';
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

async function empty(directory: string): Promise<void> {
  for (const name of await readdir(directory)) await rm(join(directory, name), { recursive: true });
}

/** Empties spawnlet's store, which is a mount point in the lab. */
export async function emptyStore(): Promise<void> {
  await empty(stateDirectory);
  flush();
}

/** Empties the peers' stores. podman mounts its own over itself. */
export async function emptyPeers(): Promise<void> {
  spawnSync('umount', ['--recursive', join(podmanRoot, 'overlay')]);
  await mkdir(peerDirectory, { recursive: true });
  await empty(peerDirectory);
  await rm('/run/bench-podman', { recursive: true, force: true });
  flush();
}

/**
 * A file system of its own for a sample that makes thousands of files: ext4 passes over the inodes that were deleted in the last six
 * minutes one by one, whoever deleted them, and that may take as long as the work.
 */
export async function freshStores(): Promise<AsyncDisposable> {
  const disk = await useFileSystem('ext4', ['spawnlet', 'containers']);
  await mkdir(peerDirectory);
  await rm('/run/bench-podman', { recursive: true, force: true });
  return disk;
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
    `kernel ${output('uname', '--kernel-release')}, ${output('nproc')} processors; page cache warm, each pull on a new ext4, where nothing was deleted yet`,
  ];
}
