import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { plainFacts, plainSpec } from '../../test/harness/machine-spec.ts';
import type { MachineStatus } from './api.ts';
import { denials } from './denials.ts';
import { type Answer, findingOf, parseAnswers } from './doctor.ts';
import { profileRows } from './profiles.ts';
import type { ProfileName } from './spec.ts';

const status = (profiles: readonly ProfileName[], more: Partial<MachineStatus> = {}): MachineStatus => ({
  name: 'web',
  state: 'running',
  enabled: false,
  from: 'base:debian',
  addresses: [],
  spec: { ...plainSpec, profiles: ['default', ...profiles] },
  unit: 'systemd-nspawn@web.service',
  os: 'Debian GNU/Linux 12 (bookworm)',
  tree: { kind: 'overlay', path: '/var/lib/machines/web', layers: [] },
  users: { range: 'no' },
  files: [],
  snapshots: [],
  pending: [],
  missing: [],
  ...more,
});

const denied: Answer = { kind: 'denied', why: 'bpf: operation not permitted' };

function finding(name: string, answer: Answer, of: MachineStatus, host = plainFacts.host) {
  const denial = denials.find(each => each.name === name);
  if (!denial) throw new Error(name);
  return findingOf(denial, answer, of, host);
}

test('every line of every profile is what something takes that is asked for', () => {
  for (const row of profileRows().filter(({ place }) => place !== 'stock')) {
    const askers = denials.filter(({ profiles, takes }) => profiles.includes(row.profile) && takes(row));
    assert.notEqual(askers.length, 0, `${row.profile} ${row.key}=${row.value}`);
  }
});

test('everything that is asked for takes a line of each profile that it names', () => {
  for (const { name, profiles, takes } of denials)
    for (const profile of profiles)
      assert.ok(
        profileRows().some(row => row.profile === profile && takes(row)),
        `${name}: ${profile}`,
      );
});

test('what is denied is told with the lines that it would take', () => {
  assert.deepEqual(finding('bpf', denied, status([])), {
    verdict: 'note',
    finding: 'denied: bpf: operation not permitted',
    fix: 'profile nested: [Exec] SystemCallFilter=@keyring bpf; or profile ebpf: [Exec] SystemCallFilter=bpf perf_event_open',
  });
});

test('a profile that waits for a restart, or that a user namespace stands before, is told so', () => {
  const waiting = status(['nested'], { pending: ['web.nspawn was changed since it started'] });
  assert.equal(finding('bpf', denied, waiting).fix, 'spawnlet machine restart web');
  const mapped = finding('bpf', denied, status(['nested'], { users: { range: 'pick' } }));
  assert.match(mapped.finding, /its user namespace may not/);
});

test('what the host has not is given by no profile', () => {
  const host = { ...plainFacts.host, devices: [], modules: 'none' } as const;
  for (const name of ['kvm', 'modules']) {
    const { finding: text, fix } = finding(name, denied, status([]), host);
    assert.match(text, /this host has none to give$/);
    assert.equal(fix, undefined);
  }
});

test('a machine that cannot be asked is judged by its profiles, and said to be', () => {
  const unknown: Answer = { kind: 'unknown', why: 'it does not run' };
  assert.equal(
    finding('keyrings', unknown, status([])).finding,
    'its profiles do not allow it (not tried: it does not run)',
  );
  assert.deepEqual(finding('keyrings', unknown, status(['nested'])), {
    verdict: 'ok',
    finding: 'its profiles allow it (not tried: it does not run)',
  });
});

test('answers are read line by line, without what a shell puts in front', () => {
  const lines = ['0 ', '1 bpf: operation not permitted', '2 it has neither perl nor python3 to try it with'];
  const shells = [
    '2 sh: 30: eval: cannot open /dev/kmsg: Operation not permitted',
    '1 sh: line 9: /dev/kmsg: No such file',
  ];
  assert.deepEqual(parseAnswers([...lines, ...shells].join('\n')).slice(0, 6), [
    { kind: 'allowed' },
    { kind: 'denied', why: 'bpf: operation not permitted' },
    { kind: 'unknown', why: 'it has neither perl nor python3 to try it with' },
    { kind: 'denied', why: '/dev/kmsg: Operation not permitted' },
    { kind: 'denied', why: '/dev/kmsg: No such file' },
    { kind: 'unknown', why: 'it gave no answer' },
  ]);
});

test('whatever a machine writes, each question has one answer', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      assert.equal(parseAnswers(text).length, denials.length);
    }),
  );
});
