import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type BridgeFacts,
  type BridgeRequest,
  bridgeFiles,
  filesOfBridge,
  planBridge,
  planBridgeRemoval,
} from './bridge.ts';

const request = (some: Partial<BridgeRequest> = {}): BridgeRequest => ({
  name: 'br0',
  uplinks: [],
  addresses: [],
  gateways: [],
  dns: [],
  ...some,
});
const facts = (some: Partial<BridgeFacts> = {}): BridgeFacts => ({
  manager: 'networkd',
  links: [
    { name: 'eth0', kind: undefined, master: undefined },
    { name: 'eth1', kind: undefined, master: undefined },
    { name: 'eth2', kind: undefined, master: 'br9' },
    { name: 'br9', kind: 'bridge', master: undefined },
  ],
  addresses: { eth0: ['192.0.2.7/24'] },
  stanzas: ['lo', 'eth1'],
  ...some,
});
const texts = (some: Partial<BridgeRequest>, manager: 'networkd' | 'ifupdown') =>
  bridgeFiles(request(some), manager)
    .map(step => (step.do === 'write-file' ? step.content : ''))
    .join('\n');

test('a bridge is set up at once if no port has an address, else at the next boot', () => {
  const plain = planBridge(request({ uplinks: ['eth1'] }), facts());
  assert.equal(plain.takesEffect, 'now');
  assert.deepEqual(plain.steps.at(-1), { do: 'set-up-bridge', name: 'br0', manager: 'networkd' });
  const moving = planBridge(request({ uplinks: ['eth0'], addresses: 'dhcp' }), facts());
  assert.equal(moving.takesEffect, 'boot');
  assert.ok(moving.steps.every(step => step.do === 'write-file'));
});

const refusals: readonly [
  what: string,
  some: Partial<BridgeRequest>,
  code: string,
  facts?: Partial<BridgeFacts>,
][] = [
  ['a port whose address the host would lose', { uplinks: ['eth0'] }, 'ERR_NETWORK'],
  ['a port that is not there', { uplinks: ['eth9'] }, 'ERR_NO_LINK'],
  ['a port of another bridge', { uplinks: ['eth2'] }, 'ERR_NETWORK'],
  ['the name of something else', { name: 'eth1' }, 'ERR_NETWORK'],
  ['a name with a newline', { name: 'br0\n[Network]' }, 'ERR_NETWORK'],
  ['an address that is none', { addresses: ['10.0.0.1'] }, 'ERR_NETWORK'],
  ['a port that ifupdown sets up otherwise', { uplinks: ['eth1'] }, 'ERR_NETWORK', { manager: 'ifupdown' }],
  ['a host of NetworkManager’s', {}, 'ERR_NETWORK', { manager: 'networkmanager' }],
  ['a host where nobody would read the files', {}, 'ERR_NETWORK', { manager: 'none' }],
];

for (const [what, some, code, more] of refusals)
  test(`refused: ${what}`, () => {
    assert.throws(() => planBridge(request(some), facts(more)), { code });
  });

test('systemd-networkd gets the device, its network and one file for each port', () => {
  const text = texts({ uplinks: ['eth1'], addresses: ['10.0.0.1/24'], gateways: ['10.0.0.254'] }, 'networkd');
  for (const line of ['Kind=bridge', 'Address=10.0.0.1/24', 'Gateway=10.0.0.254', 'Name=eth1', 'Bridge=br0'])
    assert.ok(text.split('\n').includes(line), line);
  assert.ok(texts({}, 'networkd').includes('LinkLocalAddressing=no'));
});

test('ifupdown makes the bridge in its first stanza and takes it away in the last', () => {
  const text = texts(
    { uplinks: ['eth1'], addresses: ['10.0.0.1/24', 'fd00::1/64'], gateways: ['fd00::9'] },
    'ifupdown',
  );
  assert.deepEqual(text.split('\n').slice(1), [
    'auto br0',
    'iface br0 inet static',
    '    pre-up ip link add name br0 type bridge forward_delay 0 || true',
    '    pre-up ip link set dev eth1 master br0 up',
    '    pre-up ip link set dev br0 address "$(cat /sys/class/net/eth1/address)"',
    '    address 10.0.0.1/24',
    'iface br0 inet6 static',
    '    address fd00::1/64',
    '    gateway fd00::9',
    '    post-down ip link delete dev br0 || true',
    '',
  ]);
});

test('only the files of the bridge itself go with it', () => {
  const names = {
    '/etc/systemd/network': [
      '00-spawnlet-bridge-br0.netdev',
      '00-spawnlet-bridge-br0.network',
      '00-spawnlet-bridge-br0.port0.network',
      '00-spawnlet-bridge-br0.port.network',
      '00-spawnlet-bridge-br01.netdev',
      '00-spawnlet-bridge-br0.port1.netdev',
      '10-br0.netdev',
    ],
    '/etc/network/interfaces.d': ['spawnlet-bridge-br', 'spawnlet-bridge-br00'],
  };
  const files = filesOfBridge('br0', names);
  assert.deepEqual(
    files.map(file => file.slice('/etc/systemd/network/00-spawnlet-bridge-'.length)),
    ['br0.netdev', 'br0.network', 'br0.port0.network'],
  );
  assert.deepEqual(planBridgeRemoval('br0', files, ['eth1']).at(-1), {
    do: 'take-down-bridge',
    name: 'br0',
    manager: 'networkd',
  });
  assert.throws(() => planBridgeRemoval('br1', [], []), { code: 'ERR_NO_LINK' });
  for (const port of ['vb-web', 'vs-web', 'vs1-web', 'vs+webhhhhhhhhh'])
    assert.throws(() => planBridgeRemoval('br0', files, [port]), { code: 'ERR_NETWORK' }, port);
});
