import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { anySpec, plainSpec } from '../../test/harness/machine-spec.ts';
import type { Interface, MachineSpec } from './spec.ts';
import { hostAccess, refuseHostAccess } from './trust.ts';

const { privateUsers: _users, ...harmless } = plainSpec;
const nothing = { addresses: [], gateways: [], dns: [], name: 'host0' } as const;

const network = (one: Interface): Partial<MachineSpec> => ({
  network: { kind: 'private', interfaces: [one] },
});

const rows: readonly (readonly [Partial<MachineSpec>, string])[] = [
  [{ mounts: [{ kind: 'bind', source: '/', target: '/host', readOnly: false }] }, 'bind / to /host'],
  [
    { mounts: [{ kind: 'bind', source: '/etc/shadow', target: '/s', readOnly: true }] },
    'bind /etc/shadow to /s',
  ],
  [
    { mounts: [{ kind: 'overlay', layers: ['/etc', '/root'], target: '/o' }] },
    'overlay of /etc, /root on /o',
  ],
  [{ credentials: [{ id: 'key', path: '/etc/shadow' }] }, 'credential key from /etc/shadow'],
  [{ devices: [{ path: '/dev/sda', access: 'rwm' }] }, 'device /dev/sda (rwm)'],
  [{ profiles: ['default', 'privileged'] }, 'profile privileged'],
  [{ profiles: ['default', 'nested'] }, 'profile nested'],
  [{ capabilities: ['CAP_SYS_ADMIN'] }, 'capability CAP_SYS_ADMIN'],
  [{ network: { kind: 'host' } }, "the host's network"],
  [network({ kind: 'physical', interface: 'eth0', ...nothing }), 'interface eth0'],
  [network({ kind: 'macvlan', parent: 'eth0', ...nothing }), 'macvlan on eth0'],
  [network({ kind: 'ipvlan', parent: 'eth0', ...nothing }), 'ipvlan on eth0'],
  [network({ kind: 'bridge', bridge: 'br0', ...nothing }), 'bridge br0'],
  [network({ kind: 'ovs', bridge: 'br1', ...nothing }), 'bridge br1'],
  [
    network({ kind: 'nat', ports: [{ protocol: 'tcp', hostPort: 22, port: 22 }], ...nothing }),
    'port 22/tcp of the host',
  ],
  [{ privateUsers: { kind: 'no' } }, 'no user namespace'],
  [{ privateUsers: { kind: 'range', base: 0, count: 65536 } }, 'users 0:65536 of the host'],
];

describe('what a machine from elsewhere would be given of this host', () => {
  for (const [asked, line] of rows)
    test(`${line}: is named, and refused`, () => {
      const spec = { ...harmless, ...asked };
      assert.deepEqual(hostAccess(spec), [line]);
      assert.throws(() => refuseHostAccess(spec, 'web.tar'), {
        code: 'ERR_MACHINE_TRUST',
        message: `the machine in web.tar would be given of this host: ${line}`,
      });
    });

  test('is nothing for one that has a network of its own, limits and file systems of its own', () => {
    const spec: MachineSpec = {
      ...harmless,
      ...network({ kind: 'nat', ports: [], ...nothing }),
      privateUsers: { kind: 'pick' },
      limits: { memory: 2 ** 28 },
      mounts: [{ kind: 'tmpfs', target: '/tmp', options: '' }],
    };
    assert.deepEqual(hostAccess(spec), []);
    refuseHostAccess(spec, 'web.tar');
  });

  test('is told in single lines, each of them', () => {
    fc.assert(
      fc.property(anySpec, spec => {
        const named =
          spec.mounts.filter(({ kind }) => kind === 'bind' || kind === 'overlay').length +
          spec.devices.length +
          spec.credentials.length +
          spec.capabilities.length +
          spec.profiles.length -
          1;
        const lines = hostAccess(spec);
        assert.ok(lines.length >= named);
        assert.ok(lines.every(line => !/[\n\r]/.test(line)));
      }),
    );
  });
});
