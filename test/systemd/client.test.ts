// runs in a lab: bookworm trixie
/** The client against a live systemd. Runs as root where systemd is PID 1. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { makeApplier } from '../../src/host/apply.ts';
import { systemFiles } from '../../src/host/files.ts';
import { FakeLocks } from '../../src/host/lock.ts';
import { SystemdClient } from '../../src/systemd/client.ts';
import { type Address, Connection, privateAddress, systemBusAddress } from '../../src/systemd/connection.ts';
import { type SystemdStep, systemdExecutors } from '../../src/systemd/executors.ts';
import type { UnitProperties } from '../../src/systemd/properties.ts';
import { eventually } from '../app/tools.ts';

const run = promisify(execFile);
const signal = AbortSignal.timeout(600_000);
const prefix = `spawnlet-test-client-${process.pid}`;
let client: SystemdClient;
let counter = 0;

before(async () => {
  client = await SystemdClient.connect({ signal });
});
afterEach(() => {
  for (const name of readdirSync('/run/systemd/system'))
    if (name.startsWith(prefix)) rmSync(`/run/systemd/system/${name}`, { recursive: true });
});
after(async () => {
  for (const row of await client.listUnits([`${prefix}*`], signal)) {
    await client.stopUnit(row.name, 'replace', signal);
    await client.resetFailedUnit(row.name, signal);
  }
  await client[Symbol.asyncDispose]();
});

const unitName = (type = 'service') => `${prefix}-${counter++}.${type}`;

/** Writes a new unit file and gives its name. */
function service(lines: string, name = unitName()): string {
  writeFileSync(`/run/systemd/system/${name}`, `[Service]\n${lines}\n`);
  return name;
}

/** Counts reloads that systemd tells of while the test runs. */
async function reloads(t: TestContext): Promise<() => number> {
  let count = 0;
  const connection = await Connection.open(
    privateAddress,
    message => {
      if (message.member === 'Reloading') count++;
    },
    signal,
  );
  t.after(() => connection[Symbol.asyncDispose]());
  return () => count;
}

/** A zombie that PID 1 is about to reap runs no more. */
function isRunning(pid: number): boolean {
  if (!existsSync(`/proc/${pid}/stat`)) return false;
  return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
}

const manager = {
  destination: 'org.freedesktop.systemd1',
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
};

for (const address of [privateAddress, systemBusAddress] satisfies Address[]) {
  test(`over the ${address.kind} connection a unit starts, is watched and stops`, async () => {
    await using other = await SystemdClient.connect({ signal, addresses: [address] });
    assert.deepEqual(other.address, address);
    const name = service('ExecStart=/bin/sleep 1000');
    const started = other.waitUntil(name, unit => unit.ActiveState === 'active', signal);
    await other.startUnit(name, 'replace', signal);
    const unit = await started;
    assert.ok(unit.MainPID > 1);
    assert.match(unit.InvocationID, /^[0-9a-f]{32}$/);
    assert.equal((await other.unitProperties(name, signal)).InvocationID, unit.InvocationID);
    assert.equal(await other.unitProperty(name, 'InvocationID', signal), unit.InvocationID);
    const stopped = other.waitUntil(name, now => now.ActiveState === 'inactive', signal);
    await other.stopUnit(name, 'replace', signal);
    await stopped;
    assert.ok(!isRunning(unit.MainPID));
  });

  test(`over the ${address.kind} connection a run is told by its exit code or signal`, async () => {
    await using other = await SystemdClient.connect({ signal, addresses: [address] });
    for (const [script, result, code, status] of [
      ['exit 0', 'success', 1, 0],
      ['exit 7', 'exit-code', 1, 7],
      ['kill -9 $$$$', 'signal', 2, 9],
    ] as const) {
      for (const type of ['exec', 'oneshot', 'simple']) {
        const end = await other.runUnit(
          service(`Type=${type}\nExecStart=/bin/sh -c '${script}'`),
          'replace',
          signal,
        );
        assert.deepEqual([end.Result, end.ExecMainCode, end.ExecMainStatus], [result, code, status]);
        assert.ok(end.ExecMainExitTimestamp >= end.ExecMainStartTimestamp && end.ExecMainStartTimestamp > 0);
      }
    }
  });
}

test('a new unit file starts without a reload, however many were asked for and not there before', async t => {
  const count = await reloads(t);
  for (let round = 0; round < 30; round++) {
    const name = unitName();
    assert.equal(await client.unitProperty(name, 'LoadState', signal), 'not-found');
    service('Type=oneshot\nExecStart=/bin/true', name);
    await client.startUnit(name, 'replace', signal);
    assert.equal(await client.unitProperty(name, 'NeedDaemonReload', signal), false);
  }
  assert.equal(count(), 0);
});

test('a reload is seen by who counts reloads', async t => {
  const count = await reloads(t);
  await client.reload(signal);
  assert.ok(count() >= 1);
});

test('a changed unit file says that it needs a reload, and the step reloads once', async () => {
  const name = service('ExecStart=/bin/sleep 1000');
  await client.startUnit(name, 'replace', signal);
  const steps = systemdExecutors(async () => client);
  const step = { do: 'reload-manager', name } as const;
  assert.equal(await steps['reload-manager'].satisfied(step), true);
  service('ExecStart=/bin/sleep 1001', name);
  assert.equal(await steps['reload-manager'].satisfied(step), false);
  await steps['reload-manager'].apply(step, signal);
  assert.equal(await steps['reload-manager'].satisfied(step), true);
  await client.stopUnit(name, 'replace', signal);
});

test('a program that fails as it starts is an error that names the result and the log', async () => {
  const name = service('Type=oneshot\nExecStart=/bin/sh -c "exit 3"');
  await assert.rejects(client.startUnit(name, 'replace', signal), {
    code: 'ERR_UNIT_FAILED',
    message: `${name} did not start: failed, exit code 3`,
    hint: `journalctl -u ${name}`,
  });
  assert.equal(await client.unitProperty(name, 'ActiveState', signal), 'failed');
  await client.resetFailedUnit(name, signal);
  assert.equal(await client.unitProperty(name, 'ActiveState', signal), 'inactive');
});

test('a unit that cannot start at all does not make a run hang', async () => {
  const broken = service('Type=exec\nExecStart=/nonexistent/program');
  const end = await client.runUnit(broken, 'replace', signal).catch((error: unknown) => error);
  assert.ok(
    (end as { code?: string }).code === 'ERR_UNIT_FAILED' ||
      (end as { ExecMainStatus?: number }).ExecMainStatus === 203,
  );
  const dependant = unitName();
  writeFileSync(
    `/run/systemd/system/${dependant}`,
    `[Unit]\nRequires=${broken}\nAfter=${broken}\n[Service]\nExecStart=/bin/true\n`,
  );
  await assert.rejects(client.runUnit(dependant, 'replace', signal), {
    code: 'ERR_UNIT_FAILED',
    message: /dependency/,
  });
  const skipped = unitName();
  writeFileSync(
    `/run/systemd/system/${skipped}`,
    '[Unit]\nConditionPathExists=/nonexistent\n[Service]\nExecStart=/bin/true\n',
  );
  assert.equal((await client.runUnit(skipped, 'replace', signal)).ExecMainStartTimestamp, 0);
});

test('what systemd refuses has a code: not there, not valid, masked', async () => {
  await assert.rejects(client.startUnit(unitName(), 'replace', signal), { code: 'ERR_NO_SUCH_UNIT' });
  await assert.rejects(client.startUnit(service('Restart=nonsense'), 'replace', signal), {
    code: 'ERR_UNIT_INVALID',
  });
  await assert.rejects(client.startUnit('no/name', 'replace', signal), { code: 'ERR_SYSTEMD_REFUSED' });
  const masked = unitName();
  await run('ln', ['-s', '/dev/null', `/run/systemd/system/${masked}`]);
  await assert.rejects(client.startUnit(masked, 'replace', signal), { code: 'ERR_UNIT_MASKED' });
  await client.stopUnit(unitName(), 'replace', signal);
  await client.resetFailedUnit(unitName(), signal);
});

test('a queued job is a handle, and an abandoned wait leaves the job alone', async () => {
  const name = service('Type=oneshot\nExecStart=/bin/sleep 1000');
  const abort = new AbortController();
  const job = await client.enqueue('start', name, 'replace', signal);
  assert.ok(job.id > 0);
  const wait = client.startUnit(name, 'replace', abort.signal);
  abort.abort(new Error('enough'));
  await assert.rejects(wait, { message: 'enough' });
  assert.equal(await client.unitProperty(name, 'Job', signal), job.id);
  await client.stopUnit(name, 'replace', signal);
  assert.equal(await job.done, 'canceled');
});

test('a transient unit runs with the properties it was given, and can be changed, signalled and listed', async () => {
  const name = unitName();
  await client.startTransientUnit(
    name,
    [
      ['Description', 's', 'made by a test'],
      ['ExecStart', 'a(sasb)', [['/bin/sleep', ['/bin/sleep', '1000'], false]]],
    ],
    signal,
  );
  await client.setUnitProperties(name, 'runtime', [['TasksMax', 't', 7n]], signal);
  const found = await client.rawProperties(
    `/org/freedesktop/systemd1/unit/${name.replaceAll('-', '_2d').replaceAll('.', '_2e')}`,
    '',
    signal,
  );
  assert.equal(found.get('TasksMax'), 7n);
  assert.deepEqual(
    (await client.listUnits([`${prefix}*`], signal)).filter(row => row.name === name),
    [
      {
        name,
        description: 'made by a test',
        loadState: 'loaded',
        activeState: 'active',
        subState: 'running',
      },
    ],
  );
  await assert.rejects(client.startTransientUnit(name, [], signal), { code: 'ERR_UNIT_EXISTS' });
  const ended = client.waitUntil(name, unit => unit.Result === 'signal', signal);
  await client.killUnit(name, 'main', 9, signal);
  assert.equal((await ended).ExecMainStatus, 9);
  assert.doesNotThrow(() => JSON.stringify(ended));
});

test('a watch tells of each change in order, and that the unit was unloaded', async () => {
  const name = service('ExecStart=/bin/sleep 1000');
  const watch = client.watchUnit(name, signal);
  await client.startUnit(name, 'replace', signal);
  await client.stopUnit(name, 'replace', signal);
  const states: string[] = [];
  for await (const change of watch) {
    if (change.kind === 'unloaded') break;
    const state = change.changed.ActiveState;
    if (state !== undefined && states.at(-1) !== state) states.push(state);
  }
  assert.deepEqual(states.filter(state => !state.endsWith('ing')).slice(-2), ['active', 'inactive']);
});

test('a watch ends with the reason of its signal', async () => {
  const abort = new AbortController();
  const watch = client.watchUnit(unitName(), abort.signal);
  const next = watch.next();
  abort.abort(new Error('enough'));
  await assert.rejects(next, { message: 'enough' });
  await assert.rejects(
    client.waitUntil(unitName(), () => false, AbortSignal.abort(new Error('before'))),
    {
      message: 'before',
    },
  );
});

test('an event between reading and listening is not missed', async () => {
  for (let round = 0; round < 25; round++) {
    const name = service('Type=exec\nExecStart=/bin/true');
    await client.ref(name, signal);
    const job = await client.enqueue('start', name, 'replace', signal);
    const end = await client.waitUntil(name, unit => unit.ExecMainExitTimestamp > 0, signal);
    assert.equal(end.ExecMainCode, 1);
    assert.equal(await job.done, 'done');
    await client.unref(name, signal);
  }
});

test('a referenced unit can be read after it has ended, until it is let go', async () => {
  const name = service('Type=oneshot\nExecStart=/bin/true');
  await client.ref(name, signal);
  await client.startUnit(name, 'replace', signal);
  const unit = await client.unitProperties(name, signal);
  assert.equal(unit.ExecMainCode, 1);
  assert.notEqual(unit.InvocationID, '');
  const gone = client.watchUnit(name, signal);
  await client.unref(name, signal);
  for await (const change of gone) if (change.kind === 'unloaded') break;
});

test('enabling makes the links of a unit and disabling removes them', async () => {
  const name = unitName();
  writeFileSync(
    `/etc/systemd/system/${name}`,
    '[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n',
  );
  try {
    const link = `/etc/systemd/system/multi-user.target.wants/${name}`;
    assert.deepEqual(await client.enableUnitFiles([name], 'persistent', signal), [
      { change: 'symlink', path: link, target: `/etc/systemd/system/${name}` },
    ]);
    assert.ok(existsSync(link));
    const changes = await client.disableUnitFiles([name], 'persistent', signal);
    assert.deepEqual(
      changes.map(change => [change.change, change.path]),
      [['unlink', link]],
    );
    assert.ok(!existsSync(link));
  } finally {
    rmSync(`/etc/systemd/system/${name}`);
  }
});

test('a plan of unit steps is done once, and undone when a later step fails', async () => {
  const applier = makeApplier<SystemdStep>(
    systemdExecutors(async () => client),
    systemFiles,
    new FakeLocks(),
    `/run/${prefix}`,
  );
  const good = service('ExecStart=/bin/sleep 1000');
  const bad = service('Type=oneshot\nExecStart=/bin/false');
  const start = { title: 'start', ifInterrupted: 'undo', steps: [{ do: 'start-unit', name: good }] } as const;
  const both = { ...start, steps: [...start.steps, { do: 'start-unit', name: bad } as const] };
  await assert.rejects(applier.apply(both, signal), { code: 'ERR_UNIT_FAILED' });
  assert.equal(await client.unitProperty(good, 'ActiveState', signal), 'inactive');
  await applier.apply(start, signal);
  assert.deepEqual(await applier.pending(start), []);
  assert.match(await applier.dryRun(both), new RegExp(`^start ${bad}$`, 'm'));
  await assert.rejects(applier.apply(both, signal), { code: 'ERR_UNIT_FAILED' });
  assert.equal(
    await client.unitProperty(good, 'ActiveState', signal),
    'active',
    'what was up before stays up',
  );
  const stop = {
    title: 'stop',
    ifInterrupted: 'finish',
    steps: [
      { do: 'stop-unit', name: good },
      { do: 'reset-failed-unit', name: bad },
    ],
  } as const;
  await applier.apply(stop, signal);
  assert.deepEqual(await applier.pending(stop), []);
  rmSync(`/run/${prefix}`, { recursive: true, force: true });
});

test('where systemd is not PID 1 the error says how to get one', async () => {
  const script = `
    import { SystemdClient } from '${new URL('../../src/systemd/client.ts', import.meta.url).href}';
    await SystemdClient.connect({ signal: AbortSignal.timeout(5000) }).catch(e => console.log(e.code, '|', e.hint));`;
  const { stdout } = await run('unshare', [
    '--mount',
    'sh',
    '-c',
    'mount -t tmpfs tmpfs /run && exec "$0" --input-type=module -e "$1"',
    process.execPath,
    script,
  ]);
  assert.equal(stdout, 'ERR_NO_SYSTEMD | spawnlet lab up makes an embedded systemd host\n');
});

/** Ends when the unit's start job does: whoever waits can be told apart from whoever came too late. */
const waits = (fifo: string) => service(`Type=oneshot\nExecStart=/bin/sh -c 'read line < ${fifo}; exit 5'`);

/** False while systemd does not listen, as between two lives. */
async function listens(): Promise<boolean> {
  try {
    await using _connection = await Connection.open(privateAddress, () => undefined, signal);
    return true;
  } catch {
    return false;
  }
}

/** Each life of systemd makes its socket anew. `systemctl` returns before that. */
function reexecute(): { isBack: () => boolean; done: Promise<void> } {
  const born = () => statSync(privateAddress.path, { throwIfNoEntry: false })?.ctimeMs;
  const before = born();
  const isBack = () => ![before, undefined].includes(born());
  const done = async () => {
    await run('systemctl', ['daemon-reexec']);
    await eventually(async () => (isBack() && (await listens())) || undefined, 'systemd listens again');
  };
  return { isBack, done: done() };
}

for (const address of [privateAddress, systemBusAddress] satisfies Address[]) {
  test(`over the ${address.kind} connection waiters outlive a re-execution of systemd`, async () => {
    await using other = await SystemdClient.connect({ signal, addresses: [address] });
    const fifo = `/run/${prefix}.fifo`;
    await run('mkfifo', [fifo]);
    try {
      const name = waits(fifo);
      const stays = service('ExecStart=/bin/sleep 1000');
      await other.startUnit(stays, 'replace', signal);
      const job = await other.enqueue('start', name, 'replace', signal);
      const ended = other.waitUntil(name, unit => unit.ActiveState === 'failed', signal);
      const stopped = other.waitUntil(stays, unit => unit.ActiveState === 'inactive', signal);
      await reexecute().done;
      assert.equal(await other.unitProperty(stays, 'ActiveState', signal), 'active');
      assert.equal(await other.unitProperty(name, 'Job', signal), job.id);
      await run('sh', ['-c', `echo > ${fifo}`]);
      assert.equal(await job.done, 'failed');
      assert.equal((await ended).ExecMainStatus, 5);
      await other.stopUnit(stays, 'replace', signal);
      await stopped;
    } finally {
      rmSync(fifo);
    }
  });
}

test('what happens while systemd is re-executed is read afterwards', async () => {
  const name = service('ExecStart=/bin/sleep 1000');
  await client.startUnit(name, 'replace', signal);
  const stopped = client.waitUntil(name, unit => unit.ActiveState !== 'active', signal);
  const { MainPID } = await client.unitProperties(name, signal);
  // The process dies while PID 1 is between two lives, or just before or after: all must reach the waiter.
  const reexec = reexecute();
  process.kill(MainPID, 'SIGKILL');
  assert.notEqual((await stopped).ActiveState, 'active');
  await reexec.done;
});

test('who comes to wait while systemd is re-executed is told of what happens after it', async () => {
  const name = service('ExecStart=/bin/sleep 1000');
  await client.startUnit(name, 'replace', signal);
  const { MainPID } = await client.unitProperties(name, signal);
  const soon = AbortSignal.timeout(20_000);
  const reads: Promise<void>[] = [];
  const ends: Promise<unknown>[] = [];
  const wait = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter = async () => {
      await using other = await SystemdClient.connect({ signal: soon });
      const hasFailed = (unit: UnitProperties) => {
        resolve();
        return unit.ActiveState === 'failed';
      };
      return (await other.waitUntil(name, hasFailed, soon)).ExecMainStatus;
    };
    reads.push(promise);
    ends.push(waiter().catch((error: unknown) => error));
  };
  const reexec = reexecute();
  do wait();
  while ((await listens()) && !reexec.isBack());
  // systemd does not listen any more, but the bus has not noticed.
  for (let late = 0; late < 10; late++) wait();
  await reexec.done;
  await Promise.race([Promise.all(reads), Promise.all(ends)]);
  process.kill(MainPID, 'SIGKILL');
  assert.deepEqual(new Set(await Promise.all(ends)), new Set([9]));
});

test('waiters on the system bus outlive a restart of the bus', async () => {
  await using other = await SystemdClient.connect({ signal, addresses: [systemBusAddress] });
  const name = service('ExecStart=/bin/sleep 1000');
  await other.ref(name, signal);
  await other.startUnit(name, 'replace', signal);
  const stopped = other.waitUntil(name, unit => unit.Result === 'signal', signal);
  await client.restartUnit('dbus.service', 'replace', signal);
  await client.killUnit(name, 'main', 9, signal);
  assert.equal((await stopped).ExecMainStatus, 9);
});

test('a closed client ends what waits for it', async () => {
  const other = await SystemdClient.connect({ signal });
  const ends = { name: 'ConnectionLost' };
  const waits = [
    assert.rejects(
      other.waitUntil(unitName(), () => false, signal),
      ends,
    ),
    assert.rejects(other.watchUnit(unitName(), signal).next(), ends),
  ];
  await other[Symbol.asyncDispose]();
  await Promise.all(waits);
  await assert.rejects(other.listUnits([], signal), ends);
});

test('hundreds of calls in flight are each answered', async () => {
  const names = await Promise.all(
    Array.from({ length: 300 }, (_none, index) =>
      client.unitProperty(`none-${index}.service`, 'LoadState', signal),
    ),
  );
  assert.deepEqual(new Set(names), new Set(['not-found']));
  const connection = await Connection.open(privateAddress, () => undefined, signal);
  await using _closed = connection;
  const [units] = await connection.call({ ...manager, member: 'ListUnits' }, signal);
  assert.ok(Array.isArray(units) && units.length > 50);
});
