import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { formatMachine, parseMachine, parseMachines } from './document.ts';
import { defaultNetwork, machineBody, named, plainMachine } from './fields.ts';
import { setField } from './setting.ts';
import { nodeOf } from './shape.ts';
import { type Interface, type MachineSpec, profileNames } from './spec.ts';

const head = 'apiVersion: spawnlet.io/v1alpha1\nkind: Machine\nmetadata:\n  name: web\n';
const plain = `${head}spec:\n  from: base:deb\n`;

const refuses = async (text: string, ...messages: RegExp[]) => {
  for (const message of messages)
    await assert.rejects(parseMachines(text, 'web.yaml'), { code: 'ERR_MACHINE_FILE', message });
};

test('a document with a tree alone is a machine with NAT that boots', async () => {
  const spec = await parseMachine(plain, '/etc/web.yaml');
  assert.deepEqual(spec, plainMachine('web', { kind: 'base', name: 'deb' }));
  assert.deepEqual(spec.network, defaultNetwork);
  assert.equal(await formatMachine(spec), plain);
});

test('every field has its value', async () => {
  const spec = await parseMachine(
    `${head}spec:
  from: debian:bookworm
  build: { packages: [nginx] }
  command: [/bin/sleep, "9"]
  enabled: true
  autostart: { order: 2, delay: 5 }
  privateUsers: 524288:131072
  network:
    interfaces:
      - { kind: nat, ports: ["127.0.0.1:8080:80", "[::1]:53:53/udp"] }
      - { kind: bridge, bridge: br0, addresses: [192.0.2.7/24], gateways: [192.0.2.1], dns: [192.0.2.1] }
      - { kind: ovs, bridge: ovs0, vlan: 7, name: lan, mac: 02-00-00-00-00-0A }
      - { kind: macvlan, parent: eth0, addresses: dhcp }
  mounts:
    - { kind: bind, source: ./www, target: /var/www/, readOnly: true }
    - { kind: tmpfs, target: /scratch, options: "size=64m" }
    - { kind: overlay, layers: [/a, /b], target: /c }
    - { kind: inaccessible, target: /sys/firmware }
  limits: { memory: 1.5G, cpus: 1.5, ioWeight: 50, tasks: 100, nofile: 1024, nproc: 64 }
  devices: [/dev/fuse, "/dev/ttyUSB0:wr"]
  profiles: [nested, nested]
  capabilities: [net_admin]
  environment: { __proto__: x, A: "1" }
  credentials: [{ id: db, path: /etc/db }]
  firstBoot:
    users: [{ name: ann, groups: [sudo] }]
`,
    '/srv/web.yaml',
  );
  assert.deepEqual(spec.start, { kind: 'command', argv: ['/bin/sleep', '9'] });
  assert.deepEqual(spec.privateUsers, { kind: 'range', base: 524_288, count: 131_072 });
  assert.ok(spec.network.kind === 'private');
  assert.deepEqual(
    spec.network.interfaces.map(({ name }) => name),
    ['host0', 'host1', 'lan', 'mv-eth0'],
  );
  assert.deepEqual(spec.network.interfaces[0], {
    kind: 'nat',
    name: 'host0',
    addresses: [],
    gateways: [],
    dns: [],
    ports: [
      { protocol: 'tcp', address: '127.0.0.1', hostPort: 8080, port: 80 },
      { protocol: 'udp', address: '::1', hostPort: 53, port: 53 },
    ],
  });
  assert.equal(spec.network.interfaces[2]?.mac, '02:00:00:00:00:0a');
  assert.deepEqual(spec.mounts[0], { kind: 'bind', source: '/srv/www', target: '/var/www', readOnly: true });
  assert.equal(spec.limits.memory, 1536 * 1024 ** 2);
  assert.deepEqual(spec.devices[1], { path: '/dev/ttyUSB0', access: 'rw' });
  assert.deepEqual(spec.profiles, ['default', 'nested']);
  assert.deepEqual(spec.capabilities, ['CAP_NET_ADMIN']);
  assert.deepEqual(Object.entries(spec.environment), [
    ['__proto__', 'x'],
    ['A', '1'],
  ]);
  assert.deepEqual(await parseMachine(await formatMachine(spec), '/else/where.yaml'), spec);
});

test('a mistake is told with file, line, field and what the field takes; all of them at once', async () => {
  const text = `${plain}  limits:\n    memory: lots\n    ioWeight: 0\n  profiles: [nestd]\n  colour: blue\n`;
  await refuses(
    text,
    /^web\.yaml:8: spec\.limits\.memory does not take 'lots': a size is/,
    /\n {2}web\.yaml:9: spec\.limits\.ioWeight does not take 0: a whole number from 1 to 10000/,
    /\n {2}web\.yaml:10: spec\.profiles\[0\] does not take 'nestd': one of default, nested, /,
    /\n {2}web\.yaml:11: spec\.colour is not known: one of from, build, /,
  );
});

test('several documents in a file are several machines', async () => {
  const two = `${plain}---\n${plain.replace('web', 'db')}---\n`;
  assert.deepEqual(
    (await parseMachines(two, 'x.yaml')).map(({ name }) => name),
    ['web', 'db'],
  );
  await assert.rejects(parseMachine(two, 'x.yaml'), { code: 'ERR_MACHINE_FILE' });
  await refuses(`${plain}---\n${plain}`, /metadata\.name is web twice/);
  await refuses(`${plain}---\n${head}spec: {}\n`, /web\.yaml:12: spec\.from is missing/);
  await refuses('# nothing\n', /web\.yaml:1: has no document/);
});

test('what YAML can do beyond plain values is refused', async () => {
  const bomb = [
    'a: &a [x,x]',
    ...['b', 'c', 'd'].map((key, at) => `${key}: &${key} [*${'abc'[at]},*${'abc'[at]}]`),
  ];
  await refuses(bomb.join('\n'), /has an anchor, &a/);
  await refuses(plain.replace('base:deb', '*deb'), /web\.yaml:6: .*deb/);
  await refuses(plain.replace('base:deb', '!!binary aGk='), /has a tag/);
  await refuses(`${plain}  <<: { enabled: true }\n`, /spec\.<< is not known/);
  await refuses(`${plain}  __proto__: { enabled: true }\n`, /spec\.__proto__ is not known/);
  await refuses(`${plain}  constructor: 1\n`, /spec\.constructor is not known/);
  await refuses(`${plain}  from: base:x\n`, /web\.yaml:7: has the key from twice/);
  await refuses(`${plain}  ? [a]\n  : b\n`, /has a key that is no text/);
  await refuses('['.repeat(5000), /is not YAML/);
  await refuses('x'.repeat(1024 * 1024 + 1), /is longer than 1 MiB/);
});

test('a value of another type is refused, and says how it is written', async () => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['enabled: "yes"', /spec\.enabled does not take 'yes': true or false/],
    ['limits: 5', /spec\.limits takes a mapping, not 5/],
    ['profiles: nested', /spec\.profiles takes a list, not 'nested'/],
    ['environment: { PORT: 80 }', /spec\.environment\.PORT takes a text, not 80; in quotes it is one: "80"/],
    ['environment: { "A B": x }', /spec\.environment does not take the key 'A B'/],
    ['network: nat', /spec\.network does not take 'nat': one of host, none/],
    [
      'network: { interfaces: [{ kind: wifi }] }',
      /interfaces\[0\]\.kind does not take 'wifi': one of nat, bridge/,
    ],
    ['network: { interfaces: [{ kind: bridge }] }', /interfaces\[0\]\.bridge is missing/],
    ['network: { interfaces: [{ kind: nat, vlan: 3 }] }', /interfaces\[0\]\.vlan is not known/],
    [
      'network: { interfaces: [{ kind: nat }, { kind: nat, name: host0 }] }',
      /spec\.network has two interfaces host0/,
    ],
    ['mounts: [{ kind: tmpfs, target: /a/../b }]', /mounts\[0\]\.target does not take/],
    ['mounts: [{ kind: tmpfs, target: /a }, { kind: inaccessible, target: /a/ }]', /has two mounts at \/a/],
    ['mounts: [{ kind: overlay, layers: [/a], target: /b }]', /needs a lower directory/],
    ['command: []', /spec\.command needs a program/],
    ['command: ["a\\nb"]', /without control characters/],
    ['build: { packages: [x] }', /nothing is built from base:deb/],
    ['limits: { cpus: .nan }', /limits\.cpus does not take NaN/],
    ['firstBoot: { rootPasswordHash: secret }', /crypt\(3\)/],
  ];
  for (const [line, message] of wrong) await refuses(`${plain}  ${line}\n`, message);
  await refuses(plain.replace('base:deb', 'tar:https://example.org/a.tar'), /spec nothing tells whether/);
  await refuses(plain.replace('web', 'Web'), /metadata\.name does not take 'Web': a name has small letters/);
  await refuses(plain.replace('v1alpha1', 'v2'), /apiVersion does not take/);
});

const path = fc.stringMatching(/^(\/[a-z][a-z .:,\\"'#é-]{0,9}[a-z]){1,3}$/);
const target = path.map(each => `/x${each}`);
const line = fc.string({ unit: 'binary', maxLength: 20 }).filter(text => !/[\u0000-\u001f\u007f]/.test(text));
const word = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
const address = fc.constantFrom('192.0.2.1', '2001:db8::1');
const oneOf = <T>(value: fc.Arbitrary<T>) => fc.array(value, { maxLength: 3 });
const addressing = {
  addresses: fc.oneof(fc.constant('dhcp' as const), oneOf(fc.constantFrom('192.0.2.7/24', '2001:db8::7/64'))),
  gateways: oneOf(address),
  dns: oneOf(address),
};
const port = fc.record(
  {
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    address,
    hostPort: fc.integer({ min: 1, max: 65_535 }),
    port: fc.integer({ min: 1, max: 65_535 }),
  },
  { requiredKeys: ['protocol', 'hostPort', 'port'] },
);
const mac = fc.constant('02:00:00:00:00:01');
const written = fc.oneof(
  fc.record(
    { kind: fc.constant('nat' as const), ports: oneOf(port), ...addressing, mac, name: word },
    { requiredKeys: ['kind', 'ports', 'addresses', 'gateways', 'dns'] },
  ),
  fc.record(
    {
      kind: fc.constant('ovs' as const),
      bridge: word,
      vlan: fc.integer({ min: 1, max: 4094 }),
      ...addressing,
      mac,
    },
    { requiredKeys: ['kind', 'bridge', 'addresses', 'gateways', 'dns'] },
  ),
  fc.record({ kind: fc.constant('macvlan' as const), parent: word, ...addressing }),
);
const interfaces = oneOf(written).chain(all => {
  try {
    return fc.constant<Interface[]>(named(all));
  } catch {
    return fc.constant<Interface[]>([]);
  }
});
const mount = fc.oneof(
  fc.record({ kind: fc.constant('bind' as const), source: path, target, readOnly: fc.boolean() }),
  fc.record({ kind: fc.constant('tmpfs' as const), target, options: fc.constantFrom('', 'size=64m,ro') }),
  fc.record({
    kind: fc.constant('overlay' as const),
    layers: fc.array(path, { minLength: 2, maxLength: 3 }),
    target,
  }),
  fc.record({ kind: fc.constant('inaccessible' as const), target }),
);
const count = fc.integer({ min: 1, max: 10_000 });
const someOf = fc.subarray([...profileNames].filter(name => name !== 'default'));
const machine: fc.Arbitrary<MachineSpec> = fc.record(
  {
    name: fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/).filter(name => name !== 'host'),
    from: fc.oneof(
      fc.record({ kind: fc.constant('base' as const), name: word }),
      fc.record({ kind: fc.constant('directory' as const), path }),
      fc.constant({ kind: 'arch' as const }),
    ),
    start: fc.oneof(
      fc.constant({ kind: 'boot' as const }),
      fc.record({
        kind: fc.constant('command' as const),
        argv: fc.tuple(path, oneOf(line)).map(([program, rest]) => [program, ...rest]),
      }),
    ),
    enabled: fc.boolean(),
    autostart: fc.record({ order: count.map(each => each % 100), delay: count }, { requiredKeys: [] }),
    privateUsers: fc.oneof(
      fc.constantFrom({ kind: 'no' as const }, { kind: 'pick' as const }),
      fc.record({ kind: fc.constant('range' as const), base: count, count: fc.constantFrom(1, 65_536) }),
    ),
    network: fc.oneof(
      fc.constantFrom({ kind: 'host' as const }, { kind: 'none' as const }),
      fc.record({ kind: fc.constant('private' as const), interfaces }),
    ),
    mounts: fc.uniqueArray(mount, { maxLength: 3, selector: each => each.target }),
    limits: fc.record(
      {
        memory: fc.integer({ min: 1, max: 2 ** 40 }),
        cpus: fc.constantFrom(0.5, 2),
        ioWeight: count,
        tasks: count,
      },
      { requiredKeys: [] },
    ),
    devices: oneOf(
      fc.record({
        path: fc.constantFrom('/dev/fuse', '/dev/a:r', '/dev/no'),
        access: fc.constantFrom('r', 'rw', 'rwm'),
      }),
    ),
    profiles: someOf.map(names => ['default' as const, ...names]),
    capabilities: fc.constantFrom([], ['CAP_SYS_PTRACE'], ['all']),
    environment: fc.dictionary(fc.constantFrom('A', '__proto__', 'yes', '_0'), line),
    credentials: oneOf(fc.record({ id: word, path })),
    firstBoot: fc.record(
      {
        hostname: fc.constantFrom('a.example', '007', 'null', 'true'),
        timezone: fc.constantFrom('Europe/Berlin', 'UTC'),
        locale: fc.constantFrom('C.UTF-8', 'de_DE.UTF-8@euro'),
        sshKeys: oneOf(fc.constant('ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me@home')),
        users: oneOf(
          fc.record(
            { name: word, uid: count, groups: oneOf(word), shell: target, sshKeys: fc.constant([]) },
            { requiredKeys: ['name', 'groups', 'sshKeys'] },
          ),
        ),
        copy: oneOf(fc.record({ source: path, target })),
        run: oneOf(path),
      },
      { requiredKeys: ['sshKeys', 'users', 'copy', 'run'] },
    ),
  },
  {
    requiredKeys: [
      'name',
      'from',
      'start',
      'enabled',
      'autostart',
      'network',
      'mounts',
      'limits',
      'devices',
      'profiles',
      'capabilities',
      'environment',
      'credentials',
      'firstBoot',
    ],
  },
);
const normal = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

test('what is written is read as the same value', async () => {
  await fc.assert(
    fc.asyncProperty(machine, async spec => {
      const text = await formatMachine(spec);
      assert.deepEqual(normal(await parseMachine(text, '/a.yaml')), normal(spec), text);
    }),
    { numRuns: 100 },
  );
});

test('a default whose fields came in another order is left out, too', async () => {
  const { firstBoot, ...rest } = plainMachine('web', { kind: 'base', name: 'deb' });
  const turned = Object.fromEntries(Object.entries(firstBoot).toReversed()) as unknown as typeof firstBoot;
  assert.equal(await formatMachine({ ...rest, firstBoot: turned }), plain);
});

test('no text is anything but machines or a refusal', async () => {
  const fragment = fc.constantFrom(
    'spec:',
    'from: ',
    '- ',
    '{',
    '}',
    '\n',
    '  ',
    'limits',
    ': ',
    '&a',
    '*a',
    '!!x',
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(fc.oneof(fragment, word)).map(parts => plain + parts.join('')),
  );
  await fc.assert(
    fc.asyncProperty(text, async source => {
      try {
        await parseMachines(source, 'x');
      } catch (error) {
        assert.ok(
          error instanceof Error && 'code' in error && error.code === 'ERR_MACHINE_FILE',
          String(error),
        );
      }
    }),
    { numRuns: 200 },
  );
});

test('a value of any kind in any field is taken or refused', () => {
  const keys = Object.keys((machineBody.schema['properties'] ?? {}) as object);
  fc.assert(
    fc.property(fc.constantFrom(...keys), fc.jsonValue(), (key, value) => {
      try {
        machineBody.read(nodeOf({ from: 'base:x', [key]: normal(value) as string }), {
          path: '',
          directory: '/',
        });
      } catch (error) {
        assert.equal((error as Error).constructor.name, 'Faults', String(error));
      }
    }),
  );
});

test('one field is set, taken away and refused by its path', async () => {
  const spec = await parseMachine(plain, '/web.yaml');
  const set = (key: string, value: string, of = spec) => setField(of, key, value, '/srv');
  assert.equal(set('limits.memory', '1G').limits.memory, 1024 ** 3);
  assert.deepEqual(set('limits.memory', '', set('limits.memory', '1G')), spec);
  assert.equal(set('enabled', 'true').enabled, true);
  assert.equal(set('environment.PORT', '8080').environment['PORT'], '8080');
  assert.deepEqual(set('profiles', 'nested,kvm').profiles, ['default', 'nested', 'kvm']);
  assert.deepEqual(set('network', 'host').network, { kind: 'host' });
  const { network } = set('network.interfaces[0].addresses', '192.0.2.7/24,2001:db8::7/64');
  assert.deepEqual(network.kind === 'private' && network.interfaces[0]?.addresses, [
    '192.0.2.7/24',
    '2001:db8::7/64',
  ]);
  const bound = set('mounts[0]', '{"kind":"bind","source":"./a","target":"/a"}');
  assert.deepEqual(bound.mounts, [{ kind: 'bind', source: '/srv/a', target: '/a', readOnly: false }]);
  assert.deepEqual(set('mounts[0].readOnly', 'true', bound).mounts[0], {
    ...bound.mounts[0],
    readOnly: true,
  });
  assert.deepEqual(set('mounts[0]', '', bound), spec);
  for (const [key, value] of [
    ['limits.memory', 'lots'],
    ['limits.memoory', '1'],
    ['limits', '5'],
    ['mounts[3].target', '/x'],
    ['enabled', 'maybe'],
    ['metadata.name', 'x'],
    ['from', ''],
    ['', 'x'],
    ['a..b', 'x'],
    ['__proto__', '{}'],
  ] as const)
    assert.throws(() => set(key, value), { code: 'ERR_FLAG_VALUE' }, key);
});
