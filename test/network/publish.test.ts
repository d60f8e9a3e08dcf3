// runs in a lab: bookworm trixie +containernetworking-plugins +nftables
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { makeApplier, type Plan } from '../../src/host/apply.ts';
import { type HostStep, hostExecutors } from '../../src/host/step.ts';
import { defaultNetwork } from '../../src/network/cni/default.ts';
import { bridgeFilesOf, bridgeSteps, cniBridge } from '../../src/network/nat-bridge.ts';
import { type PublishStep, publishExecutors } from '../../src/network/publish.ts';
import type { PublishedPort } from '../../src/network/spec.ts';
import { type SystemdStep, systemdExecutors } from '../../src/systemd/executors.ts';
import { client, close, host, type Place, shell, signal, useContainer, usePlace } from './attached.ts';
import { ask, eventually, refused, serve, useStation } from './peers.ts';

const range = { v4: '10.88.0.0/16', v6: 'fd00:88::/64' };
const network = defaultNetwork('pods', cniBridge.bridge, range);

const applierOf = ({ journals }: Place) =>
  makeApplier(
    {
      ...hostExecutors(host.files),
      ...systemdExecutors(async () => client),
      ...publishExecutors(host),
    },
    host.files,
    host.locks,
    journals,
  );

type Step = HostStep | SystemdStep | PublishStep;
const plan = (...steps: Step[]): Plan<Step> => ({ title: 'ports', ifInterrupted: 'undo', steps });

const settings = async () => {
  const names = ['ipv4/ip_forward', 'ipv6/conf/all/forwarding', 'ipv6/conf/host0/accept_ra'];
  return Promise.all(names.map(name => readFile(`/proc/sys/net/${name}`, 'utf8')));
};
let bare: readonly string[] = [];

before(async () => {
  bare = await settings();
  await shell('systemctl', 'start', 'nftables');
  await using place = await usePlace();
  const up = plan(...bridgeSteps(cniBridge, range), { do: 'start-unit', name: cniBridge.unit });
  await applierOf(place).apply(up, signal);
});

after(async () => {
  {
    await using place = await usePlace();
    const removals = bridgeFilesOf(cniBridge).map((path): Step => ({ do: 'remove', path }));
    const down = plan({ do: 'stop-unit', name: cniBridge.unit }, ...removals);
    await applierOf(place).apply({ ...down, ifInterrupted: 'finish' }, signal);
  }
  assert.deepEqual(await settings(), bare);
  assert.equal(await shell('sh', '-c', 'nft list tables | grep spawnlet || true'), '');
  await close();
});

/** The files of the units are right by systemd's own word. */
test('the units of the bridge are valid', async () => {
  await shell('systemd-analyze', 'verify', cniBridge.unit, 'spawnlet-cni-reload.service');
});

/** Publishes ports of a container on the default network, with servers behind them. */
async function usePorts(place: Place, name: string, ports: readonly PublishedPort[]) {
  const container = await useContainer(place, name, [network]);
  const applier = applierOf(place);
  const step: PublishStep = { do: 'publish-ports', name, record: place.record(name), ports };
  await applier.apply(plan(step), signal);
  assert.deepEqual(await applier.pending(plan(step)), []);
  const where = ['ip', 'netns', 'exec', name];
  const tcp = await serve('tcp', '::', 80, where);
  const udp = await serve('udp', '0.0.0.0', 80, where);
  return {
    ...container,
    async [Symbol.asyncDispose]() {
      await tcp[Symbol.asyncDispose]();
      await udp[Symbol.asyncDispose]();
      await applier.apply({ ...plan({ do: 'unpublish-ports', name }), ifInterrupted: 'finish' }, signal);
      await container[Symbol.asyncDispose]();
    },
  };
}

const echo = (address: string, port: number) =>
  ['bash', '-c', `exec 3<>/dev/udp/${address}/${port}; echo hello >&3; timeout 3 head -1 <&3`] as const;

test('a port of the host leads to the container, over TCP and UDP, from here, 127.0.0.1 and beyond; it goes with it', async () => {
  await using place = await usePlace();
  const [own = ''] = /10\.77\.0\.\d+/.exec(await shell('ip', '-4', 'address', 'show', 'host0')) ?? [];
  {
    await using a = await usePorts(place, 'a', [
      { protocol: 'tcp', hostPort: 8080, port: 80 },
      { protocol: 'udp', hostPort: 8080, port: 80 },
      { protocol: 'tcp', hostPort: 8081, port: 80, address: '127.0.0.1' },
    ]);
    assert.equal(await ask('127.0.0.1', 8080), '::ffff:10.88.0.1\n');
    assert.equal(await shell(...echo('127.0.0.1', 8080)), 'hello\n');
    assert.match(await ask(own, 8080), /10\.77\.0\.\d+/);
    await ask('127.0.0.1', 8081);
    await refused(own, 8081);
    await using station = await useStation();
    const asked = await station.shell('timeout', '3', 'bash', '-c', `cat </dev/tcp/${own}/8080`);
    assert.equal(asked, '::ffff:198.18.0.2\n');
    assert.equal(await station.shell(...echo(own, 8080)), 'hello\n');
    // What is not published is not reached, though there is a route.
    const [address = ''] = (a.addresses[0] ?? '').split('/');
    await assert.rejects(station.shell('timeout', '2', 'bash', '-c', `cat </dev/tcp/${address}/80`));
    // It gets out, and reaches its own port by the host's address.
    await a.inside('ping', '-c1', '-W1', '10.77.0.1');
    assert.match(await a.inside('timeout', '3', 'bash', '-c', `cat </dev/tcp/${own}/8080`), /10\.88\.0\.1/);
  }
  await refused('127.0.0.1', 8080);
  assert.doesNotMatch(await shell('nft', 'list', 'table', 'inet', 'spawnlet_cni'), /808[01]/);
});

for (const job of ['reload', 'restart'])
  test(`a ${job} of the host's firewall, which flushes all rules, loses no port`, async () => {
    await using place = await usePlace();
    await using _a = await usePorts(place, 'a', [{ protocol: 'tcp', hostPort: 8080, port: 80 }]);
    await ask('127.0.0.1', 8080);
    await shell('systemctl', job, 'nftables');
    await eventually(() => ask('127.0.0.1', 8080));
    // Rules that are flushed by hand come back with a reload of the bridge.
    await shell('nft', 'flush', 'ruleset');
    await refused('127.0.0.1', 8080);
    await shell('systemctl', 'reload', cniBridge.unit);
    await ask('127.0.0.1', 8080);
  });
