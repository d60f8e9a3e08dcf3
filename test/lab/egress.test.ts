import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { useLab } from '../harness/lab.ts';

const run = (...argv: [string, ...string[]]) => execFileSync(argv[0], argv.slice(1), { encoding: 'utf8' });
const forwarding = () => readFile('/proc/sys/net/ipv4/ip_forward', 'utf8');
const state = async () => ({
  forwarding: await forwarding(),
  rules: run('nft', 'list', 'ruleset'),
  // Not whether they have a carrier yet: those of others come up in their own time.
  links: run('ip', '-brief', 'link').replaceAll(/ (?:UP|DOWN) .*/g, ''),
});

/** Answers `out` to whoever connects, and ends with its standard input. */
const server = `
const listening = require('node:net').createServer(socket => socket.end('out\\n'));
listening.listen(0, () => console.log(listening.address().port));
process.stdin.resume().on('end', () => process.exit());
`;

/**
 * A server that this host reaches over a link, and a lab only through this host. Its network is of its process alone, so
 * that it goes with it, and the link too.
 */
async function outside() {
  const number = (process.pid * 4) & 0xffff;
  const net = `198.18.${number >> 8}`;
  const [host, address] = [`${net}.${(number & 255) + 1}`, `${net}.${(number & 255) + 2}`];
  const link = `out${process.pid}`;
  const child = spawn('unshare', ['--net', process.execPath, '-e', server], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const end = ended(child);
  const [port] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  run('ip', 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'outside', 'netns', String(child.pid));
  run('ip', 'address', 'add', `${host}/30`, 'dev', link);
  run('ip', 'link', 'set', link, 'up');
  const there = ['nsenter', `--net=/proc/${child.pid}/ns/net`, 'ip'] as const;
  run(...there, 'address', 'add', `${address}/30`, 'dev', 'outside');
  run(...there, 'link', 'set', 'outside', 'up');
  return {
    address,
    port,
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await end;
    },
  };
}

test('a lab made with nat gets out, its neighbour does not, and the host is as before', async t => {
  await using server = await outside();
  const visit = ['timeout', '3', 'bash', '-c', `cat </dev/tcp/${server.address}/${server.port}`];

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
