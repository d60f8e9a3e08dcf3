import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { quoted } from '../host/shell.ts';
import { bootScript, nspawnArgv } from './boot.ts';
import type { LabRecord } from './record.ts';
import { type LabOptions, parseLabSpec } from './spec.ts';

const recordOf = (options: LabOptions, supervisor: LabRecord['supervisor'] = 'none'): LabRecord => ({
  version: 1,
  spec: parseLabSpec(options),
  tree: '/var/lib/spawnlet/lab/trees/0123456789ab',
  address: '10.77.0.2',
  machineId: '0'.repeat(32),
  supervisor,
  owner: null,
});
const hierarchies = [{ path: '/sys/fs/cgroup/memory', version: 1, controllers: ['memory'] }] as const;

test('a quoted word is one word to sh', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: fc.constantFrom('a', "'", '"', '$', '`', '\\', ' ', '\n', '*', 'é') })),
      words => {
        const script = `printf '%s\\0' ${words.map(quoted).join(' ')}`;
        const got = execFileSync('sh', ['-c', script], { encoding: 'utf8' });
        assert.equal(got, words.length === 0 ? '\0' : words.map(word => `${word}\0`).join(''));
      },
    ),
    { numRuns: 50 },
  );
});

test('both boot scripts are sh', () => {
  for (const supervisor of ['none', 'systemd'] as const)
    execFileSync('sh', ['-n'], {
      input: bootScript(recordOf({ binds: ["/it's:/b c"] }, supervisor), hierarchies),
    });
});

test('a colon in a bound path is not nspawn’s', () => {
  const record = recordOf({});
  const spec = {
    ...record.spec,
    binds: [{ source: '/a:b', target: String.raw`/c\d`, access: 'read-only' as const }],
  };
  assert.ok(nspawnArgv({ ...record, spec }).includes(String.raw`--bind-ro=/a\:b:/c\\d`));
});

test('without systemd as PID 1 the script enters the cgroups that were made for the lab; in a unit it does not', () => {
  const group = '/sys/fs/cgroup/memory/spawnlet-lab-lab/machine/cgroup.procs';
  assert.ok(bootScript(recordOf({}), hierarchies).includes(group));
  assert.ok(!bootScript(recordOf({}, 'systemd'), hierarchies).includes(group));
});

test('a lab may not load modules, set the clock, swap or reach raw ports', () => {
  const filter = nspawnArgv(recordOf({})).find(word => word.startsWith('--system-call-filter='));
  assert.ok(filter);
  for (const group of ['@module', '@clock', '@swap', '@raw-io']) assert.ok(!filter.includes(group));
});
