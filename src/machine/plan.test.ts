import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linesOf, plainFacts, plainSpec } from '../../test/harness/machine-spec.ts';
import { networkLines } from '../network/lines.ts';
import { addedBinds, changedLimits, type Desired, needsRestart, type Present, planMachine } from './plan.ts';
import type { MachineSpec } from './spec.ts';
import type { Standstill } from './standstill.ts';

const facts = { systemd: 257, udev: false, hostId: '', nat: { v4: '', v6: '' } };

const desired = (spec: MachineSpec): Desired => ({
  spec,
  document: '',
  facts: plainFacts,
  network: { ...networkLines(spec, facts), ...linesOf(spec) },
  guest: [],
  before: [],
});

const there: Present = {
  kind: 'machine',
  enabled: false,
  loaded: true,
  up: true,
  limits: {},
  mounts: [],
  isMapped: false,
};

const kinds = (spec: MachineSpec, present: Present) =>
  planMachine(desired(spec), present).steps.map(step => step.do);

test('a unit that systemd has not in memory needs no reload', () => {
  assert.ok(kinds(plainSpec, there).includes('reload-manager'));
  assert.ok(!kinds(plainSpec, { ...there, loaded: false, up: false }).includes('reload-manager'));
});

test('a clone is mounted before it is written into, a directory is linked and nothing is copied', () => {
  const clone = kinds(plainSpec, {
    kind: 'nothing',
    loaded: false,
    start: true,
    tree: { kind: 'clone', lower: ['/base'], mode: 0o755 },
  });
  assert.ok(clone.includes('start-unit') && !clone.includes('copy-tree'));
  // Units' files come before it, its spec and its start after it.
  assert.deepEqual(clone.slice(clone.indexOf('start-unit') + 1), ['write-file', 'begin-machine']);
  const link = kinds(plainSpec, {
    kind: 'nothing',
    loaded: false,
    start: false,
    tree: { kind: 'link', path: '/srv/tree' },
  });
  assert.ok(link.includes('make-link') && !link.includes('copy-tree') && !link.includes('start-unit'));
});

test('a machine that runs is frozen while it is copied, and not longer', () => {
  const tree = { kind: 'clone-of-clone', lower: ['/base'], upper: '/upper' } as const;
  const around = (standstill: Standstill) => {
    const all = kinds(plainSpec, { kind: 'nothing', loaded: false, start: false, tree, standstill });
    const at = all.indexOf('copy-tree');
    return all.slice(at - 1, at + 2);
  };
  assert.deepEqual(around({ kind: 'frozen', unit: 'other.service' }), [
    'freeze-unit',
    'copy-tree',
    'thaw-unit',
  ]);
  assert.deepEqual(around({ kind: 'held', tree: '/var/lib/machines/other' }), [
    'hold-tree',
    'copy-tree',
    'release-tree',
  ]);
});

test('limits are set while a machine runs, and one that is gone as systemd has it', () => {
  assert.deepEqual(changedLimits({ memory: 1, cpus: 0.5 }, { cpus: 0.5, tasks: 7 }), [
    { name: 'MemoryMax', value: '18446744073709551615' },
    { name: 'TasksMax', value: '7' },
  ]);
  assert.deepEqual(changedLimits({ cpus: 1 }, { cpus: 1.5 }), [
    { name: 'CPUQuotaPerSecUSec', value: '1500000' },
  ]);
});

test('what is no limit, and cannot be bound at once, waits for a restart', () => {
  const bind = { kind: 'bind', source: '/srv', target: '/mnt', readOnly: false } as const;
  const changed = { ...plainSpec, mounts: [bind] };
  assert.equal(needsRestart(plainSpec, { ...plainSpec, limits: { memory: 1 } }, false), false);
  assert.equal(needsRestart(plainSpec, changed, false), false);
  assert.equal(needsRestart(plainSpec, changed, true), true);
  assert.equal(needsRestart(changed, plainSpec, false), true);
  assert.equal(needsRestart(plainSpec, { ...plainSpec, environment: { A: 'b' } }, false), true);
  assert.deepEqual(addedBinds([bind], [bind], false), []);
});
