import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { ended } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { unique } from '../host/process.ts';
import { quoted } from '../host/shell.ts';
import { cgroupFiles, enterCgroups } from './exec.ts';
import { type HeldProcess, holdProcess } from './held-process.ts';

/** Commands beside a program that no runtime has made: each begins as a process of the host, which goes where the program is. */

/** Which program. */
export interface Beside {
  readonly unit: string;
  readonly pidFile: string;
  /** For a file that is gone as soon as it is open. */
  readonly directory: string;
}

/** How a command gets there. */
export interface Passage {
  /** Words of the host that end as the command. */
  readonly words: readonly string[];
  /** What they find in {@link given}. */
  readonly text: string;
}

/** Descriptors of the words: a text, which no command line shows, and the program's directory in /proc. */
export const given = 3;
export const held = 4;

const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', TERM: 'xterm' };

/**
 * Runs a command in the cgroup of a program, on a terminal of its own if it wants one.
 *
 * @param passage decided by what the kernel says of the program
 * @param kill ends the command when the signal says so
 * @returns its exit code
 * @throws ERR_NOT_RUNNING
 */
export async function runBeside(
  { files, children }: Host,
  { unit, pidFile, directory }: Beside,
  passage: (program: HeldProcess) => Promise<Passage>,
  { terminal }: { readonly terminal: boolean },
  stdio: SpawnOptions['stdio'],
  begun: (child: ChildProcess) => void,
  kill: (child: ChildProcess) => void,
  signal?: AbortSignal,
): Promise<number> {
  using program = await holdProcess(files, pidFile, unit);
  if (!program)
    throw new SpawnletError('ERR_NOT_RUNNING', 'the container is not running', { hint: 'spawnlet pod ls' });
  const cgroup = (await files.read(`${program.path}/cgroup`)) ?? '';
  const groups = await Promise.all(
    cgroupFiles(cgroup).map(async file => ((await files.look(file)) ? file : [])),
  );
  const { words, text } = await passage(program);
  const inTerminal = ['/usr/bin/script', '--quiet', '--return', '--command', words.map(quoted).join(' ')];
  const all = terminal ? [...inTerminal, '/dev/null'] : words;
  const file = await openGone(files, `${directory}/exec-${unique()}`, text);
  try {
    const child = children.spawn(['/bin/sh', '-c', enterCgroups, 'sh', ...groups.flat(), '--', ...all], {
      stdio: [...(Array.isArray(stdio) ? stdio : [stdio, stdio, stdio]), file, program.handle],
      env: environment,
    });
    const end = ended(child);
    begun(child);
    const stop = () => kill(child);
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted) stop();
    return await end.finally(() => signal?.removeEventListener('abort', stop));
  } finally {
    closeSync(file);
  }
}

/** A file without a name, to be read. */
async function openGone(files: Host['files'], path: string, text: string): Promise<number> {
  await files.write(path, text, 0o600);
  const handle = openSync(path, 'r');
  await files.remove(path);
  return handle;
}
