import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { outOfMemory, passSize } from './terminal.ts';

test('the last size of a terminal is told last, however long a telling takes', async () => {
  const terminal = Object.assign(new EventEmitter(), { rows: 24, columns: 80 });
  const begun: { size: string; end: () => void }[] = [];
  using _sizes = passSize(terminal, (rows, columns) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    begun.push({ size: `${rows} ${columns}`, end: resolve });
    return promise;
  });
  await turn();
  // As stty does it: a line for the rows, another one for the columns.
  terminal.rows = 40;
  terminal.emit('resize');
  terminal.columns = 90;
  terminal.emit('resize');
  for (let told = 0; told < 3; told++) {
    assert.equal(begun.length, told + 1, 'two are told at once');
    begun[told]?.end();
    await turn();
  }
  assert.deepEqual([begun[0]?.size, begun[2]?.size], ['24 80', '40 90']);
});

test('a size that cannot be told is in the way of no later one', async () => {
  const terminal = Object.assign(new EventEmitter(), { rows: 1, columns: 1 });
  const told: number[] = [];
  using sizes = passSize(terminal, async rows => {
    told.push(rows);
    throw new Error('nobody reads');
  });
  terminal.rows = 2;
  terminal.emit('resize');
  await turn();
  assert.equal(told.at(-1), 2);
  sizes[Symbol.dispose]();
  terminal.emit('resize');
  await turn();
  assert.equal(told.length, 2);
});

test('a child that was killed for want of memory is not told as the end of its container', () => {
  assert.equal(outOfMemory('web', 137), 'web was out of memory and was killed');
  assert.equal(outOfMemory('web', 0), 'a process of web was killed: out of memory');
});
