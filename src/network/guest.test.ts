import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { type GuestNetworkOs, guestNetworkFiles } from './guest.ts';
import { type InnerInterface, networkLines } from './lines.ts';
import type { Interface } from './spec.ts';

const plain = { name: 'host0', addresses: [], gateways: [], dns: [] } as const;
const facts = { systemd: 252, udev: true, hostId: 'host', nat: { v4: '10.153.0.0/22', v6: 'fd00::/64' } };

function filesOf(manager: GuestNetworkOs['manager'], ...interfaces: Interface[]): Map<string, string> {
  const lines = networkLines({ name: 'web', network: { kind: 'private', interfaces } }, facts);
  const files = guestNetworkFiles(lines, { manager, resolver: 'file' });
  return new Map(files.map(file => [file.path, 'content' in file ? file.content : `-> ${file.link}`]));
}

const fixed: Interface = {
  ...plain,
  kind: 'bridge',
  bridge: 'br0',
  mac: '02:00:00:00:00:07',
  addresses: ['10.0.0.2/24', 'fd00::2/64', '10.0.0.3/24'],
  gateways: ['10.0.0.1', 'fd00::1'],
  dns: ['192.0.2.53'],
};
const body = (text: string | undefined) =>
  (text ?? '').split('\n').filter(line => line !== '' && !line.startsWith('#'));

test('systemd-networkd gets a .network file that comes before others, and is switched on', () => {
  const files = filesOf('networkd', fixed);
  assert.deepEqual(body(files.get('/etc/systemd/network/00-spawnlet-host0.network')), [
    '[Match]',
    'Name=host0',
    '[Link]',
    'MACAddress=02:00:00:00:00:07',
    '[Network]',
    'Address=10.0.0.2/24',
    'Address=fd00::2/64',
    'Address=10.0.0.3/24',
    'Gateway=10.0.0.1',
    'Gateway=fd00::1',
    'DNS=192.0.2.53',
    'IPv6AcceptRA=no',
  ]);
  assert.match(
    files.get('/etc/systemd/system/multi-user.target.wants/systemd-networkd.service') ?? '',
    /^->/,
  );
  assert.deepEqual(body(files.get('/etc/resolv.conf')), ['nameserver 192.0.2.53']);
});

test('ifupdown gets a stanza for each address, the gateway in the first of its family', () => {
  assert.deepEqual(body(filesOf('ifupdown', fixed).get('/etc/network/interfaces.d/spawnlet')), [
    'auto host0',
    'iface host0 inet static',
    '    address 10.0.0.2/24',
    '    gateway 10.0.0.1',
    '    hwaddress 02:00:00:00:00:07',
    'iface host0 inet6 static',
    '    address fd00::2/64',
    '    gateway fd00::1',
    'iface host0 inet static',
    '    address 10.0.0.3/24',
    '    dns-nameservers 192.0.2.53',
  ]);
  const dhcp = filesOf('ifupdown', { ...fixed, addresses: 'dhcp', gateways: [], dns: [] });
  assert.deepEqual(body(dhcp.get('/etc/network/interfaces.d/spawnlet')), [
    'auto host0',
    'iface host0 inet dhcp',
    '    hwaddress 02:00:00:00:00:07',
  ]);
});

test('netplan gets YAML that says the same', () => {
  assert.deepEqual(parse(filesOf('netplan', fixed).get('/etc/netplan/60-spawnlet.yaml') ?? ''), {
    network: {
      version: 2,
      ethernets: {
        host0: {
          dhcp4: false,
          dhcp6: false,
          macaddress: '02:00:00:00:00:07',
          addresses: ['10.0.0.2/24', 'fd00::2/64', '10.0.0.3/24'],
          routes: [
            { to: '0.0.0.0/0', via: '10.0.0.1' },
            { to: '::/0', via: 'fd00::1' },
          ],
          nameservers: { addresses: ['192.0.2.53'] },
        },
      },
    },
  });
});

test('NetworkManager gets a keyfile', () => {
  const text = filesOf('networkmanager', fixed).get(
    '/etc/NetworkManager/system-connections/spawnlet-host0.nmconnection',
  );
  const lines = body(text);
  for (const line of [
    'interface-name=host0',
    'address1=10.0.0.2/24',
    'address2=10.0.0.3/24',
    'dns=192.0.2.53;',
  ])
    assert.ok(lines.includes(line), line);
});

test('an interface of which nothing is said is left to the tree', () => {
  assert.equal(filesOf('networkd', { ...plain, kind: 'bridge', bridge: 'br0' }).size, 0);
  assert.equal(filesOf('none', { ...plain, kind: 'bridge', bridge: 'br0' }).size, 0);
});

test('a tree in which nothing would read it is refused, and one with systemd-resolved keeps its resolv.conf', () => {
  assert.throws(() => filesOf('none', fixed), { code: 'ERR_NETWORK_GUEST' });
  const inner: InnerInterface = { name: 'host0', interface: fixed };
  const lines = { nspawn: [], unit: [], service: [], hostSteps: [], interfaces: [inner], addresses: [] };
  const files = guestNetworkFiles(lines, { manager: 'networkd', resolver: 'resolved' });
  assert.ok(files.every(({ path }) => path !== '/etc/resolv.conf'));
});
