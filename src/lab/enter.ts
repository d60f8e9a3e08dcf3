import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { initBelow } from '../host/pid-namespace.ts';
import { quoted } from '../host/shell.ts';
import { enteredGroups } from './boot.ts';
import { parseHierarchies } from './cgroup.ts';
import { labNotFound, readRecord } from './record.ts';
import { keeperOf } from './step.ts';

/** The host's number of the process that is 1 in the lab. */
export async function leaderOf(host: Host, name: string): Promise<number> {
  const keeper = await keeperOf(host, name);
  const leader = keeper && (await initBelow(host.files, keeper.pid));
  if (leader !== undefined) return leader;
  if (!(await readRecord(host.files, name))) throw labNotFound(name);
  throw new SpawnletError('ERR_LAB_NOT_RUNNING', `lab ${name} is not running`, {
    hint: `spawnlet lab up ${name}`,
  });
}

/**
 * Joins the cgroups that are named before `--`, then becomes what comes after it. A child of the lab's cgroup counts
 * towards its limits and ends with it.
 */
const join = `while [ "$1" != -- ]; do
[ -d "$1" ] || mkdir -p "$1"
echo $$ >"$1/cgroup.procs"
shift; done
shift; exec "$@"`;

/** Where programs are looked for in a lab. */
export const labPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface EnterOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** The working directory; root's home without it. */
  readonly directory?: string;
}

/**
 * The command line that runs `argv` in a lab with the caller's standard streams: namespaces and cgroups of the lab,
 * root's home, an environment of its own. The command dies with the child, however that ends.
 */
export async function enterArgv(
  host: Host,
  name: string,
  argv: readonly string[],
  options: EnterOptions = {},
): Promise<string[]> {
  const leader = await leaderOf(host, name);
  const hierarchies = parseHierarchies((await host.files.read('/proc/self/mountinfo')) ?? '');
  const groups = enteredGroups((await host.files.read(`/proc/${leader}/cgroup`)) ?? '', hierarchies);
  const variables = { PATH: labPath, HOME: '/root', USER: 'root', LANG: 'C.UTF-8', ...options.env };
  const nsenter = `nsenter --target ${leader} --mount --uts --ipc --net --pid --cgroup --root --wdns=/ --`;
  const clean = '/usr/bin/setpriv --pdeathsig KILL /usr/bin/env -i';
  return [
    '/bin/sh',
    '-c',
    join,
    'sh',
    ...groups,
    '--',
    ...`${nsenter} ${clean}`.split(' '),
    `--chdir=${options.directory ?? '/root'}`,
    ...Object.entries(variables).map(([key, value]) => `${key}=${value}`),
    ...argv,
  ];
}

/** Starts a command in a lab; whoever starts it handles its streams. */
export async function enter(
  host: Host,
  name: string,
  argv: readonly string[],
  spawning: SpawnOptions,
  options?: EnterOptions,
): Promise<ChildProcess> {
  return host.children.spawn(await enterArgv(host, name, argv, options), spawning);
}

/** A terminal of the lab's own for a command: script(1) makes it there and passes bytes and sizes between the two. */
export function onTerminal(argv: readonly string[]): string[] {
  return ['script', '--quiet', '--return', '--command', argv.map(quoted).join(' '), '/dev/null'];
}
