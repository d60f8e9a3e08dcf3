import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type ContainerAttachment,
  type ContainerFacts,
  connectionText,
  decideContainer,
} from './container.ts';
import { onBridge } from './nat.ts';
import type { NetworkedMachine, PublishedPort } from './spec.ts';

const subnets = { v4: '10.153.0.0/22', v6: 'fd00:1:2::/64' };
const neighbour = (
  what: 'machine' | 'container',
  name: string,
  host: number,
  ...ports: PublishedPort[]
): NetworkedMachine => ({
  name,
  ...(what === 'container' && { what }),
  network: onBridge('host0', [`10.153.0.${host}/22`, `fd00:1:2::${host.toString(16)}/64`], ports),
});
const facts = (some: Partial<ContainerFacts> = {}): ContainerFacts => ({
  subnets,
  neighbours: [],
  listening: [],
  ...some,
});
const decide = (asked: Partial<ContainerAttachment>, some: Partial<ContainerFacts> = {}) =>
  decideContainer({ name: 'web', addresses: [], ports: [], ...asked }, facts(some));
const tcp = (hostPort: number): PublishedPort => ({ protocol: 'tcp', hostPort, port: 80 });

test('a container is given the lowest addresses that no machine and no container has', () => {
  const neighbours = [neighbour('machine', 'a', 2), neighbour('container', 'b', 3)];
  assert.deepEqual(decide({}, { neighbours }).addresses, ['10.153.0.4/22', 'fd00:1:2::4/64']);
});

test('a machine of its name is another, a container of its name is itself', () => {
  const machine = [neighbour('machine', 'web', 2, tcp(8080))];
  assert.deepEqual(decide({}, { neighbours: machine }).addresses[0], '10.153.0.3/22');
  assert.throws(() => decide({ ports: [tcp(8080)] }, { neighbours: machine }), {
    code: 'ERR_PORT_TAKEN',
    message: "port 8080/tcp is machine web's",
  });
  const own = [neighbour('container', 'web', 2, tcp(8080))];
  assert.deepEqual(decide({ ports: [tcp(8080)] }, { neighbours: own }).addresses[0], '10.153.0.2/22');
});

test('asked addresses are had in either family, the other one is given', () => {
  assert.deepEqual(decide({ addresses: ['10.153.0.77'] }).addresses, ['10.153.0.77/22', 'fd00:1:2::2/64']);
  assert.deepEqual(decide({ addresses: ['fd00:1:2:0::99'] }).addresses, ['10.153.0.2/22', 'fd00:1:2::99/64']);
});

for (const [what, address] of [
  ['of another network', '192.0.2.7'],
  ['of the bridge', '10.153.0.1'],
  ['of the network', '10.153.0.0'],
  ['of the bridge in IPv6', 'fd00:1:2::1'],
] as const)
  test(`an address ${what} is refused`, () => {
    assert.throws(() => decide({ addresses: [address] }), { code: 'ERR_NETWORK' });
  });

test('an address that is taken is refused by the name of who has it', () => {
  const neighbours = [neighbour('container', 'db', 2)];
  assert.throws(() => decide({ addresses: ['10.153.0.2'] }, { neighbours }), {
    code: 'ERR_ADDRESS_TAKEN',
    message: "10.153.0.2 is container db's",
  });
});

test('ports without one of the host are given free ones, past what is published and listened at', () => {
  const listening = [{ protocol: 'tcp' as const, address: '*', port: 32_769, owner: 'nginx' }];
  const neighbours = [neighbour('container', 'db', 2, tcp(32_768))];
  const any = (protocol: 'tcp' | 'udp') => ({ protocol, port: 80 });
  const { ports } = decide({ ports: [any('tcp'), any('udp'), any('tcp')] }, { neighbours, listening });
  assert.deepEqual(
    ports.map(({ hostPort }) => hostPort),
    [32_770, 32_768, 32_771],
  );
});

test('what a container has it keeps, whatever was asked when it was made', () => {
  const before = { version: 1, addresses: ['10.153.0.9/22'], ports: [tcp(1)] } as const;
  const asked = { name: 'web', addresses: [], ports: [tcp(8080)] };
  assert.equal(decideContainer(asked, facts({ neighbours: [neighbour('machine', 'x', 9)] }), before), before);
});

test('the text of a container without ports runs nft at neither end', () => {
  const connected = (ports: PublishedPort[]) =>
    connectionText({
      name: 'web',
      network: { version: 1, addresses: ['10.153.0.2/22', 'fd00:1:2::2/64'], ports },
      gateways: ['10.153.0.1', 'fd00:1:2::1'],
      mac: '02:00:00:00:00:07',
      names: [],
      resolver: 'bridge',
    });
  const plain = connected([]);
  assert.doesNotMatch(plain.connect + plain.disconnect, /nft|leave/);
  const published = connected([tcp(8080)]);
  assert.match(published.connect, /nft -f \/run\/spawnlet\/nat\/ports\/web\.nft/);
  assert.match(published.disconnect, /network\/leave web/);
});
