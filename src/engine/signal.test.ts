import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseSignal, signalName } from './signal.ts';

test('signals have names, numbers, and places in the real-time range', () => {
  const known = {
    SIGTERM: 15,
    term: 15,
    '9': 9,
    SIGRTMIN: 34,
    'RTMIN+3': 37,
    'sigrtmax-1': 63,
    SIGRTMAX: 64,
    '64': 64,
  };
  for (const [text, number] of Object.entries(known)) assert.equal(parseSignal(text), number, text);
  assert.deepEqual([signalName(15), signalName(42)], ['SIGTERM', 'SIG42']);
});

test('anything else is refused, and is never a number that kill would take for something else', () => {
  for (const text of [
    '',
    '0',
    '-1',
    '65',
    '1e1',
    'SIGFOO',
    'RTMIN+31',
    'RTMAX+1',
    'RTMIN-1',
    '__proto__',
    'constructor',
  ])
    assert.throws(() => parseSignal(text), { code: 'ERR_SIGNAL' }, text);
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      let number: number | undefined;
      try {
        number = parseSignal(text);
      } catch {
        return;
      }
      assert.ok(Number.isInteger(number) && number >= 1 && number <= 64);
    }),
  );
});
