import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeChildren } from '../host/child.ts';
import { FakeClock } from '../host/clock.ts';
import { FakeFiles } from '../host/files.ts';
import type { Locks } from '../host/lock.ts';
import { freeAddress } from './network.ts';
import { downPlan, upPlan } from './plan.ts';
import { type LabRecord, labsDirectory, placesOf } from './record.ts';
import { type LabOptions, parseLabSpec } from './spec.ts';
import { allLabExecutors } from './step.ts';
import { builderArgv, recipeOf, treePath } from './tree.ts';

const recordOf = (options: LabOptions, supervisor: LabRecord['supervisor'] = 'none'): LabRecord => ({
  version: 1,
  spec: parseLabSpec(options),
  tree: '/tree',
  address: '10.77.0.2',
  machineId: '0'.repeat(32),
  supervisor,
  owner: null,
});
const around = { hierarchies: [], resolvConf: 'nameserver 192.0.2.1\n' };
const kinds = (record: LabRecord) => upPlan(record, around).steps.map(step => step.do);
const contentOf = (record: LabRecord, path: string) =>
  upPlan(record, around).steps.find(step => step.do === 'write-file' && step.path.endsWith(path));

test('the record is written before anything is made that it names, and the boot comes last', () => {
  const steps = upPlan(recordOf({ nat: true }), around).steps;
  const [first, second] = steps;
  assert.equal(first?.do, 'make-directory');
  assert.partialDeepStrictEqual(second, { do: 'write-file', path: placesOf('lab').record });
  assert.equal(steps.at(-1)?.do, 'start-lab');
});

test('a way out is made for labs that ask for one only, and only those know the host’s name servers', () => {
  assert.ok(kinds(recordOf({ nat: true })).includes('open-egress'));
  assert.ok(!kinds(recordOf({})).includes('open-egress'));
  assert.partialDeepStrictEqual(contentOf(recordOf({ nat: true }), 'resolv.conf'), {
    content: around.resolvConf,
  });
  assert.partialDeepStrictEqual(contentOf(recordOf({}), 'resolv.conf'), {
    content: 'nameserver 10.77.0.1\n',
  });
});

test('cgroups are made where no systemd does it', () => {
  assert.ok(kinds(recordOf({})).includes('make-cgroups'));
  assert.ok(!kinds(recordOf({}, 'systemd')).includes('make-cgroups'));
});

test('down ends a lab before it removes what the lab stands on', () => {
  const steps = downPlan('lab', recordOf({ nat: true }), [], ['spawnlet-lab']).steps;
  assert.deepEqual(
    steps.map(step => step.do),
    ['end-lab', 'close-egress', 'remove', 'remove-network'],
  );
});

test('every step tells what it does in one line', () => {
  const locks = { self: { pid: 1, start: '1', boot: 'b', command: 'test' } } as Locks;
  const host = { files: new FakeFiles(), children: new FakeChildren(), clock: new FakeClock(), locks };
  const executors = allLabExecutors(host);
  const steps = [
    ...upPlan(recordOf({ nat: true }), around).steps,
    ...downPlan('lab', recordOf({ nat: true }), [], ['n']).steps,
  ];
  for (const step of steps) {
    const { describe } = executors[step.do] as { describe: (of: typeof step) => string };
    assert.match(describe(step), /^[a-z].{5,}$/);
  }
});

test('labs lie side by side below one directory', () => {
  assert.equal(placesOf('a').directory, `${labsDirectory}/a`);
});

test('a lab gets the lowest address that is free, and a full network is told', () => {
  assert.equal(freeAddress([]), '10.77.0.2');
  assert.equal(freeAddress(['10.77.0.2', '10.77.0.4']), '10.77.0.3');
  const all = Array.from({ length: 253 }, (_value, at) => `10.77.0.${at + 2}`);
  assert.throws(() => freeAddress(all), { code: 'ERR_LAB_NETWORK_FULL' });
});

test('another suite, package or architecture is another tree; the order of packages is not', () => {
  const path = (suite: 'bookworm' | 'trixie', packages: string[], architecture = 'amd64') =>
    treePath(recipeOf({ suite, packages }, architecture));
  const plain = path('bookworm', []);
  assert.equal(path('bookworm', ['crun']), plain);
  assert.equal(path('bookworm', ['podman', 'skopeo']), path('bookworm', ['skopeo', 'podman']));
  const others = [path('trixie', []), path('bookworm', ['podman']), path('bookworm', [], 'arm64')];
  assert.equal(new Set([plain, ...others]).size, 4);
});

test('a tree is built of its recipe, without documentation', () => {
  const argv = builderArgv(recipeOf({ suite: 'trixie', packages: ['podman'] }, 'amd64'), '/root');
  assert.equal(argv[0], 'mmdebstrap');
  assert.match(argv.join(' '), /path-exclude=\/usr\/share\/doc\/\* .* --include=\S*podman/);
  assert.deepEqual(argv.slice(-2), ['trixie', '/root']);
});
