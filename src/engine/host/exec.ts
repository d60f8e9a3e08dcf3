import type { ChildProcess, SpawnOptions } from 'node:child_process';
import type { Host } from '../../host/host.ts';
import { quoted } from '../../host/shell.ts';
import { type Beside, given, held, runBeside } from '../beside.ts';
import { allCapabilities } from '../capabilities.ts';
import type { ExecEnd, ProcessSpec } from '../exec.ts';
import type { HeldProcess } from '../held-process.ts';

/** What the kernel says of the program, from its /proc/PID/status: a command in its place has the same. */
interface Credentials {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** Hex masks. */
  readonly bounding: string;
  readonly ambient: string;
  readonly noNewPrivileges: boolean;
}

export function credentialsOf(status: string): Credentials {
  const words = (key: string) =>
    (new RegExp(`^${key}:[ \\t]*(.*)$`, 'm').exec(status)?.[1] ?? '').split(/\s+/).filter(Boolean);
  return {
    // The effective one: a daemon that has changed its user is what it is.
    uid: Number(words('Uid')[1] ?? 0),
    gid: Number(words('Gid')[1] ?? 0),
    groups: words('Groups').map(Number),
    bounding: words('CapBnd')[0] ?? '0',
    ambient: words('CapAmb')[0] ?? '0',
    noNewPrivileges: words('NoNewPrivs')[0] === '1',
  };
}

/** As setpriv names them. */
function setOf(mask: string): string {
  const bits = BigInt(`0x${mask}`);
  const has = allCapabilities.flatMap((name, number) =>
    (bits >> BigInt(number)) & 1n ? `+${name.slice(4).toLowerCase()}` : [],
  );
  return ['-all', ...has].join(',');
}

/** Words that make a process of the one that they run in. */
export function setprivWords({
  uid,
  gid,
  groups,
  bounding,
  ambient,
  noNewPrivileges,
}: Credentials): string[] {
  return [
    '/usr/bin/setpriv',
    `--reuid=${uid}`,
    `--regid=${gid}`,
    ...(groups.length > 0 ? [`--groups=${groups.join(',')}`] : ['--clear-groups']),
    `--inh-caps=${setOf(ambient)}`,
    ...(BigInt(`0x${ambient}`) === 0n ? [] : [`--ambient-caps=${setOf(ambient)}`]),
    `--bounding-set=${setOf(bounding)}`,
    ...(noNewPrivileges ? ['--no-new-privs'] : []),
  ];
}

/**
 * The variables come through a file that is open already: no command line shows them, and no program of the way has them. What
 * leads out of the program's mounts is closed before its command begins.
 */
const withVariables = `eval "$(/bin/cat <&${given})"; exec ${given}<&- ${held}<&-; cd "$1" || exit 126; shift; exec "$@"`;

const exports = (env: readonly string[]) =>
  env
    .map(entry => /^([A-Za-z_]\w*)=(.*)$/s.exec(entry))
    .flatMap(found => (found ? `export ${found[1]}=${quoted(found[2] ?? '')}\n` : []))
    .join('');

/**
 * Runs a command beside a program of the host: in its mounts, its cgroup and its IPC namespace, as its user, with its bounding
 * set and no more privileges. Its filter of system calls is not there: the tools of a host cannot set one.
 *
 * @param begun given the child; its end is the command's
 * @param signal ends the command, by SIGKILL
 * @throws ERR_NOT_RUNNING
 */
export async function execBeside(
  host: Host,
  beside: Beside,
  process: ProcessSpec,
  stdio: SpawnOptions['stdio'],
  begun: (child: ChildProcess) => void = () => undefined,
  signal?: AbortSignal,
): Promise<ExecEnd> {
  const passage = async ({ path }: HeldProcess) => ({
    words: [
      '/usr/bin/nsenter',
      ...['mnt', 'ipc'].map(name => `--${name === 'mnt' ? 'mount' : name}=/proc/self/fd/${held}/ns/${name}`),
      ...setprivWords(credentialsOf((await host.files.read(`${path}/status`)) ?? '')),
      '/bin/bash',
      '--norc',
      '--noprofile',
      '-c',
      withVariables,
      'exec',
      process.cwd,
      ...process.args,
    ],
    text: exports(process.env),
  });
  // Each word of the way becomes the next: the child is the command itself.
  const kill = (child: ChildProcess) => void child.kill('SIGKILL');
  const exitCode = await runBeside(host, beside, passage, process, stdio, begun, kill, signal);
  return { kind: 'exited', exitCode };
}
