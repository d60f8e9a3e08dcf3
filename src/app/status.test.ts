import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import {
  execHint,
  exitCodeOf,
  parseRecord,
  type RunRecord,
  startFailure,
  startHint,
  stateOf,
} from './status.ts';

const record: RunRecord = {
  version: 1,
  invocation: 'a',
  result: 'success',
  code: 'exited',
  status: '0',
  oom: false,
  ended: 7,
};

const unit = {
  ActiveState: 'inactive',
  SubState: '',
  ActiveEnterTimestamp: 0,
  InvocationID: 'a',
  Result: 'success',
  ExecMainCode: 0,
  ExecMainStatus: 0,
  ExecMainExitTimestamp: 0,
  Job: 0,
};

test('a record that was cut short, or is of another version, is none', () => {
  assert.deepEqual(parseRecord(JSON.stringify(record)), record);
  for (const text of [undefined, '', '{"version":1,"inv', '{"version":2}'])
    assert.equal(parseRecord(text), undefined);
});

test('an exit code is the program’s, or 128 and the signal', () => {
  assert.equal(exitCodeOf({ code: 'exited', status: '42' }, constants.signals), 42);
  assert.equal(exitCodeOf({ code: 'killed', status: 'KILL' }, constants.signals), 137);
  assert.equal(exitCodeOf({ code: 'dumped', status: 'SEGV' }, constants.signals), 139);
});

test('a state is the unit’s, and the record’s when it is down', () => {
  const of = (ActiveState: string, last?: RunRecord) =>
    stateOf({ ...unit, ActiveState, ActiveEnterTimestamp: 5_000 }, last, constants.signals);
  assert.deepEqual(of('active', record), { kind: 'running', since: 5 });
  assert.deepEqual(of('inactive'), { kind: 'created' });
  assert.deepEqual(of('failed', { ...record, status: '3' }), {
    kind: 'exited',
    exitCode: 3,
    oomKilled: false,
    ended: 7000,
  });
});

test('a unit that is down with a job is about to be started', () => {
  const of = (last?: RunRecord) => stateOf({ ...unit, Job: 7 }, last, constants.signals).kind;
  assert.deepEqual([of(), of(record)], ['starting', 'restarting']);
});

test('a run that had no time to write its end is told by its failed unit, and after a reboot by what was written before', () => {
  const assumed = { ...record, code: 'killed', status: 'KILL', ended: 0 };
  const killed = {
    ...unit,
    Result: 'signal',
    ExecMainCode: 2,
    ExecMainStatus: 9,
    ExecMainExitTimestamp: 8_000,
  };
  const of = (observed: Partial<typeof unit>, last?: RunRecord) =>
    stateOf({ ...unit, ...observed }, last, constants.signals);
  const end = { kind: 'exited', exitCode: 137, oomKilled: false };
  assert.deepEqual(of({ ...killed, ActiveState: 'failed' }, assumed), { ...end, ended: 8 });
  assert.deepEqual(of({ ...killed, ActiveState: 'failed', InvocationID: 'b' }, record), { ...end, ended: 8 });
  assert.deepEqual(of({}, assumed), end);
  assert.deepEqual(
    of({ ActiveState: 'failed', ExecMainCode: 1, ExecMainStatus: 1, ExecMainExitTimestamp: 8_000 }),
    {
      ...end,
      exitCode: 1,
      ended: 8,
    },
  );
  assert.deepEqual(of({ ...killed, ActiveState: 'failed', Result: 'oom-kill' }), {
    ...end,
    oomKilled: true,
    ended: 8,
  });
});

test('a unit that systemd is about to start again is restarting', () => {
  const of = (SubState: string, last?: RunRecord) =>
    stateOf({ ...unit, ActiveState: 'activating', SubState }, last, constants.signals);
  assert.deepEqual(of('auto-restart', { ...record, status: '3' }), {
    kind: 'restarting',
    exitCode: 3,
    oomKilled: false,
    ended: 7000,
  });
  assert.deepEqual(of('start', record), { kind: 'starting' });
});

test('a run that had no time to write its end is told by a unit that is still loaded, whatever becomes of it', () => {
  const assumed = { ...record, code: 'killed', status: 'KILL', ended: 0 };
  const killed = { ...unit, ExecMainCode: 2, ExecMainStatus: 9, ExecMainExitTimestamp: 8_000 };
  const of = (ActiveState: string, SubState: string) =>
    stateOf({ ...killed, ActiveState, SubState }, assumed, constants.signals);
  const end = { exitCode: 137, oomKilled: false, ended: 8 };
  assert.deepEqual(of('activating', 'auto-restart'), { kind: 'restarting', ...end });
  assert.deepEqual(of('activating', 'auto-restart-queued'), { kind: 'restarting', ...end });
  assert.deepEqual(of('inactive', 'dead'), { kind: 'exited', ...end });
});

test('why a container was not made decides the exit code', () => {
  const codes = {
    'executable file `x` not found in $PATH: No such file or directory': 127,
    'open executable: Permission denied': 126,
    'exec `/x`: Exec format error': 126,
    'mount `proc`: Invalid argument': 125,
    '': 125,
  };
  for (const [text, code] of Object.entries(codes))
    assert.equal(startFailure(`earlier\n${text}\n`).exitCode, code, text);
});

test('the hint of a failed start leads to somebody who has said something', () => {
  assert.match(startHint('\n', 125, 'web.service'), /^journalctl --namespace=\+spawnlet .*-u web\.service$/);
  assert.match(startHint('mount `proc`: Invalid argument', 125, 'web.service'), /doctor/);
  assert.match(startHint('open executable: Permission denied', 126, 'web.service'), /execute/);
  assert.match(startHint('executable file `x` not found', 127, 'web.service'), /entrypoint/);
  const flag = 'executable file `-it` not found in $PATH: No such file or directory';
  assert.equal(startHint(flag, 127, 'web.service'), 'flags of run go before the image');
});

test('the hint of a failed exec is that of a start, or speaks of the working directory', () => {
  const hint = (text: string) => execHint(startFailure(text), 'another -w');
  assert.match(hint('executable file `x` not found in $PATH: No such file or directory'), /in the container/);
  assert.match(hint('exec `/etc/passwd`: Permission denied'), /may execute/);
  assert.equal(hint('chdir `/nope`: No such file or directory'), 'another -w');
  assert.equal(hint('chdir `/root`: Permission denied'), 'another -w');
});
