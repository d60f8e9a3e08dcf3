import type { SpawnOptions } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { ended } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { containerIdOf, crunWords } from './crun.ts';
import { runDirectoryOf } from './script.ts';

/** `process` of a bundle, as far as exec changes it. */
export interface ProcessSpec {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly terminal: boolean;
  readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids?: readonly number[] };
  readonly [key: string]: unknown;
}

/**
 * Puts itself into every cgroup that is named before `--`, then becomes the command behind it. crun has its cgroup
 * manager off, so that limits and devices stay systemd's; the process of an exec has to be moved by its caller.
 */
const enterCgroups = 'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"';

const cgroupRoot = '/sys/fs/cgroup';

/** `cgroup.procs` of a unit's cgroup in each hierarchy that is mounted: one on v2, one for each controller on v1. */
export async function cgroupFiles(host: Host, controlGroup: string): Promise<string[]> {
  const roots = [
    cgroupRoot,
    ...(await readdir(cgroupRoot, { withFileTypes: true }))
      .filter(entry => entry.isDirectory())
      .map(entry => `${cgroupRoot}/${entry.name}`),
  ];
  const files = roots.map(root => `${root}${controlGroup}/cgroup.procs`);
  const there = await Promise.all(files.map(file => host.files.look(file)));
  return files.filter((_file, index) => there[index]);
}

/**
 * Runs a command in a running container with crun: in its namespaces and its cgroup, with the capabilities and the
 * filter of `process`. Gives the exit code: the command's own, 126 or 127 if it cannot be run.
 */
export async function execIn(
  host: Host,
  name: string,
  controlGroup: string,
  process: ProcessSpec,
  stdio: SpawnOptions['stdio'],
): Promise<number> {
  const file = `${runDirectoryOf(name)}/exec-${randomBytes(6).toString('hex')}.json`;
  if (!(await host.files.look(runDirectoryOf(name)))) {
    throw new SpawnletError('ERR_NOT_RUNNING', `${name} is not running`, { hint: `spawnlet start ${name}` });
  }
  await host.files.write(file, JSON.stringify(process), 0o600);
  try {
    const cgroups = await cgroupFiles(host, controlGroup);
    const child = host.children.spawn(
      [
        '/bin/sh',
        '-c',
        enterCgroups,
        'sh',
        ...cgroups,
        '--',
        ...crunWords(name, 'exec', `--process=${file}`, containerIdOf(name)),
      ],
      { stdio },
    );
    return await ended(child);
  } finally {
    await host.files.remove(file);
  }
}
