import type { SpawnOptions } from 'node:child_process';
import { ended } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { unique } from '../host/process.ts';
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
export const enterCgroups = 'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"';

const cgroupRoot = '/sys/fs/cgroup';

/**
 * `cgroup.procs` of every cgroup that a process is in, by the text of its /proc/PID/cgroup: one on v2, one for each
 * hierarchy on v1, where the unit of the process may have none of its own.
 */
export function cgroupFiles(text: string): string[] {
  return text.split('\n').flatMap(line => {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) return [];
    // The only one, or, beside those of v1, the one that systemd mounts for itself.
    const roots = controllers === '' ? ['', '/unified'] : [`/${controllers.replace(/^name=/, '')}`];
    return roots.map(root => `${cgroupRoot}${root}${path === '/' ? '' : path}/cgroup.procs`);
  });
}

async function cgroupsOf(host: Host, name: string): Promise<string[]> {
  const pid = (await host.files.read(`${runDirectoryOf(name)}/pid`))?.trim();
  const text = pid && (await host.files.read(`/proc/${pid}/cgroup`));
  if (!text)
    throw new SpawnletError('ERR_NOT_RUNNING', `${name} is not running`, { hint: `spawnlet start ${name}` });
  const files = cgroupFiles(text);
  const there = await Promise.all(files.map(file => host.files.look(file)));
  return files.filter((_file, index) => there[index]);
}

/** How an exec ended: the command's exit code, or what crun said when it could not run it. */
export type ExecEnd =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'failed'; readonly text: string };

/**
 * Runs a command in a running container with crun: in its namespaces and its cgroup, with the capabilities and the
 * filter of `process`.
 */
export async function execIn(
  host: Host,
  name: string,
  process: ProcessSpec,
  stdio: SpawnOptions['stdio'],
): Promise<ExecEnd> {
  const file = `${runDirectoryOf(name)}/exec-${unique()}.json`;
  const log = `${file}.log`;
  const cgroups = await cgroupsOf(host, name);
  const id = (await containerIdOf(host.files, name)) ?? '';
  await host.files.write(file, JSON.stringify(process), 0o600);
  try {
    const child = host.children.spawn(
      [
        '/bin/sh',
        '-c',
        enterCgroups,
        'sh',
        ...cgroups,
        '--',
        ...crunWords(name, `--log=${log}`, 'exec', `--process=${file}`, id),
      ],
      { stdio },
    );
    const exitCode = await ended(child);
    // crun writes to its log only what kept it from running the command.
    const text = exitCode === 0 ? undefined : await host.files.read(log);
    return text ? { kind: 'failed', text } : { kind: 'exited', exitCode };
  } finally {
    await Promise.all([host.files.remove(file), host.files.remove(log)]);
  }
}
