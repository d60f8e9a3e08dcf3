// Locks between processes that are killed.
import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { after, describe, test } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { systemClock } from '../../src/host/clock.ts';
import { FakeLocks, fileLocks, type Locks } from '../../src/host/lock.ts';
import type { Holder } from '../../src/host/process.ts';
import { eventually } from '../app/tools.ts';

const top = mkdtempSync(join(tmpdir(), 'locks-'));
after(() => rmSync(top, { recursive: true }));

let count = 0;
const fresh = () => join(top, String(++count));
const program = join(import.meta.dirname, 'lock-taker.ts');
const { signal } = new AbortController();

interface Taker {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  readonly end: Promise<number>;
  /** What it says next. */
  line(): Promise<string>;
}

function taker(directory: string, ...words: string[]): Taker {
  const argv = ['--disable-warning=ExperimentalWarning', program, directory, 'door', ...words];
  const child = spawn(process.execPath, argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, end: ended(child), line: async () => String((await lines.next()).value) };
}

async function holder(directory: string): Promise<Taker> {
  const made = taker(directory, 'take');
  assert.equal(await made.line(), 'has it');
  return made;
}

/** Whether a process has an inotify watch of a directory. */
function isWatching(pid: number | undefined, directory: string): true | undefined {
  const watch = new RegExp(`^inotify wd:\\S+ ino:${statSync(directory).ino.toString(16)} `, 'm');
  const table = `/proc/${pid}/fdinfo`;
  for (const fd of readdirSync(table)) {
    try {
      if (watch.test(readFileSync(join(table, fd), 'utf8'))) return true;
    } catch {
      // It was closed since.
    }
  }
  return undefined;
}

test('a lock that another process has is refused, with its name and number', async () => {
  const directory = fresh();
  const other = await holder(directory);
  const locks = fileLocks(directory, 'this test', systemClock);
  await assert.rejects(locks.take('door'), {
    code: 'ERR_BUSY',
    message: `door is in use by 'taker take' (process ${other.child.pid})`,
  });
  other.child.stdin.end();
  assert.equal(await other.end, 0);
  await using _lock = await locks.take('door');
  assert.equal(
    await taker(directory, 'take').line(),
    `ERR_BUSY door is in use by 'this test' (process ${process.pid})`,
  );
});

test('a lock is free once its holder has been killed, and so is one that was being taken from a dead holder', async () => {
  const directory = fresh();
  const other = await holder(directory);
  const dead = JSON.stringify({ pid: other.child.pid, start: '1', boot: 'an earlier one', command: '' });
  other.child.kill('SIGKILL');
  await other.end;
  const locks = fileLocks(directory, 'this test', systemClock);
  const [lock = ''] = readdirSync(directory);
  const { pid, start } = JSON.parse(readFileSync(join(directory, lock), 'utf8')) as Holder;
  writeFileSync(join(directory, `${lock}.${pid}-${start}`), dead);
  await using _lock = await locks.take('door');
  assert.deepEqual(readdirSync(directory), ['door.lock']);
});

test('a process that was killed holds nothing, though its parent has yet to ask how it ended', async () => {
  const directory = fresh();
  // The shell becomes a program that never waits for children.
  const script = '"$@" <&3 3<&- & echo $!; exec sleep 1000 3<&- > /dev/null';
  const argv = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    program,
    directory,
    'door',
    'take',
  ];
  const parent = spawn('bash', ['-c', `exec 3<&0; ${script}`, 'bash', ...argv], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const end = ended(parent);
  try {
    const lines = createInterface({ input: parent.stdout })[Symbol.asyncIterator]();
    const pid = Number((await lines.next()).value);
    assert.equal((await lines.next()).value, 'has it');
    process.kill(pid, 'SIGKILL');
    await using _lock = await fileLocks(directory, 'this test', systemClock).wait(
      'door',
      AbortSignal.timeout(5000),
    );
    assert.match(readFileSync(`/proc/${pid}/stat`, 'latin1'), /\) Z /);
  } finally {
    parent.kill('SIGKILL');
    await end;
  }
});

test('whoever waits has the lock as soon as it is released', async () => {
  const directory = fresh();
  const other = await holder(directory);
  const waiter = taker(directory, 'wait');
  const said = waiter.line();
  await eventually(async () => isWatching(waiter.child.pid, directory), 'it waits');
  const silence = Promise.resolve('nothing');
  assert.equal(await Promise.race([said, silence]), 'nothing');
  other.child.stdin.end();
  assert.equal(await said, 'has it');
  waiter.child.stdin.end();
  assert.equal(await waiter.end, 0);
  assert.deepEqual(readdirSync(directory), []);
});

test('whoever waits has the lock when its holder is killed', async () => {
  const directory = fresh();
  const other = await holder(directory);
  const waiter = taker(directory, 'wait');
  other.child.kill('SIGKILL');
  assert.equal(await waiter.line(), 'has it');
  waiter.child.stdin.end();
  assert.equal(await waiter.end, 0);
});

test('eight processes that take a lock fifty times, mostly from a dead holder, never have it at the same time', async () => {
  const directory = fresh();
  const takers = Array.from({ length: 8 }, () => taker(directory, 'rounds', '50'));
  const codes = await Promise.all(takers.map(each => each.end));
  const said = await Promise.all(takers.map(each => each.line()));
  assert.deepEqual(
    said.filter((_line, index) => codes[index] !== 0),
    [],
  );
  await fileLocks(directory, 'this test', systemClock).sweep();
  assert.deepEqual(readdirSync(directory), []);
});

test('a sweep removes the locks of dead holders and no other', async () => {
  const directory = fresh();
  const dead = await holder(directory);
  dead.child.kill('SIGKILL');
  await dead.end;
  const locks = fileLocks(directory, 'this test', systemClock);
  await using _lock = await locks.take('window');
  writeFileSync(join(directory, '.4194999-1-0123abcd~'), 'half');
  await locks.sweep();
  assert.deepEqual(readdirSync(directory), ['window.lock']);
});

for (const [name, make] of [
  ['locks', () => fileLocks(fresh(), 'this test', systemClock)],
  ['fake locks', () => new FakeLocks('this test')],
] as const) {
  describe(name, () => {
    test('are taken once, and again when they were given back', async () => {
      const locks: Locks = make();
      {
        await using _lock = await locks.take('door');
        await assert.rejects(locks.take('door'), {
          code: 'ERR_BUSY',
          message: /^door is in use by 'this test' /,
        });
        await using _other = await locks.take('window');
      }
      await using _lock = await locks.take('door');
    });

    test('are waited for in turn, until the wait is aborted', async () => {
      const locks: Locks = make();
      const lock = await locks.take('door');
      const order: string[] = [];
      const waits = ['one', 'two'].map(async who => {
        await using _lock = await locks.wait('door', signal);
        order.push(`${who} in`);
        await new Promise(setImmediate);
        order.push(`${who} out`);
      });
      const abort = new AbortController();
      const given = locks.wait('door', abort.signal);
      abort.abort(new Error('enough'));
      await assert.rejects(given, { message: 'enough' });
      assert.deepEqual(order, []);
      await lock[Symbol.asyncDispose]();
      await Promise.all(waits);
      // Either may be first; neither comes in before the other is out.
      assert.match(order.join(', '), /^(\w+) in, \1 out, (\w+) in, \2 out$/);
    });

    test('know that this process lives', () => {
      const locks: Locks = make();
      assert.ok(locks.isAlive(locks.self));
    });
  });
}
