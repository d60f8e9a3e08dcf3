/** A child of a test: spawnlet, killed at one border of the plans that it applies: `NUMBER WORD…`. */
import { parseInput } from '../../src/cli/command.ts';
import { findEntry } from '../../src/cli/registry.ts';
import { makeContext } from '../../src/context.ts';

const [number = '', ...words] = process.argv.slice(2);
/** What units that it starts run; they are not to be killed at borders. */
process.argv[1] = process.env['SPAWNLET_MAIN'] ?? process.argv[1] ?? '';
let border = 0;
let last = '';

/** After a step and before the next is one border: nothing has been written in between. */
function pass(_index: number, side: 'before' | 'journalled' | 'after'): void {
  const same = side === 'before' && last === 'after';
  last = side;
  if (!same && ++border === Number(number)) process.kill(process.pid, 'SIGKILL');
}

async function main(): Promise<number> {
  const found = findEntry(words);
  if (!found) throw new Error(`there is no command ${words.join(' ')}`);
  const command = await found.entry.load();
  const input = parseInput(command, found.rest);
  if (input === 'help') throw new Error('a command that does something is needed');
  await using context = await makeContext(words, { border: pass });
  return command.run(input, context);
}

// As `src/main.ts` does it, but for top-level await, which the bundle's format has not.
void (async () => {
  process.exit(await main());
})();
