import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { addressOf, allocate, chooseSubnets, hardwareAddress, hostAddress, parseCidr } from './subnet.ts';

const hostId = '0123456789abcdef0123456789abcdef';
const subnets = chooseSubnets([], hostId);

test('the bridge gets the first network that no route of the host leads into', () => {
  assert.equal(subnets.v4, '10.153.0.0/22');
  assert.match(subnets.v6, /^fd[0-9a-f]{2}:[0-9a-f]{4}:[0-9a-f]{4}::\/64$/);
  assert.equal(chooseSubnets(['10.153.3.128/25', 'fe80::/64'], hostId).v4, '10.187.0.0/22');
  assert.equal(chooseSubnets(['10.0.0.0/8'], hostId).v4, '172.30.216.0/22');
  assert.throws(() => chooseSubnets(['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'], hostId), {
    code: 'ERR_NETWORK_SUBNET',
  });
});

test('a route to one host, as ip shows it, is one too', () => {
  assert.equal(chooseSubnets(['10.153.0.7'], hostId).v4, '10.187.0.0/22');
});

test('machines get addresses of the network, each its own, and never the bridge’s', () => {
  const list = new BlockList();
  const [network = '', prefix] = subnets.v4.split('/');
  list.addSubnet(network, Number(prefix), 'ipv4');
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 2, max: 1022 }), { maxLength: 300 }), hosts => {
      const taken = hosts.flatMap(host => Object.values(hostAddress(subnets, host)).map(addressOf));
      const [v4, v6] = allocate(subnets, taken);
      assert.ok(list.check(addressOf(v4), 'ipv4') && parseCidr(v4) && parseCidr(v6));
      assert.ok(!taken.includes(addressOf(v4)) && !taken.includes(addressOf(v6)));
      assert.notEqual(addressOf(v4), addressOf(hostAddress(subnets, 1).v4));
    }),
  );
});

test('a bridge has a hardware address that follows from the other one', () => {
  assert.equal(hardwareAddress('10.88.0.1/16'), '02:00:0a:58:00:01');
  assert.equal(hardwareAddress('192.168.216.1'), '02:00:c0:a8:d8:01');
});

test('a full network is refused', () => {
  const taken = Array.from({ length: 1021 }, (_value, at) => addressOf(hostAddress(subnets, at + 2).v4));
  assert.equal(new Set(taken).size, 1021);
  assert.throws(() => allocate(subnets, taken), { code: 'ERR_NETWORK_FULL' });
  assert.equal(allocate(subnets, taken.slice(0, -1))[0], '10.153.3.254/22');
});

test('a CIDR is an address and a length that its family has', () => {
  assert.deepEqual(parseCidr('fd00::2/64'), { address: 'fd00::2', prefix: 64 });
  for (const text of [
    '10.0.0.1',
    '10.0.0.1/33',
    '10.0.0/8',
    'fd00::/129',
    'fe80::1%eth0/64',
    '10.0.0.1/8/8',
    '/8',
  ])
    assert.equal(parseCidr(text), undefined, text);
});

test('an address is written as the kernel’s tools list it, whoever has written it', () => {
  for (const [written, listed] of [
    ['fd00:0123:0004::2/64', 'fd00:123:4::2'],
    ['FD00:0:0:0:0:0:0:2/64', 'fd00::2'],
    ['10.0.0.2/24', '10.0.0.2'],
    ['10.0.0.2', '10.0.0.2'],
  ] as const)
    assert.equal(addressOf(written), listed);
});
