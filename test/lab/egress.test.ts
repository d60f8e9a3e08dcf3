import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { useLab } from '../harness/lab.ts';

const run = (...argv: [string, ...string[]]) => execFileSync(argv[0], argv.slice(1), { encoding: 'utf8' });
const forwarding = () => readFile('/proc/sys/net/ipv4/ip_forward', 'utf8');
const state = async () => ({
  forwarding: await forwarding(),
  rules: run('nft', 'list', 'ruleset'),
  links: run('ip', '-brief', 'link'),
});

/** An address of this host that is not its loop-back. */
function ownAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap(list => list ?? []);
  return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
}

test('a lab made with nat gets out, its neighbour does not, and the host is as before', async t => {
  const host = ownAddress();
  if (host === undefined) return t.skip('this host has no address but loop-back');
  const listening = createServer(socket => socket.end('out\n')).listen(0, host);
  t.after(() => listening.close());
  await once(listening, 'listening');
  const bound = listening.address();
  assert.ok(typeof bound === 'object' && bound !== null);
  const visit = ['timeout', '3', 'bash', '-c', `cat </dev/tcp/${host}/${bound.port}`];

  const before = await state();
  {
    await using open = await useLab({ nat: true, test: t });
    await using closed = await useLab({ test: t });
    assert.equal(await open.read(visit), 'out\n');
    assert.notEqual((await closed.exec(visit)).code, 0);
    await closed.read(['ping', '-c1', '-W2', open.address]);
    assert.equal((await forwarding()).trim(), '1');
  }
  assert.deepEqual(await state(), before);
});
