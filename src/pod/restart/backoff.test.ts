import assert from 'node:assert/strict';
import { test } from 'node:test';
import { container, ended, known, noon, seconds } from '../status/fake-pod.ts';
import type { Backoff, Terminated } from '../status/observed.ts';
import { afterEnd, afterFailedPull, crashKey, kubeletLimits, restartAt, retryAt } from './backoff.ts';

const limits = kubeletLimits();
const main = container('main');

/** The delays of a container that ends `lasting` after each start. */
function delays(count: number, lasting: number, knobs = limits): number[] {
  let now = noon;
  let backOff: Backoff | undefined;
  return Array.from({ length: count }, () => {
    const end = ended(1, { startedAt: now, finishedAt: now + lasting });
    const at = restartAt(main, known(end, backOff && { backOff }), end, knobs) ?? end.finishedAt;
    backOff = afterEnd(main, known(end, backOff && { backOff }), end, at, knobs);
    now = at;
    return (at - end.finishedAt) / 1000;
  });
}

test('a crash loop waits 10 s, then twice as long each time, up to 5 min, and never gives up', () => {
  assert.deepEqual(delays(9, 0), [0, 10, 20, 40, 80, 160, 300, 300, 300]);
  assert.equal(delays(200, 0).at(-1), 300);
});

test('a run of more than 10 min is forgiven all that was before', () => {
  assert.deepEqual(delays(4, seconds(600)), [0, 10, 20, 40]);
  assert.deepEqual(delays(4, seconds(601)), [0, 0, 0, 0]);
});

test('the longest delay is the knob of the kubelet, and the first no longer than it', () => {
  assert.deepEqual(delays(5, 0, kubeletLimits(seconds(25))), [0, 10, 20, 25, 25]);
  assert.deepEqual(delays(4, 0, kubeletLimits(seconds(1))), [0, 1, 1, 1]);
});

test('another image or other resources begin anew', () => {
  const backOff: Backoff = { key: crashKey(main), delay: seconds(300), updated: noon };
  const end = ended(1);
  assert.equal(restartAt(main, known(end, { backOff }), end, limits), end.finishedAt + seconds(300));
  for (const other of [
    { ...main, image: 'other' },
    { ...main, resources: { limits: { cpu: '2' } } },
  ]) {
    assert.equal(restartAt(other, known(end, { backOff }), end, limits), undefined);
    assert.equal(afterEnd(other, known(end, { backOff }), end, noon, limits).delay, seconds(10));
  }
});

test('a container that a probe has ended starts at once, unless it had run for less than its delay', () => {
  const backOff: Backoff = { key: crashKey(main), delay: seconds(20), updated: noon };
  const at = (lasting: number, cause?: 'liveness' | 'postStart') => {
    const stopped = cause && { cause, message: '' };
    const end: Terminated = ended(137, { finishedAt: noon + seconds(lasting), ...(stopped && { stopped }) });
    const until = restartAt(main, known(end, { backOff }), end, limits);
    return until === undefined ? 0 : (until - end.finishedAt) / 1000;
  };
  assert.deepEqual([at(20, 'liveness'), at(19, 'liveness'), at(20), at(20, 'postStart')], [0, 20, 20, 20]);
});

test('a pull that fails is tried again after 10 s to 5 min, another image at once, the rest every 10 s', () => {
  let observed = known({ kind: 'waiting' });
  let now = noon;
  const failure = () => ({ reason: 'ErrImagePull', message: 'no route', at: now }) as const;
  const waits = Array.from({ length: 7 }, () => {
    observed = { ...observed, pullBackOff: afterFailedPull(main, observed, now, limits) };
    const wait = retryAt(main, observed, failure(), limits) - now;
    now += wait;
    return wait / 1000;
  });
  assert.deepEqual(waits, [10, 20, 40, 80, 160, 300, 300]);
  assert.equal(retryAt({ ...main, image: 'other' }, observed, failure(), limits), now);
  assert.equal(retryAt(main, known({ kind: 'waiting' }), failure(), limits), now + seconds(10));
  const missing = { reason: 'CreateContainerConfigError', message: 'secret "x" not found', at: now } as const;
  assert.equal(retryAt(main, observed, missing, limits), now + seconds(10));
});

test('a start that was decided and then cut off waits no second time, and counts once', () => {
  const end = ended(1);
  const at = end.finishedAt + seconds(10);
  const before = known(end, { backOff: { key: crashKey(main), delay: seconds(10), updated: noon } });
  const backOff = afterEnd(main, before, end, at, limits);
  assert.deepEqual(backOff, { key: crashKey(main), delay: seconds(20), updated: at });
  const cutOff = known(end, { backOff });
  assert.equal(restartAt(main, cutOff, end, limits), undefined);
  assert.deepEqual(afterEnd(main, cutOff, end, at + 1, limits), backOff);
});
