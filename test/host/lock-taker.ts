/**
 * A child of a test that takes a lock: `DIRECTORY NAME take|wait|rounds N`.
 *
 * `take` and `wait` say `has it` and hold it until their input ends. `rounds` waits for it N times and, while it has it,
 * makes a directory that nobody else may have made.
 */
import { mkdirSync, rmdirSync } from 'node:fs';
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
  for (let round = 0; round < count; round++) {
    await using _lock = await locks.wait(name, signal);
    mkdirSync(`${directory}/alone`);
    await new Promise(setImmediate);
    rmdirSync(`${directory}/alone`);
    // Some are killed while they have it.
    if (round === count - 1 && process.pid % 2 === 0) process.kill(process.pid, 'SIGKILL');
    await locks.sweep();
  }
}

try {
  await (how === 'rounds' ? race(Number(rounds)) : hold());
} catch (error) {
  process.stdout.write(`${error instanceof SpawnletError ? error.code : 'an error'} ${messageOf(error)}\n`);
  process.exitCode = 1;
}
