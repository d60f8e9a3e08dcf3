import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Connection, ConnectionLost } from './connection.ts';
import { marshall, peer, reply } from './fake-peer.ts';
import type { Incoming } from './wire.ts';

const call = { path: '/a', interface: 'x.y', member: 'Do' };
const signal = AbortSignal.timeout(600_000);

const open = (path: string, onSignal: (message: Incoming) => void = () => undefined) =>
  Connection.open({ kind: 'private', path }, onSignal, signal);

test('a call gives the arguments of its reply', async t => {
  const path = await peer(t, (socket, message) =>
    socket.write(reply(message, { signature: 's', body: ['yes'] })),
  );
  await using connection = await open(path);
  assert.deepEqual(await connection.call(call, signal), ['yes']);
});

test('what a call registers as its reply is read does not miss the signal right behind it', async t => {
  const path = await peer(t, (socket, message) => {
    const late = marshall({ type: 4, serial: 10, path: '/a', interface: 'x.y', member: 'Gone' });
    socket.write(Buffer.concat([reply(message, {}), late]));
  });
  const seen: string[] = [];
  let registered = false;
  await using connection = await open(path, message => seen.push(`${message.member} ${registered}`));
  await connection.call(call, signal, () => {
    registered = true;
  });
  assert.deepEqual(seen, ['Gone true']);
});

test('an error reply is thrown with its name', async t => {
  const path = await peer(t, (socket, message) =>
    socket.write(reply(message, { type: 3, errorName: 'x.y.No', signature: 's', body: ['not now'] })),
  );
  await using connection = await open(path);
  await assert.rejects(connection.call(call, signal), {
    name: 'BusError',
    errorName: 'x.y.No',
    message: 'not now',
  });
});

test('a peer that does not answer is given up after the deadline', async t => {
  const path = await peer(t, () => undefined);
  await using connection = await open(path);
  await assert.rejects(
    connection.call(call, signal, body => body, 20),
    { code: 'ERR_SYSTEMD_TIMEOUT' },
  );
});

test('a call ends with the reason of its signal', async t => {
  const abort = new AbortController();
  const path = await peer(t, () => abort.abort(new Error('no longer wanted')));
  await using connection = await open(path);
  await assert.rejects(connection.call(call, abort.signal), { message: 'no longer wanted' });
});

test('calls under way fail when the peer goes away', async t => {
  const path = await peer(t, socket => socket.destroy());
  await using connection = await open(path);
  await assert.rejects(connection.call(call, signal), ConnectionLost);
  await assert.rejects(connection.call(call, signal), ConnectionLost);
});

test('a peer that stops speaking D-Bus is hung up on', async t => {
  const path = await peer(t, socket => socket.write('this is no message of any kind'));
  await using connection = await open(path);
  await assert.rejects(connection.call(call, signal), ConnectionLost);
});

test('a user that the peer refuses is told to be root', async t => {
  const path = await peer(t, () => undefined, 'REJECTED EXTERNAL\r\n');
  await assert.rejects(open(path), { code: 'ERR_NOT_ROOT' });
});

test('a peer that is not there is told by the system', async () => {
  await assert.rejects(open('/nonexistent/socket'), { code: 'ENOENT' });
});
