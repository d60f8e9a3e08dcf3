import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { ended } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { temporaryName } from '../host/process.ts';
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

/** Signals the command itself, which outlives the one that has started it; that one alone if there is no command yet. */
export async function signalExec(
  host: Host,
  pidFile: string,
  child: ChildProcess,
  name: NodeJS.Signals,
): Promise<void> {
  const pid = Number((await host.files.read(pidFile))?.trim());
  try {
    if (pid > 0) process.kill(pid, name);
    else child.kill(name);
  } catch {
    // It has ended by itself.
  }
}

/** What a command said and how it ended. */
export interface Captured {
  readonly exitCode: number;
  /** Both streams, as they came. */
  readonly output: Buffer;
}

/** Bytes of output that are kept of a command whose output is for messages. */
const keptOutput = 64 * 1024;

/**
 * Runs a command, and keeps what it says.
 *
 * @param exec runs it, with the streams that are named
 * @throws ERR_EXEC if it could not be run
 */
export async function capture(
  exec: (stdio: SpawnOptions['stdio'], begun: (child: ChildProcess) => void) => Promise<ExecEnd>,
  signal: AbortSignal,
): Promise<Captured> {
  const chunks: Buffer[] = [];
  let size = 0;
  const keep = (chunk: Buffer) => {
    if (size < keptOutput) chunks.push(chunk);
    size += chunk.length;
  };
  const end = await exec(['ignore', 'pipe', 'pipe'], child => {
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
  });
  signal.throwIfAborted();
  if (end.kind === 'failed') throw new SpawnletError('ERR_EXEC', end.text.trim());
  return { exitCode: end.exitCode, output: Buffer.concat(chunks).subarray(0, keptOutput) };
}

/** How an exec ended: the command's exit code, or what crun said when it could not run it. */
export type ExecEnd =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'failed'; readonly text: string };

/**
 * Runs a command in a running container with crun: in its namespaces and its cgroup, with the capabilities and the
 * filter of `process`.
 *
 * @param begun given the child, whose end is the command's, and what sends a signal to the command
 * @param signal ends the command, by SIGKILL
 */
export async function execIn(
  host: Host,
  name: string,
  process: ProcessSpec,
  stdio: SpawnOptions['stdio'],
  begun: (child: ChildProcess, send: (name: NodeJS.Signals) => void) => void = () => undefined,
  signal?: AbortSignal,
): Promise<ExecEnd> {
  const directory = runDirectoryOf(name);
  // Their names say whose they are: what an exec that was killed has left, the next one removes.
  const [file, log, pidFile] = [0, 1, 2].map(() => `${directory}/${temporaryName()}`) as [
    string,
    string,
    string,
  ];
  await host.files.sweep(directory);
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
        ...crunWords(name, `--log=${log}`, 'exec', `--process=${file}`, `--pid-file=${pidFile}`, id),
      ],
      { stdio },
    );
    const end = ended(child);
    begun(child, signalName => void signalExec(host, pidFile, child, signalName));
    const kill = () => void signalExec(host, pidFile, child, 'SIGKILL');
    signal?.addEventListener('abort', kill, { once: true });
    if (signal?.aborted) kill();
    const exitCode = await end.finally(() => signal?.removeEventListener('abort', kill));
    // crun names the process once it runs the command; what it logs else is what kept it from that.
    const hasRun = exitCode === 0 || (await host.files.look(pidFile));
    const text = hasRun ? undefined : await host.files.read(log);
    return text ? { kind: 'failed', text } : { kind: 'exited', exitCode };
  } finally {
    await Promise.all([file, log, pidFile].map(path => host.files.remove(path)));
  }
}
