/**
 * A child of a test: spawnlet, killed at one border: `BORDERS NUMBER WORD…`. They are those between `steps` of its plans, or
 * those around `calls`: around each lock that is taken and given back, and each job that systemd is asked for. Of the agent they
 * are its steps and, around each, what it `records` of its pods.
 */
import { parseInput } from '../../src/cli/command.ts';
import type { Context } from '../../src/cli/context.ts';
import { findEntry } from '../../src/cli/registry.ts';
import { makeContext } from '../../src/context.ts';
import type { Lock } from '../../src/host/lock.ts';

const [borders = '', number = '', ...words] = process.argv.slice(2);
/** What units that it starts run; they are not to be killed at borders. */
process.argv[1] = process.env['SPAWNLET_MAIN'] ?? process.argv[1] ?? '';
let border = 0;
let last = '';

function pass(): void {
  if (++border === Number(number)) process.kill(process.pid, 'SIGKILL');
}

/** After a step and before the next is one border: nothing has been written in between. */
function passStep(_index: number, side: 'before' | 'journalled' | 'after'): void {
  const same = side === 'before' && last === 'after';
  last = side;
  if (!same) pass();
}

async function between<T>(call: () => Promise<T>): Promise<T> {
  pass();
  const value = await call();
  pass();
  return value;
}

/** Passes a border around each call by which a command that has no plan shows to others. */
async function watchCalls(context: Context): Promise<void> {
  const { locks } = context.host;
  const watched = async (taken: Promise<Lock>): Promise<Lock> => {
    const lock = await taken;
    return { [Symbol.asyncDispose]: () => between(async () => lock[Symbol.asyncDispose]()) };
  };
  const [take, wait] = [locks.take.bind(locks), locks.wait.bind(locks)];
  locks.take = name => between(() => watched(take(name)));
  locks.wait = (name, signal) => between(() => watched(wait(name, signal)));
  const client = await context.systemd();
  const enqueue = client.enqueue.bind(client);
  client.enqueue = (type, name, mode, signal, queued) =>
    between(() =>
      enqueue(type, name, mode, signal, () => {
        pass();
        queued?.();
      }),
    );
}

/** Passes a border before each record of a pod is written, and after it. */
function watchRecords({ host: { files } }: Context): void {
  const write = files.write.bind(files);
  files.write = (path, ...more) =>
    path.endsWith('/state.json') ? between(() => write(path, ...more)) : write(path, ...more);
}

async function main(): Promise<number> {
  const found = findEntry(words);
  if (!found) throw new Error(`there is no command ${words.join(' ')}`);
  const command = await found.entry.load();
  const input = parseInput(command, found.rest);
  if (input === 'help') throw new Error('a command that does something is needed');
  await using context = await makeContext(words, borders === 'calls' ? {} : { border: passStep });
  if (borders === 'calls') await watchCalls(context);
  if (borders === 'records') watchRecords(context);
  return await command.run(input, context);
}

// As `src/main.ts` does it, but for top-level await, which the bundle's format has not.
void (async () => {
  process.exit(await main());
})();
