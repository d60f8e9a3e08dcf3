/** Trees that the smoke's machines are made of: the lab's own, without what makes it one, and with a service to talk to. */
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { check, systemChildren } from '../../src/host/child.ts';

export const base = 'vm';
/** A tree to be booted in place, below the second disk's mount point. */
export const plainTree = 'plain';

const recipe = {
  source: { kind: 'debian', suite: 'bookworm' },
  packages: [],
  components: [],
  insecure: false,
  copy: [],
  run: [],
  network: 'none',
};

/** Says on port 80 who it is. */
const units = {
  'who.socket': '[Socket]\nListenStream=80\nAccept=yes\n',
  'who@.service': '[Service]\nExecStart=/bin/cat /etc/hostname\nStandardOutput=socket\n',
};

const left = [
  'etc/hosts',
  'etc/machine-id',
  'etc/systemd/network',
  'etc/systemd/system/multi-user.target.wants/spawnlet-lab-ready.service',
  'etc/systemd/system/network-online.target.wants',
  'etc/systemd/system/spawnlet-lab-ready.service',
  'var/cache/apt',
  'var/lib/apt/lists',
];

/** The programs of all trees are the same files: a disk of 2 GB is written in seconds. What a machine may change is its own. */
async function copyTree(lab: string, tree: string, signal: AbortSignal): Promise<void> {
  await mkdir(tree, { recursive: true });
  for (const name of await readdir(lab)) {
    const how = name === 'usr' ? ['--link'] : [];
    await check(systemChildren, ['cp', '--archive', ...how, join(lab, name), tree], { signal });
  }
  for (const path of left) await rm(join(tree, path), { recursive: true, force: true });
  const directory = join(tree, 'etc/systemd/system');
  const wanted = join(directory, 'sockets.target.wants');
  await mkdir(wanted, { recursive: true });
  for (const [name, text] of Object.entries(units)) await writeFile(join(directory, name), text);
  await symlink('../who.socket', join(wanted, 'who.socket'));
}

/**
 * Makes a base and a plain tree on the disk that is being put together in `staging`.
 *
 * @param lab the root directory of a lab's tree, on the same file system
 */
export async function machineTrees(staging: string, lab: string, signal: AbortSignal): Promise<void> {
  const directory = join(staging, 'bases', base);
  await copyTree(lab, join(directory, 'tree'), signal);
  const record = { version: 1, recipe, created: Date.now(), size: 0 };
  await writeFile(join(directory, 'recipe.json'), JSON.stringify(record));
  await copyTree(lab, join(staging, plainTree), signal);
}
