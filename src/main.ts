/** Puts the rooms together: finds the command, gives it what it works with, tells its error. */

import { parseInput } from './cli/command.ts';
import type { Context } from './cli/context.ts';
import { entries, findEntry } from './cli/registry.ts';
import { Interrupted, makeContext, tellError } from './context.ts';
import { exhausted, isErrno, SpawnletError } from './host/error.ts';

/** What changes nothing, and reads no state of spawnlet. */
const forAll = ['doctor', 'machine schema', 'machine profiles'];

async function main(argv: readonly string[]): Promise<number> {
  const typed = argv.filter((word, index) => !(word === '--debug' && index === 0));
  const named = typed[0] === 'help' ? findEntry(typed.slice(1)) : undefined;
  if (named) {
    const { helpOf } = await import('./cli/help.ts');
    process.stdout.write(helpOf(await named.entry.load()));
    return 0;
  }
  const words = typed[0] === 'help' && typed.length > 1 ? [...typed.slice(1), '--help'] : typed;
  const [first] = words;
  if (first === undefined || first === 'help' || first === '--help' || first === '-h') {
    const { helpOfAll } = await import('./cli/help.ts');
    process.stdout.write(helpOfAll(entries));
    return first === undefined ? 125 : 0;
  }
  const found = findEntry(first === '--version' ? ['version'] : words);
  if (!found) {
    const below = entries.filter(entry => entry.name.startsWith(`${first} `));
    if (below.length > 0 && ['--help', '-h', undefined].includes(words[1])) {
      const { helpOfAll } = await import('./cli/help.ts');
      process.stdout.write(helpOfAll(below));
      return words[1] === undefined ? 125 : 0;
    }
    const { elsewhere, meantCommand } = await import('./cli/meant.ts');
    const known = entries.filter(({ hidden }) => !hidden).map(({ name }) => name);
    const meant = meantCommand(words, known);
    const names = below.map(entry => entry.name.slice(first.length + 1)).join(', ');
    throw new SpawnletError(
      'ERR_USAGE',
      names ? `${first} needs one of ${names}` : `there is no command '${first}'`,
      { hint: elsewhere[first] ?? (meant === undefined ? 'spawnlet help' : `is 'spawnlet ${meant}' meant?`) },
    );
  }
  const command = await found.entry.load();
  const input = parseInput(command, found.rest);
  if (input === 'help') {
    const { helpOf } = await import('./cli/help.ts');
    process.stdout.write(helpOf(command));
    return 0;
  }
  if (command.name === 'version' || command.name === 'become') return command.run(input, {} as Context);
  if (process.getuid?.() !== 0 && !forAll.includes(command.name)) {
    throw new SpawnletError('ERR_NOT_ROOT', `spawnlet ${command.name} has to run as root`, {
      hint: `sudo spawnlet ${words.join(' ')}`,
    });
  }
  await using context = await makeContext(words);
  return await command.run(input, context);
}

function tell(error: unknown, debug: boolean): number {
  if (error instanceof Interrupted)
    return 128 + (error.signal === 'SIGINT' ? 2 : error.signal === 'SIGTERM' ? 15 : 1);
  // Whoever read the output has gone: nothing to tell.
  if (isErrno(error, 'EPIPE')) return 141;
  const told = error instanceof SpawnletError ? error : exhausted(error);
  if (told) {
    tellError(told);
    if (debug) process.stderr.write(`${process.getBuiltinModule('node:util').inspect(error)}\n`);
    return told.exitCode;
  }
  const known = error instanceof Error ? error.message : String(error);
  process.stderr.write(
    `spawnlet: ${known} [ERR_INTERNAL]\n  this is a defect of spawnlet: spawnlet --debug … shows where\n`,
  );
  if (debug) process.stderr.write(`${process.getBuiltinModule('node:util').inspect(error)}\n`);
  return 125;
}

/** What was written is out before the process ends: a pipe whose reader is slow may not have taken all of it. */
async function flushed(): Promise<void> {
  // Neither stream is made for this, which takes Node 5 ms.
  if (!process.getActiveResourcesInfo().some(name => name.endsWith('WriteWrap'))) return;
  for (const stream of [process.stdout, process.stderr])
    if (stream.writableLength > 0) await new Promise(done => stream.write('', done));
}

const argv = process.argv.slice(2);
// Also an error of standard output; a handler of its own would have Node make that stream before it is used: 5 ms.
process.on('uncaughtException', (error: unknown) => process.exit(tell(error, false)));
main(argv)
  .catch((error: unknown) => tell(error, argv[0] === '--debug'))
  // To take node's heap apart would take as long as to start it.
  .then(async code => {
    await flushed();
    process.exit(code);
  })
  .catch(() => process.exit(125));
