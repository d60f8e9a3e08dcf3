/** A D-Bus peer for unit tests, which says what the test wants it to say. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Framer } from './unmarshal.ts';
import type { Incoming } from './wire.ts';

/** Another implementation of the format writes what the peer says. */
export const { marshall } = createRequire(import.meta.url)('dbus-native/lib/message.js') as {
  marshall(this: void, message: object): Buffer;
};

/** The reply to a call: `signature` and `body`, or an `errorName` with `type: 3`. */
export const reply = (message: Incoming, more: object): Buffer =>
  marshall({ type: 2, serial: 9, replySerial: message.serial, ...more });

/** A peer that accepts the user and then does what the test says with each call. */
export async function peer(
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
