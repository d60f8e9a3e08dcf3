/** Commands whose streams a test speaks to while they run; they are killed after a minute. */
import { type ChildProcess, spawn } from 'node:child_process';
import { eventually, words } from './tools.ts';

export const begin = (...argv: readonly string[]): ChildProcess => {
  const [program = '', ...rest] = words(...argv);
  return spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'], timeout: 60_000 });
};

/** What a child has written so far, and waits until it has written `text`. */
export function listen(child: ChildProcess): (text: string) => Promise<string> {
  let heard = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    heard += chunk.toString();
  });
  return text => eventually(async () => (heard.includes(text) ? heard : undefined), `it says ${text}`);
}

/** Words of the command for a shell. */
export const quoted = (...argv: readonly string[]) =>
  words(...argv)
    .map(word => `'${word}'`)
    .join(' ');

/** Runs a command on a terminal of its own; what is written to the child is typed. */
export const onTerminal = (...argv: readonly string[]) =>
  spawn(
    'script',
    ['--quiet', '--return', '--log-out=/dev/null', '--command', `stty rows 33 cols 77; ${quoted(...argv)}`],
    {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: 60_000,
      env: { ...process.env, TERM: 'vt100' },
    },
  );
