import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { useLab } from '../harness/lab.ts';

/** A TCP server on the gateway's address that answers with one line; the port is what it prints. */
const server = `
  const server = require('node:net').createServer(socket => socket.end('here I am\\n'));
  server.listen(0, '10.77.0.1', () => console.log(server.address().port));
`;

test('two labs reach each other and a server in their network', async t => {
  await using one = await useLab({ test: t });
  await using two = await useLab({ suite: 'trixie', test: t });
  assert.notEqual(one.address, two.address);
  await one.read(['ping', '-c1', '-W2', two.address]);
  await two.read(['ping', '-c1', '-W2', one.address]);

  const listening = one.outside([process.execPath, '-e', server], { stdio: ['ignore', 'pipe', 'inherit'] });
  const end = ended(listening);
  try {
    assert.ok(listening.stdout);
    const [port] = await once(listening.stdout, 'data');
    for (const lab of [one, two])
      assert.equal(
        await lab.read(['bash', '-c', `cat </dev/tcp/10.77.0.1/${String(port).trim()}`]),
        'here I am\n',
      );
  } finally {
    listening.kill();
    await end;
  }
});

test('a lab has no way out unless it was asked for', async t => {
  await using lab = await useLab({ test: t });
  const routes = lab.outside(['ip', 'route', 'show', 'default'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [code, shown] = await Promise.all([ended(routes), routes.stdout?.toArray()]);
  assert.equal(code, 0);
  assert.equal(Buffer.concat(shown ?? []).toString(), '');
});
