/** Specs of machines for tests: one that says nothing, and any. */
import * as fc from 'fast-check';
import { plainMachine } from '../../src/machine/fields.ts';
import type { MachineFacts, NetworkLines } from '../../src/machine/lines.ts';
import { type MachineSpec, type Mount, profileNames } from '../../src/machine/spec.ts';
import { networkLines } from '../../src/network/lines.ts';
import type { Interface, Network } from '../../src/network/spec.ts';

export const plainSpec: MachineSpec = {
  ...plainMachine('web', { kind: 'base', name: 'debian' }),
  privateUsers: { kind: 'no' },
  network: { kind: 'none' },
};

export const plainFacts: MachineFacts = {
  users: { kind: 'no' },
  tree: { kind: 'plain' },
  ready: 'notify',
  host: {
    devices: ['/dev/kvm', '/dev/vhost-net'],
    modules: 'apparmor',
    cgroups: 'unified',
    gpu: { nodes: ['/dev/nvidia0', '/dev/dri/renderD128'], libraries: ['/usr/lib/libcuda.so.1'] },
  },
  after: [],
  kept: [],
};

/** As the network room gives them for a host with systemd 257 and udev. */
export function linesOf(spec: MachineSpec): NetworkLines {
  return networkLines(spec, {
    systemd: 257,
    udev: true,
    hostId: '0123456789abcdef0123456789abcdef',
    nat: { v4: '10.153.0.0/22', v6: 'fd5b:1::/64' },
  });
}

/** Text that is none of systemd's or anybody's: quotes, colons, backslashes, percent signs, blanks inside. */
const word = fc
  .array(fc.constantFrom(...'ab:\\"\'%$;#=[]&|<> é\t,~`!*?(){}@.-_'.split('')), {
    minLength: 1,
    maxLength: 12,
  })
  .map(letters => letters.join(''));
const part = word.map(text => text.replaceAll(/^\.+$/g, 'x')).filter(text => !/^[ \t]|[ \t]$/.test(text));
export const path = fc.array(part, { minLength: 1, maxLength: 3 }).map(parts => `/${parts.join('/')}`);

const mount: fc.Arbitrary<Mount> = fc.oneof(
  fc.record({ kind: fc.constant('bind' as const), source: path, target: path, readOnly: fc.boolean() }),
  fc.record({
    kind: fc.constant('tmpfs' as const),
    target: path,
    options: fc.constantFrom('', 'size=10M', 'mode=0700,size=1G'),
  }),
  fc.record({
    kind: fc.constant('overlay' as const),
    layers: fc.array(path, { minLength: 2, maxLength: 3 }),
    target: path,
  }),
  fc.record({
    kind: fc.constant('inaccessible' as const),
    // Here a path stands as it is, and a line cannot end in a backslash.
    target: path.map(text => text.replace(/\\+$/, 'x')),
  }),
);

const link = fc.constantFrom('br0', 'eth1', 'lan', 'enp3s0');
const nothing = { addresses: [], gateways: [], dns: [] };
const mac = fc.constantFrom('02:00:00:00:00:01', undefined);
const veth: fc.Arbitrary<Interface> = fc.tuple(fc.constantFrom('bridge', 'zone'), link, mac).map(
  ([kind, name, address]): Interface => ({
    ...(kind === 'bridge' ? { kind: 'bridge', bridge: name } : { kind: 'zone', zone: name }),
    ...nothing,
    name: 'host0',
    ...(address !== undefined && { mac: address }),
  }),
);
const moved: fc.Arbitrary<Interface> = fc
  .tuple(
    fc.constantFrom('macvlan' as const, 'ipvlan' as const, 'physical' as const),
    link,
    fc.constantFrom('lan0', undefined),
  )
  .map(([kind, name, inner]): Interface => {
    if (kind === 'physical') return { kind, interface: name, ...nothing, name: inner ?? name };
    const prefix = kind === 'macvlan' ? 'mv' : 'iv';
    return { kind, parent: name, ...nothing, name: inner ?? `${prefix}-${name}` };
  });
const network: fc.Arbitrary<Network> = fc.oneof(
  fc.constantFrom<Network>({ kind: 'host' }, { kind: 'none' }),
  fc
    .tuple(fc.array(veth, { maxLength: 1 }), fc.array(moved, { maxLength: 2 }))
    .filter(([one, more]) => one.length + more.length > 0)
    .map(([one, more]): Network => ({ kind: 'private', interfaces: [...one, ...more] })),
);

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const present = <T extends object>(value: T) =>
  Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined));
const count = fc.integer({ min: 1, max: 1_000_000 });

/** Any machine that spawnlet could be asked for, but for what only its first boot and its tree know. */
export const anySpec: fc.Arbitrary<MachineSpec> = fc
  .record({
    start: fc.oneof(
      fc.constant({ kind: 'boot' as const }),
      fc.record({
        kind: fc.constant('command' as const),
        argv: fc.array(word, { minLength: 1, maxLength: 3 }),
      }),
    ),
    enabled: fc.boolean(),
    autostart: fc
      .record({ order: maybe(fc.nat(99)), delay: maybe(fc.integer({ min: 1, max: 600 })) })
      .map(present),
    privateUsers: maybe(
      fc.constantFrom<NonNullable<MachineSpec['privateUsers']>>(
        { kind: 'no' },
        { kind: 'pick' },
        { kind: 'range', base: 524_288, count: 65_536 },
      ),
    ),
    network,
    mounts: fc.array(mount, { maxLength: 3 }),
    limits: fc
      .record({
        memory: maybe(count),
        cpus: maybe(fc.integer({ min: 1, max: 800 }).map(percent => percent / 100)),
        ioWeight: maybe(fc.integer({ min: 1, max: 10_000 })),
        tasks: maybe(count),
        nofile: maybe(count),
        nproc: maybe(count),
      })
      .map(present),
    devices: fc.uniqueArray(
      fc.record({
        path: fc.constantFrom('/dev/fuse', '/dev/ttyUSB 0', '/dev/a%b:c'),
        access: fc.constantFrom('r', 'rw', 'rwm'),
      }),
      { maxLength: 2, selector: device => device.path },
    ),
    profiles: fc
      .subarray([...profileNames])
      .map(names => profileNames.filter(name => name === 'default' || names.includes(name))),
    capabilities: fc.subarray(['CAP_NET_ADMIN', 'CAP_SYS_TIME']),
    environment: fc.dictionary(fc.constantFrom('A', 'LANG', '_x1'), word, {
      maxKeys: 2,
      noNullPrototype: true,
    }),
    credentials: fc.uniqueArray(
      fc.record({ id: fc.constantFrom('pw', 'tls.key'), path: path.map(text => text.replace(/\\+$/, 'x')) }),
      {
        maxLength: 2,
        selector: credential => credential.id,
      },
    ),
  })
  .map(({ privateUsers, ...rest }) => ({
    ...plainSpec,
    ...rest,
    // All of them are there with the profile.
    capabilities: rest.profiles.includes('privileged') ? [] : rest.capabilities,
    privateUsers,
  }))
  .map(({ privateUsers, ...rest }) => (privateUsers ? { ...rest, privateUsers } : rest))
  // Records of fast-check have no prototype.
  .map(spec => structuredClone(spec));

/** The facts with which such a machine would be made. */
export const factsFor = (spec: MachineSpec): MachineFacts => ({
  ...plainFacts,
  users: spec.privateUsers ?? { kind: 'pick' },
});
