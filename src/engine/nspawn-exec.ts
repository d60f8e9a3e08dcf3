import type { ChildProcess, SpawnOptions } from 'node:child_process';
import type { Host } from '../host/host.ts';
import { ownWords, temporaryName } from '../host/process.ts';
import type { Become } from './become.ts';
import { type Beside, held, runBeside } from './beside.ts';
import { type ExecEnd, type ProcessSpec, signalExec } from './exec.ts';
import { compiledHere } from './filter-cache.ts';
import type { Seccomp } from './seccomp.ts';

/** A container of systemd-nspawn that runs. */
export interface Inside extends Beside {
  /** Its `config.json`. */
  readonly bundle: string;
}

/** Those that are joined before the mounts, from which no program of the host is seen. */
const namespaces = ['pid', 'ipc', 'uts', 'net', 'cgroup'];

/**
 * Runs a command in a container of systemd-nspawn, which has no way for that: in its namespaces and its cgroup, with the user,
 * the capabilities and the filter of its bundle. nsenter joins what a new process has to be born in; what it starts there is
 * this program, which becomes the command (become.ts).
 *
 * @param begun given the child, whose end is the command's
 * @param signal ends the command, by SIGKILL
 * @throws ERR_NOT_RUNNING
 */
export async function execInside(
  host: Host,
  inside: Inside,
  process: ProcessSpec,
  stdio: SpawnOptions['stdio'],
  begun: (child: ChildProcess) => void = () => undefined,
  signal?: AbortSignal,
): Promise<ExecEnd> {
  const { files } = host;
  await files.sweep(inside.directory);
  const [log, pidFile] = [0, 1].map(() => `${inside.directory}/${temporaryName()}`) as [string, string];
  const { linux } = JSON.parse((await files.read(inside.bundle)) ?? '{}') as {
    readonly linux?: { readonly seccomp?: Seccomp };
  };
  const passage = async () => ({
    words: [
      '/usr/bin/nsenter',
      ...namespaces.map(name => `--${name}=/proc/self/fd/${held}/ns/${name}`),
      ...ownWords(),
      'become',
    ],
    text: JSON.stringify({
      // nspawn loads no filter without that.
      process: linux?.seccomp ? { ...process, noNewPrivileges: true } : process,
      ...(linux?.seccomp && { filter: await compiledHere(files, linux.seccomp) }),
      log,
      pidFile,
    } satisfies Become),
  });
  // nsenter waits for the command, and does not end it.
  const kill = (child: ChildProcess) => void signalExec(host, pidFile, child, 'SIGKILL');
  try {
    const exitCode = await runBeside(host, inside, passage, process, stdio, begun, kill, signal);
    const text = exitCode === 0 ? undefined : await files.read(log);
    return text ? { kind: 'failed', text } : { kind: 'exited', exitCode };
  } finally {
    await Promise.all([log, pidFile].map(path => files.remove(path)));
  }
}
