/** Machines of the command itself, cloned from a base that is a copy of the lab's own tree. */
import { readFile, rm } from 'node:fs/promises';
import type { MachineStatus } from '../../src/machine/api.ts';
import { basesDirectory } from '../../src/names.ts';
import { done, system } from '../app/tools.ts';

export const base = 'lab';

const directory = `${basesDirectory}/${base}`;

const record = {
  version: 1,
  recipe: {
    source: { kind: 'debian', suite: 'lab' },
    packages: [],
    components: [],
    insecure: false,
    copy: [],
    run: [],
    network: 'none',
  },
  created: 0,
  size: 0,
};

/** A copy of the lab's tree, since what a lab waits for at its boot is not there for a machine without a network. */
export const baseScript = `umask 022; mkdir -p /run/lab-root ${directory}
if [ "$(stat --file-system --format=%T ${directory})" = btrfs ]; then btrfs subvolume create ${directory}/tree
else mkdir -p ${directory}/tree; fi
mount --bind / /run/lab-root
cp -a /run/lab-root/. ${directory}/tree
umount /run/lab-root; rmdir /run/lab-root
echo '${JSON.stringify(record)}' >${directory}/recipe.json
cd ${directory}/tree
rm -rf usr/share/doc usr/share/locale usr/share/man var/cache/apt var/lib/apt
rm -rf usr/lib/cni usr/share/perl usr/lib/*-linux-gnu/perl usr/lib/*-linux-gnu/gconv usr/share/bash-completion
rm -rf etc/systemd/system/spawnlet-lab-ready.service etc/systemd/system/*.wants/spawnlet-lab-ready.service
rm -rf etc/systemd/network etc/systemd/system/network-online.target.wants
rm -rf etc/machine-id etc/hosts var/log/journal`;

let users = 0;

/**
 * Makes the base that machines of a test file are cloned from, for the first who uses it; removes whatever machines there are at the
 * end, and the base after its last user.
 */
export async function useBase(): Promise<AsyncDisposable> {
  if (users++ === 0) await system('sh', '-euc', baseScript);
  return {
    async [Symbol.asyncDispose]() {
      const names = (await machine('ls', '--quiet')).split('\n').filter(Boolean);
      if (names.length > 0) await machine('rm', '--force', ...names);
      if (--users === 0) await rm(directory, { recursive: true });
    },
  };
}

/** Runs a command of machines that must succeed. */
export const machine = (...words: readonly string[]): Promise<string> => done(['machine', ...words]);

/** Words that make a machine of the base, without a network unless the flags say so. */
export const createWords = (name: string, ...flags: readonly string[]): string[] => [
  'create',
  name,
  '--from',
  base,
  ...(flags.some(flag => flag.startsWith('--network')) ? [] : ['--network', 'none']),
  ...flags,
];

export const create = (name: string, ...flags: readonly string[]): Promise<string> =>
  machine(...createWords(name, ...flags));

/** What `status -o json` gives: times are texts. */
export type Status = Omit<MachineStatus, 'since' | 'spec'> & { readonly since: string | null };

export async function status(name: string, run = machine): Promise<Status> {
  const [row] = JSON.parse(await run('status', '-o', 'json', name)) as { status: Status }[];
  if (!row) throw new Error(`no status of ${name}`);
  return row.status;
}

/** A command in a machine that runs, started by the machine's own systemd and by nothing of spawnlet's. */
export const inside = (name: string, ...argv: readonly string[]): Promise<string> =>
  system('systemd-run', '--quiet', '--wait', '--pipe', `--machine=${name}`, ...argv);

/** Everything that machines may leave: files, units that are loaded, mounts. */
export async function world(): Promise<string> {
  const places = [
    '/etc/systemd',
    '/run/systemd/system',
    '/run/spawnlet',
    '/var/lib/spawnlet',
    '/var/lib/machines',
  ];
  const [found, ...parts] = await Promise.all([
    system('find', ...places, '-path', '*/base/*', '-prune', '-o', '-print'),
    system(
      'systemctl',
      'list-units',
      '--all',
      '--plain',
      '--no-legend',
      '--state=failed,running,exited,mounted',
      'systemd-nspawn@*',
      'var-lib-machines-*',
      'spawnlet-*',
    ),
    readFile('/proc/self/mountinfo', 'latin1'),
  ]);
  const paths = found
    .split('\n')
    .filter(path => !/\/lock\/|\/compile-cache|\/timers|\/machines\.target\.wants$/.test(path));
  const mounts = parts
    .pop()
    ?.split('\n')
    .map(line => line.split(' ')[4] ?? '');
  return [paths.toSorted().join('\n'), ...parts, mounts?.join('\n')].join('\n---\n');
}
