// runs in a lab: bookworm +nftables +openvswitch-switch +iptables +ifupdown +netplan.io
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { anInterface, close, shell, useMachine } from './machine.ts';
import { eventually } from './peers.ts';

after(close);

const main = join(resolve(import.meta.dirname, '../..'), 'src/main.ts');
const spawnlet = (...argv: string[]) =>
  shell(process.execPath, '--disable-warning=ExperimentalWarning', main, ...argv);

/** Files and links of the host's network, as bridges change them. */
async function state(): Promise<unknown> {
  const directories = ['/etc/systemd/network', '/etc/network/interfaces.d', '/var/lib/spawnlet/journal'];
  const links = await shell('ip', '-o', '-brief', 'link');
  return {
    files: await Promise.all(directories.map(path => readdir(path).catch(() => []))),
    links: links.split('\n').map(line => line.split(' ')[0]),
  };
}

/** An interface of the host with a station behind it, which is a network namespace. */
async function useUplink() {
  await shell('ip', 'netns', 'add', 'behind');
  await shell('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up1', 'netns', 'behind');
  await shell('ip', '-netns', 'behind', 'link', 'set', 'up1', 'up');
  await shell('ip', '-netns', 'behind', 'address', 'add', '10.5.0.9/24', 'dev', 'up1');
  return {
    async [Symbol.asyncDispose]() {
      await shell('ip', 'link', 'delete', 'up0');
      await shell('ip', 'netns', 'delete', 'behind');
    },
  };
}

async function makesAndRemoves(): Promise<void> {
  await using _uplink = await useUplink();
  const before = await state();
  const words = ['br5', '--uplink', 'up0', '--address', '10.5.0.1/24', '--address', 'fd00:5::1/64'];
  assert.match(await spawnlet('network', 'create', ...words, '--dry-run'), /set up bridge br5/);
  assert.deepEqual(await state(), before);

  await spawnlet('network', 'create', ...words);
  await eventually(async () => {
    const addresses = await shell('ip', '-brief', 'address', 'show', 'br5');
    assert.match(addresses, /10\.5\.0\.1\/24 .*fd00:5::1\/64/);
  });
  assert.equal(await spawnlet('network', 'create', ...words, '--dry-run'), 'nothing to do\n');
  assert.match(await spawnlet('network', 'ls'), /^br5 +10\.5\.0\.1\/24 fd00:5::1\/64 +spawnlet +up0$/m);
  {
    const one = anInterface({ kind: 'bridge', bridge: 'br5', addresses: ['10.5.0.2/24'] });
    await using machine = await useMachine('alpha', one);
    await eventually(() => machine.inside('ping', '-c1', '-W1', '10.5.0.9'));
    assert.equal(await readFile('/sys/class/net/br5/addr_assign_type', 'utf8'), '3\n');
    await assert.rejects(spawnlet('network', 'rm', 'br5'), { message: /ports of machines: vb-alpha/ });
  }
  await spawnlet('network', 'rm', 'br5');
  assert.deepEqual(await state(), before);
}

test('a bridge made with systemd-networkd connects a machine with what is behind its uplink, and goes as it came', async () => {
  await makesAndRemoves();
});

test('the address of an interface is never taken without being asked, and then at the next boot', async () => {
  const address = await shell('ip', '-brief', 'address', 'show', 'host0');
  await assert.rejects(spawnlet('network', 'create', 'br6', '--uplink', 'host0'), {
    message: /host0 has 10\.77\.0\.\d+\/24, which this host would lose/,
  });
  await spawnlet('network', 'create', 'br6', '--uplink', 'host0', '--address', 'dhcp');
  assert.equal(await shell('ip', '-brief', 'address', 'show', 'host0'), address);
  const text = await readFile('/etc/systemd/network/00-spawnlet-bridge-br6.network', 'utf8');
  assert.match(text, /^DHCP=yes$/m);
  await shell('sh', '-c', 'rm /etc/systemd/network/00-spawnlet-bridge-br6.*');
});

suite('on a host with ifupdown and without systemd-networkd', () => {
  const networkd = ['systemd-networkd.socket', 'systemd-networkd.service'];
  before(() => shell('systemctl', 'stop', ...networkd));
  after(() => shell('systemctl', 'start', ...networkd));

  test('a bridge connects a machine with what is behind its uplink, and goes as it came', async () => {
    await makesAndRemoves();
  });
});
