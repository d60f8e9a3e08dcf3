import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import * as fc from 'fast-check';
import { SpawnletError } from '../../host/error.ts';
import { Forwarder, parseForwarding } from './forward.ts';

const containers = [{}, { ports: [{ containerPort: 80, name: 'http' }, { containerPort: 9 }] }];
const parse = (words: string) => parseForwarding(words, containers);

test('ports are said as kubectl has them', () => {
  assert.deepEqual(parse('5000'), { local: 5000, remote: 5000 });
  assert.deepEqual(parse('8080:80'), { local: 8080, remote: 80 });
  assert.deepEqual(parse(':80'), { local: 0, remote: 80 });
  assert.deepEqual(parse('0:80'), { local: 0, remote: 80 });
  assert.deepEqual(parse('8080:http'), { local: 8080, remote: 80 });
  assert.deepEqual(parse('http'), { local: 80, remote: 80 });
  assert.throws(() => parse('https'), { code: 'ERR_NO_PORT', hint: 'one of http, or a number' });
  for (const wrong of [
    '',
    ':',
    '0',
    '65536',
    '1:0',
    '1:65536',
    '65536:1',
    '1:2:3',
    '-1',
    '1.5',
    'a:1',
    '8080:',
  ])
    assert.throws(() => parse(wrong), { code: 'ERR_FLAG_VALUE' }, wrong);
});

test('whatever is said is a pair of ports or refused', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9]{0,6}:?[a-z0-9-]{0,6}$/)), words => {
      try {
        const { local, remote } = parse(words);
        assert.ok(local >= 0 && local <= 65_535 && remote >= 1 && remote <= 65_535);
      } catch (error) {
        if (!(error instanceof SpawnletError)) throw error;
      }
    }),
  );
});

/** A forwarder to a server here, and the port to reach it by. */
async function scene(answer: Parameters<typeof createServer>[1]) {
  const server = createServer({ allowHalfOpen: true }, answer).listen(0, '::1');
  server.on('connection', socket => socket.on('error', () => undefined));
  await once(server, 'listening');
  const remote = (server.address() as AddressInfo).port;
  const said: string[] = [];
  let port = 0;
  const forwarder = new Forwarder(
    {
      listening: (_address, local) => {
        port = local;
      },
      connected: () => undefined,
      failed: (_local, _remote, why) => said.push(why),
    },
    Promise.resolve(),
  );
  await forwarder.listen({ local: 0, remote }, ['127.0.0.1']);
  return {
    said,
    server,
    client: () => connect({ host: '127.0.0.1', port, allowHalfOpen: true }),
    async [Symbol.asyncDispose]() {
      await forwarder[Symbol.asyncDispose]();
      server.close();
    },
  };
}

test('who has said all is still answered', async () => {
  await using led = await scene(socket => void text(socket).then(all => socket.end(`heard ${all}`)));
  const client = led.client();
  client.end('all');
  assert.equal(await text(client), 'heard all');
});

test('who does not read is not sent all', async () => {
  let sent = 0;
  const block = Buffer.alloc(1 << 16);
  const total = 64 << 20;
  await using led = await scene(socket => {
    const write = () => {
      while (sent < total) {
        sent += block.length;
        if (!socket.write(block)) return;
      }
      socket.end();
    };
    socket.on('drain', write);
    write();
  });
  const client = led.client();
  await once(client, 'readable');
  // Each turn carries a chunk at least, as long as somebody takes it.
  for (let turn = 0; turn < 5000; turn++) await setImmediate();
  assert.ok(sent < total, `${sent} bytes are on their way`);
  assert.equal((await buffer(client)).length, total);
});

test('a connection that is cut off at one end is cut off at the other', async () => {
  await using led = await scene(socket => socket.once('data', () => socket.resetAndDestroy()));
  const client = led.client();
  client.write('x');
  const [error] = await once(client, 'error');
  assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET');
});

test('where nobody listens the connection ends, and it is said why', async () => {
  await using led = await scene(() => undefined);
  led.server.close();
  const client = led.client();
  const [error] = await once(client, 'error');
  assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET');
  assert.match(led.said.join(), /ECONNREFUSED/);
});
