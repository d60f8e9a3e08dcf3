import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { makeApplier } from '../../src/host/apply.ts';
import { leaderOf } from '../../src/lab/enter.ts';
import { down, status, sweep, up } from '../../src/lab/lab.ts';
import { namespacePath } from '../../src/lab/network.ts';
import { placesOf } from '../../src/lab/record.ts';
import { parseLabSpec } from '../../src/lab/spec.ts';
import { allLabExecutors } from '../../src/lab/step.ts';
import { labDirectory } from '../../src/names.ts';
import { eventually } from '../app/tools.ts';
import { applier, host, sweepOnce } from '../harness/lab.ts';

const name = `d${process.pid}`;
const spec = parseLabSpec({ name, network: name });
/** Other tests' sweeps take back what they find in the usual place. */
const journals = join(labDirectory, `journal-${name}`);
const signal = AbortSignal.timeout(600_000);

/** One that a failed test has left would fail those after it. */
afterEach(async () => {
  if (await host.files.look(placesOf(name).directory)) await down(host, applier, name, signal);
});

/** Everything on this host that a lab could leave, without what belongs to other labs that run beside this test. */
function traces(): string[] {
  const others = /spawnlet-lab-(?!d\d)|labs\/(?!d\d)|netns\/t\d/;
  /** Of none if it is gone: a group may go while this looks. */
  const entries = (path: string) => {
    try {
      return readdirSync(path, { withFileTypes: true });
    } catch {
      return [];
    }
  };
  const directory = (path: string) => entries(path).map(entry => join(path, entry.name));
  const groups = (path: string): string[] =>
    entries(path).flatMap(entry => {
      const below = join(path, entry.name);
      return entry.isDirectory() ? [below, ...groups(below)] : [];
    });
  return [
    ...readFileSync('/proc/self/mountinfo', 'utf8').split('\n'),
    ...directory('/sys/class/net'),
    ...directory('/run/netns'),
    ...directory('/run/systemd/nspawn/propagate'),
    ...directory('/var/lib/spawnlet/lab/labs'),
    ...directory('/var/lib/spawnlet/lab/networks'),
    ...directory('/var/lib/spawnlet/lab/journal'),
    ...groups('/sys/fs/cgroup'),
  ].filter(line => line.includes(name) || !others.test(line));
}

/** Processes of the lab; one that is dead and not yet waited for is none. */
function processes(): string[] {
  return readdirSync('/proc')
    .filter(entry => /^\d+$/.test(entry))
    .filter(pid => {
      try {
        const dead = /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
        return !dead && readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(`spawnlet-lab-${name}`);
      } catch {
        return false;
      }
    });
}

async function leavesNothing(between: () => Promise<void>): Promise<void> {
  await sweepOnce();
  const before = traces();
  await up(host, applier, spec, host.locks.self, signal);
  assert.ok(processes().length > 3);
  assert.ok(traces().length > before.length);
  await between();
  await down(host, applier, name, signal);
  assert.deepEqual(processes(), []);
  assert.deepEqual(
    traces().filter(line => !before.includes(line) && line.includes(name)),
    [],
  );
  assert.equal(await host.files.look(placesOf(name).directory), undefined);
  assert.equal(await host.files.look(namespacePath(name)), undefined);
}

test('down leaves nothing of a lab that runs', () => leavesNothing(async () => undefined));

test('down leaves nothing after kill -9 of nspawn', () =>
  leavesNothing(async () => {
    const leader = await leaderOf(host, name);
    const parent = /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${leader}/status`, 'utf8'))?.[1];
    process.kill(Number(parent), 'SIGKILL');
  }));

test('down leaves nothing after kill -9 of the process that keeps the lab', () =>
  leavesNothing(async () => {
    const [{ pid } = { pid: null }] = await status(host, name);
    assert.ok(pid !== null);
    process.kill(pid, 'SIGKILL');
  }));

test('up starts a lab again that had died, with what was in it', () =>
  leavesNothing(async () => {
    const leader = await leaderOf(host, name);
    writeFileSync(`/proc/${leader}/root/root/kept`, 'kept');
    const [{ pid } = { pid: null }] = await status(host, name);
    assert.ok(pid !== null);
    process.kill(pid, 'SIGKILL');
    await eventually(
      async () => (await status(host, name))[0]?.state === 'dead' || undefined,
      'the lab is dead',
    );
    await up(host, applier, spec, host.locks.self, signal);
    assert.equal((await status(host, name))[0]?.state, 'running');
    assert.equal(readFileSync(`/proc/${await leaderOf(host, name)}/root/root/kept`, 'utf8'), 'kept');
  }));

/** Steps that change more than files. Where systemd runs, the lab's unit has its cgroups made. */
const steps = existsSync('/run/systemd/system')
  ? ['make-network', 'start-lab']
  : ['make-network', 'make-cgroups', 'start-lab'];
for (const [kind, side] of steps.flatMap(step => [[step, 'before'] as const, [step, 'after'] as const])) {
  test(`what an up leaves that was killed ${side} ${kind} is taken back by the next command`, async () => {
    await sweepOnce();
    const before = traces();
    const program = join(import.meta.dirname, 'killed-up.ts');
    const killed = await host.children.capture([process.execPath, program, name, journals, kind, side]);
    assert.equal(killed.code, 137, killed.stderr);
    assert.ok(traces().some(line => line.includes(name)));
    const next = makeApplier(allLabExecutors(host), host.files, host.locks, journals);
    assert.deepEqual(await next.recover(signal), [`lab up ${name}`]);
    await host.files.remove(journals);
    assert.deepEqual(processes(), []);
    assert.deepEqual(
      traces().filter(line => !before.includes(line) && line.includes(name)),
      [],
    );
    assert.equal(await host.files.look(placesOf(name).directory), undefined);
  });
}

test('a sweep takes down the labs of a process that is gone, and no other', async () => {
  const gone = { ...host.locks.self, start: '1' };
  await up(host, applier, spec, gone, signal);
  assert.ok((await sweep(host, applier, signal)).includes(name));
  assert.deepEqual(processes(), []);
  await up(host, applier, spec, host.locks.self, signal);
  assert.ok(!(await sweep(host, applier, signal)).includes(name));
  await down(host, applier, name, signal);
});

test('down of a name that no lab has is refused', async () => {
  await assert.rejects(down(host, applier, name, signal), { code: 'ERR_LAB_NOT_FOUND' });
});
