import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runPlan } from '../../test/harness/run-plan.ts';
import { SpawnletError } from '../host/error.ts';
import { afterResult, type Healthcheck, type HealthFlags, parseHealth, unknownHealth } from './health.ts';
import { parseHealthCommand, parseTime } from './request.ts';

const ofImage = { test: ['CMD-SHELL', 'ask me'], interval: 0, timeout: 5000, startPeriod: 100, retries: 0 };
const decided = (health?: HealthFlags, healthcheck?: typeof ofImage) =>
  runPlan(health ? { health } : {}, healthcheck ? { healthcheck } : {}).health;

test('a check is the image’s, with what flags say in its place, and podman’s values where nothing is said', () => {
  assert.equal(decided(), undefined);
  assert.equal(decided('off', ofImage), undefined);
  assert.equal(decided({ test: ['NONE'] }, ofImage), undefined);
  assert.deepEqual(decided(undefined, ofImage), {
    args: ['/bin/sh', '-c', 'ask me'],
    interval: 30_000,
    timeout: 5000,
    retries: 3,
    startPeriod: 100,
    onFailure: 'none',
  });
  const asked = decided({ test: parseHealthCommand('["a","b"]'), interval: 0, onFailure: 'kill' }, ofImage);
  assert.deepEqual([asked?.args, asked?.interval, asked?.onFailure], [['a', 'b'], 0, 'kill']);
  assert.throws(
    () => decided({ retries: 2 }),
    (error: unknown) => error instanceof SpawnletError && error.code === 'ERR_FLAG_CONFLICT',
  );
});

test('times are podman’s', () => {
  for (const [text, milliseconds] of [
    ['30s', 30_000],
    ['1m30s', 90_000],
    ['1h', 3_600_000],
    ['0.5s', 500],
    ['250ms', 250],
  ] as const)
    assert.equal(parseTime('health-interval', text), milliseconds);
  for (const text of ['', '30', 's', '1m 2s', '-1s', '1d']) assert.throws(() => parseTime('x', text));
});

test('failures in a row make it unhealthy, one success well; those of the beginning do not count', () => {
  const check: Healthcheck = {
    args: [],
    interval: 1,
    timeout: 1,
    retries: 2,
    startPeriod: 1000,
    onFailure: 'none',
  };
  /** Exit codes, each a second after the one before; the container began with the first. */
  const after = (...codes: readonly number[]) =>
    codes.reduce(
      (health, exitCode, at) =>
        afterResult(health, check, { start: at * 1000, end: at * 1000, exitCode, output: '' }, 0),
      unknownHealth('a'),
    );
  const told = (...codes: readonly number[]) => {
    const { status, failing } = after(...codes);
    return [status, failing];
  };
  assert.deepEqual(told(1), ['starting', 0]);
  assert.deepEqual(told(1, 1), ['starting', 1]);
  assert.deepEqual(told(1, 1, -1), ['unhealthy', 2]);
  assert.deepEqual(told(1, 1, 1, 0), ['healthy', 0]);
  assert.deepEqual(told(0, 1), ['healthy', 1]);
  assert.deepEqual(told(0, 1, 0, 1), ['healthy', 1]);
  assert.equal(after(0, 0, 0, 0, 0, 0, 0).log.length, 5);
});

test('what is known of another run says nothing of this one', () => {
  const text = JSON.stringify({ ...unknownHealth('a'), status: 'healthy' });
  assert.equal(parseHealth(text, 'a').status, 'healthy');
  assert.deepEqual(parseHealth(text, 'b'), unknownHealth('b'));
  for (const broken of [undefined, '', '{', '{"version":2}', 'null'])
    assert.deepEqual(parseHealth(broken, 'b'), unknownHealth('b'));
});
