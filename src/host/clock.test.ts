import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, systemClock } from './clock.ts';

test('a fake clock wakes whoever slept until then, in order, and leaves the others', async () => {
  const clock = new FakeClock(1000);
  const woken: string[] = [];
  const sleeps = [
    ['late', 300],
    ['early', 100],
    ['later', 301],
  ].map(async ([name, ms]) => {
    await clock.sleep(Number(ms));
    woken.push(String(name));
  });
  clock.advance(300);
  await Promise.all(sleeps.slice(0, 2));
  assert.deepEqual([woken, clock.now()], [['early', 'late'], 1300]);
  clock.advance(1);
  await sleeps[2];
});

for (const [name, clock] of [
  ['the clock', systemClock],
  ['its fake', new FakeClock()],
] as const) {
  test(`a sleep by ${name} ends with the reason of its signal`, async () => {
    const abort = new AbortController();
    const reason = new Error('enough');
    const sleep = clock.sleep(1_000_000, abort.signal);
    abort.abort(reason);
    await assert.rejects(sleep, error => error === reason || (error as Error).cause === reason);
    await assert.rejects(clock.sleep(1, abort.signal));
  });
}
