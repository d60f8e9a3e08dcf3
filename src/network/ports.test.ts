import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseListeners, refusePorts } from './ports.ts';
import type { Interface, NetworkedMachine, PublishedPort } from './spec.ts';

const nat = (...ports: PublishedPort[]) => ({
  kind: 'nat' as const,
  name: 'host0',
  addresses: [],
  gateways: [],
  dns: [],
  ports,
});
const tcp = (hostPort: number, address?: string): PublishedPort => ({
  protocol: 'tcp',
  hostPort,
  port: 80,
  ...(address !== undefined && { address }),
});
const other = (one: Interface): NetworkedMachine => ({
  name: 'db',
  network: { kind: 'private', interfaces: [one] },
});

const shown = `
udp   UNCONN 0      0      127.0.0.53%lo:53        0.0.0.0:*    users:(("systemd-resolve",pid=9,fd=13))
tcp   LISTEN 0      511          0.0.0.0:80        0.0.0.0:*    users:(("nginx",pid=1,fd=6),("nginx",pid=2,fd=6))
tcp   LISTEN 0      128             [::]:22           [::]:*
tcp   LISTEN 0      4096               *:9090            *:*    users:(("prometheus",pid=3,fd=7))
`;

test('what ss prints is read: protocol, address, port and program', () => {
  assert.deepEqual(parseListeners(shown), [
    { protocol: 'udp', address: '127.0.0.53', port: 53, owner: 'systemd-resolve' },
    { protocol: 'tcp', address: '0.0.0.0', port: 80, owner: 'nginx' },
    { protocol: 'tcp', address: '::', port: 22, owner: undefined },
    { protocol: 'tcp', address: '*', port: 9090, owner: 'prometheus' },
  ]);
  assert.deepEqual(parseListeners(''), []);
});

const listening = parseListeners(shown);
const refuse = (ports: PublishedPort[], machines: NetworkedMachine[] = []) =>
  refusePorts(nat(...ports), { name: 'web' }, { machines, listening });

test('a port that a program of the host listens on is refused by the program’s name', () => {
  assert.throws(() => refuse([tcp(80)]), { code: 'ERR_PORT_TAKEN', message: "port 80/tcp is nginx's" });
  assert.throws(() => refuse([tcp(22, '10.0.0.1')]), {
    message: /10\.0\.0\.1:22\/tcp is a program of this host/,
  });
  assert.throws(() => refuse([{ protocol: 'udp', hostPort: 53, port: 53 }]), { message: /systemd-resolve/ });
  refuse([{ protocol: 'udp', hostPort: 80, port: 80 }]);
  refuse([{ protocol: 'udp', address: '10.0.0.1', hostPort: 53, port: 53 }]);
});

test('a port that another machine has is refused by the machine’s name, one that this machine has is not', () => {
  assert.throws(() => refuse([tcp(8080, '127.0.0.1')], [other(nat(tcp(8080)))]), {
    code: 'ERR_PORT_TAKEN',
    message: "port 127.0.0.1:8080/tcp is machine db's",
  });
  refuse([tcp(8080, '127.0.0.1')], [other(nat(tcp(8080, '10.0.0.1')))]);
  refuse([tcp(8080)], [{ ...other(nat(tcp(8080))), name: 'web' }]);
});

test('a port twice, no port, and an address that the kernel cannot translate from are refused', () => {
  assert.throws(() => refuse([tcp(8080), tcp(8080, '10.0.0.1')]), { code: 'ERR_PORT_TAKEN' });
  assert.throws(() => refuse([tcp(0)]), { code: 'ERR_NETWORK' });
  assert.throws(() => refuse([tcp(65536)]), { code: 'ERR_NETWORK' });
  assert.throws(() => refuse([tcp(8080, '::1')]), { code: 'ERR_NETWORK' });
  assert.throws(() => refuse([tcp(8080, 'localhost')]), { code: 'ERR_NETWORK' });
});
