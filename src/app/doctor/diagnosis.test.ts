import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeChildren, programMissing } from '../../host/child.ts';
import { realHost } from '../../host/host.ts';
import { diagnose, isHealthy, missing, note, ok, type Place, type Probe } from './diagnosis.ts';
import { container, nspawnProgram, program } from './engine-probes.ts';
import { limits } from './host-probes.ts';

const place: Place = { host: realHost('/nonexistent', 'test'), directory: '' };
const never = new AbortController().signal;
const probe = (name: string, look: Probe['look'], needs: Probe['needs'] = []): Probe => ({
  name,
  purpose: `for ${name}`,
  needs,
  look,
});

test('rows come in the order of the probes, those that others need first', async () => {
  const late = probe('late', async () => ok('seen'), ['root']);
  const rows = await diagnose(
    [probe('early', async () => ok('seen')), late, probe('root', async () => ok('is'))],
    place,
    never,
  );
  assert.deepEqual(
    rows.map(row => row.name),
    ['root', 'early', 'late'],
  );
  assert.equal(rows[2]?.finding, 'seen');
  assert.equal(rows[2]?.purpose, 'for late');
});

test('a probe whose needs are not met is not run, and does not count as missing itself', async () => {
  let ran = false;
  const needy = probe('needy', async () => {
    ran = true;
    return ok('seen');
  }, ['root', 'systemd']);
  const rows = await diagnose(
    [probe('root', async () => ok('is')), probe('systemd', async () => missing('is not', 'boot it')), needy],
    place,
    never,
  );
  assert.equal(ran, false);
  assert.deepEqual(rows[2], {
    name: 'needy',
    purpose: 'for needy',
    verdict: 'note',
    finding: 'not looked at: needs systemd',
  });
  assert.equal(isHealthy(rows), false);
});

test('what a probe throws is a finding, with the error’s hint as the fix', async () => {
  const rows = await diagnose(
    [
      probe('program', async () => Promise.reject(programMissing('crun'))),
      probe('surprise', async () => Promise.reject(new Error('EIO'))),
    ],
    place,
    never,
  );
  assert.deepEqual(
    rows.map(({ verdict, finding, fix }) => ({ verdict, finding, fix })),
    [
      { verdict: 'missing', finding: 'crun is not installed', fix: 'apt-get install crun' },
      { verdict: 'missing', finding: 'EIO', fix: undefined },
    ],
  );
});

test('an interrupted doctor tells nothing', async () => {
  const abort = new AbortController();
  const cut = probe('cut', async () => {
    abort.abort(new Error('interrupted'));
    throw new Error('a child died');
  });
  await assert.rejects(diagnose([cut], place, abort.signal), /interrupted/);
});

test('notes leave a host healthy', () => {
  assert.equal(isHealthy([{ name: 'a', purpose: '', ...note('b') }]), true);
});

test('a program that is there and cannot be run is missing', async () => {
  const children = new FakeChildren({ crun: () => ({ code: 126, stderr: 'libyajl.so.2: cannot open\n' }) });
  const broken: Place = { host: { ...place.host, children }, directory: '' };
  const [row] = await diagnose([program('crun', 'isolates containers')], broken, never);
  assert.equal(row?.verdict, 'missing');
  assert.match(row?.finding ?? '', /126: libyajl/);
});

test('without systemd-nspawn containers run all the same', async () => {
  const bare: Place = { host: { ...place.host, children: new FakeChildren() }, directory: '' };
  const [row] = await diagnose([nspawnProgram], bare, never);
  assert.equal(row?.verdict, 'note');
  assert.equal(row?.fix, 'apt-get install systemd-container');
});

test('a hybrid host that crun refuses is told how to boot', async () => {
  const stderr = 'cgroups in hybrid mode not supported, drop all controllers from cgroup2\n';
  const directory = await mkdtemp(join(tmpdir(), 'doctor-'));
  try {
    const children = new FakeChildren({ 'systemd-run': () => ({ code: 1, stderr }) });
    const found = await container.look({ host: { ...place.host, children }, directory }, never);
    assert.equal(found.verdict, 'missing');
    assert.match(found.fix ?? '', /systemd\.unified_cgroup_hierarchy=1/);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('limits that a cgroup does not have are named', async () => {
  const answer = (stdout: string): Place => {
    const children = new FakeChildren({ 'systemd-run': () => ({ stdout: Buffer.from(stdout) }) });
    return { host: { ...place.host, children }, directory: '' };
  };
  const v1 = await limits.look(answer('67108864\n321\n50000\n'), never);
  const v2 = await limits.look(answer('67108864\n321\n50000 100000\n'), never);
  assert.deepEqual([v1.verdict, v2.verdict], ['ok', 'ok']);
  const lost = await limits.look(answer('max\n321\nnone\n'), never);
  assert.equal(lost.verdict, 'missing');
  assert.match(lost.finding, /: memory, cpu$/);
});
