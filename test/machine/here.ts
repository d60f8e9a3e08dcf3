/** Commands in this process: the same code as the program's, without the time that a process takes to begin. */
import { parseInput } from '../../src/cli/command.ts';
import { findEntry } from '../../src/cli/registry.ts';
import { makeContext, tellError } from '../../src/context.ts';
import { SpawnletError } from '../../src/host/error.ts';
import { outputOf } from '../harness/output.ts';
import { createWords, status } from './machines.ts';

async function run(argv: readonly string[]): Promise<number> {
  const found = findEntry([...argv]);
  if (!found) throw new Error(`there is no command ${argv.join(' ')}`);
  const command = await found.entry.load();
  const input = parseInput(command, found.rest);
  if (input === 'help') throw new Error('a command that does something is needed');
  try {
    // Each begins as a process does: it cleans up what others have left.
    await using context = await makeContext(argv);
    return await command.run(input, context);
  } catch (error) {
    if (!(error instanceof SpawnletError)) throw error;
    tellError(error);
    return error.exitCode;
  }
}

/** A command of spawnlet's to its end. One after the other: what they write to is the process's own. */
export const here = (argv: readonly string[]) => outputOf(() => run(argv));

/** {@link here} for a command of machines that must succeed: what it wrote to standard output. */
export async function machineHere(...words: readonly string[]): Promise<string> {
  const { code, out, err } = await here(['machine', ...words]);
  if (code !== 0) throw new Error(`machine ${words.join(' ')} ended with ${code}: ${err}${out}`);
  return out;
}

export const createHere = (name: string, ...flags: readonly string[]): Promise<string> =>
  machineHere(...createWords(name, ...flags));

export const statusHere = (name: string) => status(name, machineHere);
