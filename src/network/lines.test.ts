import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressesOf, type LineFacts, networkLines } from './lines.ts';
import { natOf, natRemoval } from './nat.ts';
import type { Interface, Network, NetworkedMachine, PublishedPort } from './spec.ts';

const facts = (some: Partial<LineFacts> = {}): LineFacts => ({
  systemd: 257,
  udev: true,
  hostId: 'host',
  nat: { v4: '10.153.0.0/22', v6: 'fd00:1:2::/64' },
  ...some,
});
const plain = { name: 'host0', addresses: [], gateways: [], dns: [] } as const;
const privately = (...interfaces: Interface[]): Network => ({ kind: 'private', interfaces });
const machine = (network: Network, name = 'web'): NetworkedMachine => ({ name, network });
const lines = (network: Network, some?: Partial<LineFacts>) => networkLines(machine(network), facts(some));

test('the host’s network and none are said against the stock unit, which asks for a veth', () => {
  assert.deepEqual(lines({ kind: 'host' }).nspawn, [
    ['Private', 'no'],
    ['VirtualEthernet', 'no'],
  ]);
  assert.deepEqual(lines({ kind: 'none' }).nspawn, [
    ['Private', 'yes'],
    ['VirtualEthernet', 'no'],
  ]);
});

test('an interface on a bridge is all in the .nspawn file, and waits for the bridge’s device', () => {
  const { nspawn, unit, service, hostSteps } = lines(
    privately({ ...plain, kind: 'bridge', bridge: 'br-lan' }),
  );
  assert.deepEqual(nspawn, [
    ['Private', 'yes'],
    ['Bridge', 'br-lan'],
  ]);
  const device = 'sys-subsystem-net-devices-br\\x2dlan.device';
  assert.deepEqual(unit, [
    ['Requires', device],
    ['After', device],
  ]);
  assert.deepEqual([service, hostSteps], [[], []]);
  assert.deepEqual(lines(privately({ ...plain, kind: 'bridge', bridge: 'br0' }), { udev: false }).unit, []);
});

test('a second bridge, and one with another name inside, get a veth that the unit makes', () => {
  const two = privately(
    { ...plain, kind: 'bridge', bridge: 'br0' },
    { ...plain, kind: 'bridge', bridge: 'br1', name: 'lan0', mac: '02:00:00:00:00:07' },
  );
  const { nspawn, service, interfaces } = lines(two);
  assert.deepEqual(nspawn.slice(1), [
    ['Bridge', 'br0'],
    ['Interface', 'vi1-web:lan0'],
  ]);
  assert.deepEqual(service, [
    ['ExecStartPre', '/usr/sbin/ip link add vs1-web type veth peer name vi1-web address 02:00:00:00:00:07'],
    ['ExecStartPre', '/usr/sbin/ip link set vs1-web master br1 up'],
    ['ExecStopPost', '-/usr/sbin/ip link delete vs1-web'],
  ]);
  assert.deepEqual(
    interfaces.map(({ name, mac }) => [name, mac]),
    [
      ['host0', undefined],
      ['lan0', '02:00:00:00:00:07'],
    ],
  );
});

test('systemd before 254 names nothing inside: the name is the one on the host', () => {
  const { nspawn, interfaces } = lines(privately({ ...plain, kind: 'ovs', bridge: 'ovs0' }), {
    systemd: 252,
  });
  assert.deepEqual(nspawn.slice(1), [
    ['VirtualEthernet', 'no'],
    ['Interface', 'vi-web'],
  ]);
  assert.equal(interfaces[0]?.name, 'vi-web');
  const old = lines(privately({ ...plain, kind: 'macvlan', parent: 'eth0', name: 'lan0' }), { systemd: 252 });
  assert.deepEqual([old.nspawn.at(-1), old.interfaces[0]?.name], [['MACVLAN', 'eth0'], 'mv-eth0']);
  const now = lines(privately({ ...plain, kind: 'macvlan', parent: 'eth0', name: 'lan0' }));
  assert.deepEqual([now.nspawn.at(-1), now.interfaces[0]?.name], [['MACVLAN', 'eth0:lan0'], 'lan0']);
});

test('a port of Open vSwitch comes with the machine and goes with it, in its VLAN', () => {
  const { unit, service } = lines(privately({ ...plain, kind: 'ovs', bridge: 'ovs0', vlan: 7 }));
  const values = service.map(([key, value]) => `${key}=${value}`);
  assert.ok(values.includes('ExecStartPre=/usr/bin/ovs-vsctl --may-exist add-port ovs0 vs-web tag=7'));
  assert.ok(values.includes('ExecStopPost=-/usr/bin/ovs-vsctl --if-exists del-port ovs0 vs-web'));
  assert.deepEqual(unit, [['After', 'openvswitch-switch.service openvswitch.service']]);
});

test('an interface with NAT needs the bridge’s unit, whose files come first; its ports come and go with the machine', () => {
  const one: Interface = {
    ...plain,
    kind: 'nat',
    addresses: ['10.153.0.2/22', 'fd00:1:2::2/64'],
    ports: [
      { protocol: 'udp', hostPort: 5353, port: 53 },
      { protocol: 'tcp', address: '127.0.0.1', hostPort: 8080, port: 80 },
    ],
  };
  const { nspawn, unit, service, hostSteps, addresses } = lines(privately(one));
  assert.deepEqual(nspawn[1], ['Bridge', 'spawnlet0']);
  assert.deepEqual(unit, [
    ['Requires', 'spawnlet-nat.service'],
    ['After', 'spawnlet-nat.service'],
  ]);
  const add = '/usr/sbin/nft add element inet spawnlet';
  const takeBack = '-/bin/sh /var/lib/spawnlet/network/unpublish 10.153.0.2 fd00:1:2::2';
  assert.deepEqual(service, [
    ['ExecStartPre', takeBack],
    ['ExecStartPre', `${add} published4 "{ udp . 5353 : 10.153.0.2 . 53 }"`],
    ['ExecStartPre', `${add} published6 "{ udp . 5353 : fd00:1:2::2 . 53 }"`],
    ['ExecStartPre', `${add} bound4 "{ 127.0.0.1 . tcp . 8080 : 10.153.0.2 . 80 }"`],
    ['ExecStopPost', takeBack],
  ]);
  const paths = hostSteps.map(step => step.path);
  assert.ok(paths.includes('/etc/systemd/system/spawnlet-nat.service'));
  assert.deepEqual(addresses, ['10.153.0.2', 'fd00:1:2::2']);
});

test('the bridge with NAT goes with the last machine that needs it', () => {
  const nat = machine(privately({ ...plain, kind: 'nat', ports: [] }));
  const none = machine({ kind: 'host' }, 'other');
  assert.deepEqual(natRemoval([none, nat]), []);
  const stopped = natRemoval([none]).flatMap(step => (step.do === 'stop-unit' ? step.name : []));
  assert.ok(stopped.includes('spawnlet-nat.service'), stopped.join(' '));
});

test('a drop-in alone tells that its machine needs the bridge, and which addresses and ports are its', () => {
  const addresses = ['10.153.0.2/22', 'fd00:1:2::2/64'];
  const ports: PublishedPort[] = [
    { protocol: 'udp', hostPort: 5353, port: 53 },
    { protocol: 'tcp', address: '127.0.0.1', hostPort: 8080, port: 80 },
    { protocol: 'tcp', address: 'fd00::7', hostPort: 8080, port: 80 },
  ];
  const { unit, service } = lines(privately({ ...plain, kind: 'nat', addresses, ports }));
  const text = (group: readonly (readonly [string, string])[]) =>
    group.map(([key, value]) => `${key}=${value}\n`).join('');
  const found = natOf('web', `[Unit]\n${text(unit)}[Service]\n${text(service)}`);
  assert.deepEqual(
    found.flatMap(({ network }) => addressesOf(network)),
    ['10.153.0.2', 'fd00:1:2::2'],
  );
  const [one] = found.flatMap(({ network }) => (network.kind === 'private' ? network.interfaces : []));
  assert.deepEqual(one?.kind === 'nat' && one.ports, ports);
  assert.deepEqual(natRemoval(found), []);
  assert.deepEqual(natOf('web', `[Unit]\nAfter=spawnlet-nat.service\n[Service]\n${text(service)}`), []);
});

test('the veth of systemd-nspawn is given a hardware address where that can be', () => {
  const one: Interface = { ...plain, kind: 'bridge', bridge: 'br0', mac: '02:00:00:00:00:07' };
  assert.deepEqual(lines(privately(one)).service, [
    ['Environment', 'SYSTEMD_NSPAWN_NETWORK_MAC=02:00:00:00:00:07'],
  ]);
  const old = lines(privately(one), { systemd: 252 });
  assert.deepEqual([old.service, old.interfaces[0]?.mac], [[], undefined]);
});

test('a zone has the veth of systemd-nspawn, and what is on a bridge beside it another', () => {
  const both = privately(
    { ...plain, kind: 'bridge', bridge: 'br0', name: 'lan0' },
    { ...plain, kind: 'zone', zone: 'lab' },
  );
  assert.deepEqual(lines(both).nspawn, [
    ['Private', 'yes'],
    ['Interface', 'vi-web:lan0'],
    ['Zone', 'lab'],
  ]);
});
