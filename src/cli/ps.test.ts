import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AppState } from '../app/status.ts';
import { ago, duration, rfc3339 } from './output.ts';
import { describeState } from './ps.ts';

const now = Date.parse('2026-11-22T10:00:00Z');
const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

test('a duration is said as podman and docker say it', () => {
  const said: readonly (readonly [number, string])[] = [
    [-5, 'Less than a second'],
    [999, 'Less than a second'],
    [second, '1 second'],
    [59 * second, '59 seconds'],
    [minute, 'About a minute'],
    [2 * minute, '2 minutes'],
    [hour, 'About an hour'],
    [47 * hour, '47 hours'],
    [48 * hour, '2 days'],
    [13 * day, '13 days'],
    [14 * day, '2 weeks'],
    [59 * day, '8 weeks'],
    [60 * day, '2 months'],
    [729 * day, '24 months'],
    [730 * day, '2 years'],
  ];
  for (const [time, text] of said) assert.equal(duration(time), text, String(time));
  assert.equal(ago(now - 3 * minute, now), '3 minutes ago');
});

test('a time is RFC 3339, and null where it is not known', () => {
  assert.equal(rfc3339(now + 123.4), '2026-11-22T10:00:00.123Z');
  for (const unknown of [undefined, 0, Number.NaN]) assert.equal(rfc3339(unknown), null);
});

test('a status has the words of podman and docker, and the reason behind them', () => {
  const ended = now - 3 * minute;
  const of = (state: AppState) => describeState(state, 0, now);
  assert.equal(of({ kind: 'running', since: now - 5 * minute }), 'Up 5 minutes');
  const running = { kind: 'running', since: now - 2000 } as const;
  assert.equal(describeState(running, 1, now), 'Up 2 seconds, restarted once');
  assert.equal(describeState(running, 5, now), 'Up 2 seconds, restarted 5 times');
  const exited = { kind: 'exited', exitCode: 0, oomKilled: false, ended } as const;
  assert.equal(of(exited), 'Exited (0) 3 minutes ago');
  assert.equal(of({ ...exited, exitCode: 143 }), 'Exited (143) 3 minutes ago, SIGTERM');
  assert.equal(
    of({ ...exited, exitCode: 137, oomKilled: true }),
    'Exited (137) 3 minutes ago, out of memory',
  );
  assert.equal(of({ ...exited, kind: 'restarting', exitCode: 1 }), 'Restarting (1) 3 minutes ago');
  assert.equal(of({ kind: 'created' }), 'Created');
});
