import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clonedNetwork, decideNetwork } from './decide.ts';
import { type NetworkFacts, nameServers } from './observe.ts';
import type { Interface, Network, NetworkedMachine } from './spec.ts';

const facts = (some: Partial<NetworkFacts> = {}): NetworkFacts => ({
  systemd: 257,
  udev: true,
  hostId: 'host',
  nat: { v4: '10.153.0.0/22', v6: 'fd00:1:2::/64' },
  links: [
    { name: 'eth0', kind: undefined, master: undefined },
    { name: 'eth1', kind: undefined, master: undefined },
    { name: 'br0', kind: 'bridge', master: undefined },
  ],
  uplinks: ['eth0'],
  openVSwitch: ['ovs0'],
  networkd: 'inactive',
  nft: 'there',
  kinds: { macvlan: true, ipvlan: false },
  dns: ['192.0.2.53'],
  listening: [],
  machines: [],
  ...some,
});
const plain = { name: 'host0', addresses: [], gateways: [], dns: [] } as const;
const machine = (...interfaces: Interface[]): NetworkedMachine => ({
  name: 'web',
  network: { kind: 'private', interfaces },
});
const decide = (one: Interface, some?: Partial<NetworkFacts>) => decideNetwork(machine(one), facts(some));
const only = (network: Network) => {
  assert.ok(network.kind === 'private' && network.interfaces[0]);
  return network.interfaces[0];
};

test('an interface with NAT gets addresses that no machine has, the bridge as gateway and the host’s name servers', () => {
  const one = only(decide({ ...plain, kind: 'nat', ports: [] }));
  assert.deepEqual(
    [one.addresses, one.gateways, one.dns],
    [['10.153.0.2/22', 'fd00:1:2::2/64'], ['10.153.0.1', 'fd00:1:2::1'], ['192.0.2.53']],
  );
  const first: NetworkedMachine = { name: 'first', network: { kind: 'private', interfaces: [one] } };
  const second = only(decide({ ...plain, kind: 'nat', ports: [] }, { machines: [first] }));
  assert.deepEqual(second.addresses, ['10.153.0.3/22', 'fd00:1:2::3/64']);
  assert.deepEqual(only(decide(second, { machines: [first] })), second);
});

test('a copy of a machine keeps no address, port or hardware address that is the original’s alone', () => {
  const port = { protocol: 'tcp', hostPort: 80, port: 80 } as const;
  const nat = only(decide({ ...plain, kind: 'nat', ports: [port], mac: '02:00:00:00:00:01' }));
  assert.deepEqual(only(clonedNetwork({ kind: 'private', interfaces: [nat] })), {
    ...plain,
    kind: 'nat',
    ports: [],
    dns: ['192.0.2.53'],
  });
});

const refusals: readonly [what: string, one: Interface, code: string, some?: Partial<NetworkFacts>][] = [
  ['a bridge that is not there', { ...plain, kind: 'bridge', bridge: 'br9' }, 'ERR_NO_LINK'],
  ['an interface as a bridge', { ...plain, kind: 'bridge', bridge: 'eth0' }, 'ERR_NETWORK'],
  ['a bridge of Open vSwitch as a plain one', { ...plain, kind: 'bridge', bridge: 'ovs0' }, 'ERR_NETWORK'],
  ['an OVS bridge that is not there', { ...plain, kind: 'ovs', bridge: 'br0' }, 'ERR_NO_LINK'],
  [
    'Open vSwitch that is not installed',
    { ...plain, kind: 'ovs', bridge: 'ovs0' },
    'ERR_PROGRAM_MISSING',
    { openVSwitch: 'missing' },
  ],
  ['a VLAN that is none', { ...plain, kind: 'ovs', bridge: 'ovs0', vlan: 4095 }, 'ERR_NETWORK'],
  ['an ipvlan without the kernel’s', { ...plain, kind: 'ipvlan', parent: 'eth0' }, 'ERR_NETWORK_KERNEL'],
  ['a macvlan on nothing', { ...plain, kind: 'macvlan', parent: 'eth9' }, 'ERR_NO_LINK'],
  ['a zone without systemd-networkd', { ...plain, kind: 'zone', zone: 'lab' }, 'ERR_NETWORK'],
  ['the interface that the host lives on', { ...plain, kind: 'physical', interface: 'eth0' }, 'ERR_NETWORK'],
  [
    'a name that systemd would not take',
    { ...plain, name: 'a b', kind: 'bridge', bridge: 'br0' },
    'ERR_NETWORK',
  ],
  ['a bridge name with a newline', { ...plain, kind: 'bridge', bridge: 'br0\nBridge=x' }, 'ERR_NETWORK'],
  [
    'an address that is none',
    { ...plain, kind: 'bridge', bridge: 'br0', addresses: ['10.0.0.2'] },
    'ERR_NETWORK',
  ],
  [
    'a gateway without an address',
    { ...plain, kind: 'bridge', bridge: 'br0', gateways: ['10.0.0.1'] },
    'ERR_NETWORK',
  ],
  [
    'the address of a group',
    { ...plain, kind: 'bridge', bridge: 'br0', mac: '01:00:5e:00:00:01' },
    'ERR_NETWORK',
  ],
  ['DHCP on the bridge with NAT', { ...plain, kind: 'nat', ports: [], addresses: 'dhcp' }, 'ERR_NETWORK'],
  ['NAT without nft', { ...plain, kind: 'nat', ports: [] }, 'ERR_PROGRAM_MISSING', { nft: 'missing' }],
];

for (const [what, one, code, some] of refusals)
  test(`refused: ${what}`, () => {
    assert.throws(() => decide(one, some), { code });
  });

test('what is there is taken: a bridge, a macvlan, an interface of the host', () => {
  for (const one of [
    { ...plain, kind: 'bridge', bridge: 'br0', addresses: ['10.0.0.2/24'], gateways: ['10.0.0.1'] },
    { ...plain, kind: 'macvlan', parent: 'eth0' },
    { ...plain, kind: 'physical', interface: 'eth1' },
  ] satisfies Interface[])
    assert.deepEqual(only(decide(one)), one);
});

test('an address, and an interface of the host, that another machine has are refused by its name', () => {
  const lan: Interface = { ...plain, kind: 'bridge', bridge: 'br0', addresses: ['10.0.0.2/24'] };
  const eth1: Interface = { ...plain, kind: 'physical', interface: 'eth1' };
  const machines: NetworkedMachine[] = [
    { name: 'db', network: { kind: 'private', interfaces: [lan, { ...eth1, name: 'eth1' }] } },
  ];
  assert.throws(() => decide(lan, { machines }), {
    code: 'ERR_ADDRESS_TAKEN',
    message: "10.0.0.2 is machine db's",
  });
  assert.throws(() => decide(eth1, { machines }), { message: /machine db's/ });
  decide({ ...lan, kind: 'ovs', bridge: 'ovs0' }, { machines });
});

test('two interfaces of one name, and two with NAT, are refused', () => {
  const lan: Interface = { ...plain, kind: 'bridge', bridge: 'br0' };
  assert.throws(() => decideNetwork(machine(lan, lan), facts()), {
    message: /two interfaces are named host0/,
  });
  const nat: Interface = { ...plain, kind: 'nat', ports: [] };
  assert.throws(() => decideNetwork(machine(nat, { ...nat, name: 'lan0' }), facts()), {
    code: 'ERR_NETWORK',
  });
});

test('name servers of the host alone are no use to a machine', () => {
  assert.deepEqual(
    nameServers(
      '# x\nnameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver 192.0.2.1\nsearch a\n',
    ),
    ['192.0.2.1'],
  );
});
