import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Connection, ConnectionLost } from './connection.ts';
import { Framer } from './unmarshal.ts';
import type { Incoming } from './wire.ts';

const { marshall } = createRequire(import.meta.url)('dbus-native/lib/message.js') as {
  marshall(this: void, message: object): Buffer;
};
const call = { path: '/a', interface: 'x.y', member: 'Do' };
const signal = AbortSignal.timeout(10_000);

/** A peer that accepts the user and then does what the test says with each call. */
async function peer(
  t: TestContext,
  answer: (socket: Socket, message: Incoming) => void,
  greeting = 'OK 0123\r\n',
): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'peer-'));
  const path = join(directory, 'socket');
  const sockets = new Set<Socket>();
  const server = createServer(socket => {
    sockets.add(socket);
    const framer = new Framer();
    let greeted = false;
    socket.on('error', () => undefined);
    socket.on('data', chunk => {
      let rest = chunk;
      if (!greeted) {
        const end = chunk.indexOf('BEGIN\r\n');
        assert.equal(chunk.toString('latin1', 0, 15), '\0AUTH EXTERNAL ');
        greeted = true;
        socket.write(greeting);
        rest = chunk.subarray(end + 7);
      }
      for (const message of framer.push(rest)) answer(socket, message);
    });
  });
  server.listen(path);
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  });
  return path;
}

const reply = (message: Incoming, more: object) =>
  marshall({ type: 2, serial: 9, replySerial: message.serial, ...more });
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
