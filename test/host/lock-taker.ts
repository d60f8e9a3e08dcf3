/**
 * A child of a test that takes a lock: `DIRECTORY NAME take|wait|rounds N`.
 *
 * `take` and `wait` say `has it` and hold it until their input ends. `rounds` waits for it N times and, while it has it,
 * makes a directory that nobody else may have made; most times it then leaves the lock as a killed process does.
 */
import { mkdirSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../src/host/clock.ts';
import { messageOf, SpawnletError } from '../../src/host/error.ts';
import { fileLocks } from '../../src/host/lock.ts';

const [directory = '', name = '', how, rounds] = process.argv.slice(2);
const locks = fileLocks(directory, `taker ${how}`, systemClock);
const { signal } = new AbortController();

async function hold(): Promise<void> {
  await using _lock = await (how === 'take' ? locks.take(name) : locks.wait(name, signal));
  process.stdout.write('has it\n');
  for await (const _chunk of process.stdin);
}

async function race(count: number): Promise<void> {
  const path = join(directory, `${name}.lock`);
  for (let round = 0; round < count; round++) {
    const lock = await locks.wait(name, signal);
    mkdirSync(`${directory}/alone`);
    await new Promise(setImmediate);
    rmdirSync(`${directory}/alone`);
    if (round % 5 === 0) await lock[Symbol.asyncDispose]();
    else {
      // As if this process had been killed with it.
      writeFileSync(`${path}.${process.pid}`, JSON.stringify({ ...locks.self, start: `${round}` }));
      renameSync(`${path}.${process.pid}`, path);
    }
    if (round % 10 === 0) await locks.sweep();
  }
}

try {
  await (how === 'rounds' ? race(Number(rounds)) : hold());
} catch (error) {
  process.stdout.write(`${error instanceof SpawnletError ? error.code : 'an error'} ${messageOf(error)}\n`);
  process.exitCode = 1;
}
