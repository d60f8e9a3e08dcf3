import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { SystemdClient } from './client.ts';
import { marshall, peer, reply } from './fake-peer.ts';
import { unitPath } from './properties.ts';
import type { Incoming } from './wire.ts';

const signal = AbortSignal.timeout(600_000);
const name = 'web.service';

const state = (message: Incoming, active: string, more: [string, [string, unknown]][] = []) =>
  reply(message, { signature: 'a{sv}', body: [[['ActiveState', ['s', active]], ...more]] });

const changed = (active: string) =>
  marshall({
    type: 4,
    serial: 10,
    path: unitPath(name),
    interface: 'org.freedesktop.DBus.Properties',
    member: 'PropertiesChanged',
    signature: 'sa{sv}as',
    body: ['org.freedesktop.systemd1.Unit', [['ActiveState', ['s', active]]], []],
  });

const connect = (path: string) => SystemdClient.connect({ signal, addresses: [{ kind: 'private', path }] });

test('a signal that is older than the reading does not count', async t => {
  const path = await peer(t, (socket, message) =>
    socket.write(Buffer.concat([changed('active'), state(message, 'inactive'), changed('failed')])),
  );
  await using client = await connect(path);
  const seen: string[] = [];
  await client.waitUntil(name, unit => seen.push(unit.ActiveState) === 2, signal);
  assert.deepEqual(seen, ['inactive', 'failed']);
});

test('what happened while systemd was away is read when it is back', async t => {
  let first: Socket | undefined;
  const path = await peer(t, (socket, message) => {
    first ??= socket;
    socket.write(state(message, socket === first ? 'active' : 'failed'));
  });
  await using client = await connect(path);
  const states: string[] = [];
  const failed = client.waitUntil(
    name,
    unit => {
      states.push(unit.ActiveState);
      if (states.length === 1) first?.destroy();
      return unit.ActiveState === 'failed';
    },
    signal,
  );
  assert.equal((await failed).ActiveState, 'failed');
  assert.deepEqual(states, ['active', 'failed']);
});

for (const [active, result] of [
  ['active', 'done'],
  ['failed', 'failed'],
] as const) {
  test(`a job that ended while systemd was away is ${result} if the unit is ${active}`, async t => {
    let first: Socket | undefined;
    const path = await peer(t, (socket, message) => {
      first ??= socket;
      if (message.member === 'GetJob')
        socket.write(reply(message, { type: 3, errorName: 'org.freedesktop.systemd1.NoSuchJob' }));
      else if (message.member === 'StartUnit')
        socket.end(reply(message, { signature: 'o', body: ['/org/freedesktop/systemd1/job/7'] }));
      else socket.write(state(message, active));
    });
    await using client = await connect(path);
    const job = await client.enqueue('start', name, 'replace', signal);
    assert.equal(job.id, 7);
    assert.equal(await job.done, result);
  });
}

test('a bus that was tried in vain does not keep signals of the private connection away', async t => {
  const bus = await peer(t, (socket, message) => {
    const more = message.member === 'Subscribe' ? { type: 3, errorName: 'x.y.NoReply' } : {};
    const strings = { Hello: ':1.8', GetNameOwner: ':1.7' }[message.member];
    socket.write(reply(message, strings ? { signature: 's', body: [strings] } : more));
  });
  const path = await peer(t, (socket, message) =>
    socket.write(Buffer.concat([state(message, 'active'), changed('failed')])),
  );
  const addresses = [{ kind: 'bus', path: bus } as const, { kind: 'private', path } as const];
  await using client = await SystemdClient.connect({ signal, addresses });
  assert.deepEqual(client.address, { kind: 'private', path });
  await client.waitUntil(name, unit => unit.ActiveState === 'failed', AbortSignal.timeout(5_000));
});

for (const [lost, lose] of [
  ['the connection', (socket: Socket) => socket.destroy()],
  [
    'the receiver behind a bus',
    (socket: Socket, message: Incoming) =>
      socket.write(reply(message, { type: 3, errorName: 'org.freedesktop.DBus.Error.NoReply' })),
  ],
] as const) {
  test(`a read is asked again while ${lost} goes away under it, but not for ever`, async t => {
    let [asked, losses] = [0, 4];
    const path = await peer(t, (socket, message) => {
      asked++;
      if (losses-- > 0) lose(socket, message);
      else socket.write(state(message, 'active'));
    });
    await using client = await connect(path);
    assert.equal((await client.unitProperties(name, signal)).ActiveState, 'active');
    assert.equal(asked, 5);
    losses = Number.POSITIVE_INFINITY;
    await assert.rejects(client.unitProperties(name, signal), { name: 'ConnectionLost' });
  });
}

test('a start that got no answer is not sent twice, and said to be unknown', async t => {
  let starts = 0;
  const path = await peer(t, (socket, message) => {
    if (message.member === 'StartUnit') {
      starts++;
      socket.destroy();
    } else socket.write(state(message, 'inactive', [['Job', ['(uo)', [0, '/']]]]));
  });
  await using client = await connect(path);
  await assert.rejects(client.startUnit(name, 'replace', signal), { code: 'ERR_SYSTEMD_LOST' });
  assert.equal(starts, 1);
});
