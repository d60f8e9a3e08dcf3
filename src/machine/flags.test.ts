import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { SpawnletError } from '../host/error.ts';
import { formatMachine, parseMachine } from './document.ts';
import { type MachineFlags, machineOf, withSetting } from './flags.ts';
import { parseInterface } from './network-flags.ts';
import type { MachineSpec } from './spec.ts';

const caller = { directory: '/here', environment: { HOME: '/root' } };
const of = (flags: MachineFlags, command: readonly string[] = []) =>
  machineOf('web', { from: 'base:deb', ...flags }, command, caller);
const refuses = (flags: MachineFlags, code: string, message?: RegExp) =>
  assert.throws(() => of(flags), { code, ...(message && { message }) }, JSON.stringify(flags));

test('flags and a file are two spellings of one machine', async () => {
  const spec = of(
    {
      packages: [],
      network: [
        'nat,mac=02:00:00:00:00:01',
        'bridge=br0,name=lan,address=192.0.2.7/24,gateway=192.0.2.1,dns=192.0.2.1',
      ],
      publish: ['127.0.0.1:8080:80'],
      bind: ['./www:/var/www', '/srv'],
      'bind-ro': ['/a\\:b:/c'],
      tmpfs: ['/scratch:size=64m,mode=1777'],
      overlay: ['./low:/up:/data'],
      inaccessible: ['/sys/firmware'],
      'private-users': '524288',
      memory: '512m',
      cpus: '1.5',
      'io-weight': '50',
      tasks: '99',
      nofile: '1024',
      nproc: '64',
      device: ['/dev/fuse:rw'],
      profile: ['nested'],
      capability: ['net_admin'],
      env: ['A=b=c', 'HOME', 'UNKNOWN'],
      credential: ['db.password:/etc/db'],
      enable: true,
      'autostart-order': '3',
      hostname: 'web.example',
      timezone: 'Europe/Berlin',
      'ssh-key': ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me'],
      user: ['ann:uid=1000,group=sudo,group=adm,shell=/bin/bash'],
      copy: ['./motd:/etc/motd'],
      run: ['setup.sh'],
      'cloud-init': 'seed',
    },
    ['/bin/sleep', '9'],
  );
  const file = `apiVersion: spawnlet.io/v1alpha1
kind: Machine
metadata:
  name: web
spec:
  from: base:deb
  command:
    - /bin/sleep
    - "9"
  enabled: true
  autostart: { order: 3 }
  privateUsers: "524288"
  network:
    interfaces:
      - { kind: nat, mac: 02:00:00:00:00:01, ports: [127.0.0.1:8080:80] }
      - { kind: bridge, bridge: br0, name: lan, addresses: [192.0.2.7/24], gateways: [192.0.2.1], dns: [192.0.2.1] }
  mounts:
    - { kind: bind, source: ./www, target: /var/www }
    - { kind: bind, source: /srv, target: /srv }
    - { kind: bind, source: "/a:b", target: /c, readOnly: true }
    - { kind: tmpfs, target: /scratch, options: "size=64m,mode=1777" }
    - { kind: overlay, layers: [./low, /up], target: /data }
    - { kind: inaccessible, target: /sys/firmware }
  limits: { memory: 512M, cpus: 1.5, ioWeight: 50, tasks: 99, nofile: 1024, nproc: 64 }
  devices: [/dev/fuse:rw]
  profiles: [nested]
  capabilities: [CAP_NET_ADMIN]
  environment: { A: b=c, HOME: /root }
  credentials: [{ id: db.password, path: /etc/db }]
  firstBoot:
    hostname: web.example
    timezone: Europe/Berlin
    sshKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me]
    users: [{ name: ann, uid: 1000, groups: [sudo, adm], shell: /bin/bash }]
    copy: [{ source: ./motd, target: /etc/motd }]
    run: [./setup.sh]
    cloudInit: ./seed
`;
  assert.deepEqual(spec, await parseMachine(file, '/here/web.yaml'));
  assert.deepEqual(await parseMachine(await formatMachine(spec), '/x'), spec);
});

test('each kind of interface has its word', () => {
  const plain = { addresses: [], gateways: [], dns: [] };
  const forms: readonly (readonly [string, object])[] = [
    ['nat', { kind: 'nat', ports: [] }],
    ['bridge=br0', { kind: 'bridge', bridge: 'br0' }],
    ['ovs=ovs0,vlan=7', { kind: 'ovs', bridge: 'ovs0', vlan: 7 }],
    ['macvlan=eth0', { kind: 'macvlan', parent: 'eth0' }],
    ['ipvlan=eth0', { kind: 'ipvlan', parent: 'eth0' }],
    ['zone=lab', { kind: 'zone', zone: 'lab' }],
    ['physical=eth1', { kind: 'physical', interface: 'eth1' }],
  ];
  for (const [text, expected] of forms) assert.deepEqual(parseInterface(text), { ...plain, ...expected });
  assert.deepEqual(parseInterface('bridge=br0,dhcp').addresses, 'dhcp');
  assert.deepEqual(parseInterface('bridge=br0,address=192.0.2.1/24,address=2001:db8::1/64').addresses, [
    '192.0.2.1/24',
    '2001:db8::1/64',
  ]);
  for (const text of [
    '',
    'bridge',
    'nat=x',
    'wifi=x',
    'bridge=br0,vlan=3',
    'ovs=b,vlan=x',
    'ovs=b,vlan=1,vlan=2',
    'bridge=br0,dhcp,address=192.0.2.1/24',
    'bridge=br0,dhcp=no',
    'bridge=br0,address=192.0.2.1',
    'bridge=br0,address=192.0.2.1/33',
    'bridge=br0,gateway=here',
    'bridge=br0,mac=01:00:00:00:00:00',
    'bridge=br0,name=a,name=b',
    'bridge=../x',
    'bridge=abcdefghijklmnop',
    'bridge=br0,colour=blue',
  ])
    assert.throws(() => parseInterface(text), { name: 'Error' }, text);
});

test('where the tree comes from is said once', () => {
  assert.deepEqual(machineOf('web', { directory: 'tree' }, [], caller).from, {
    kind: 'directory',
    path: '/here/tree',
  });
  assert.throws(() => machineOf('web', {}, [], caller), { code: 'ERR_USAGE' });
  refuses({ directory: '/x' }, 'ERR_FLAG_CONFLICT');
  refuses({ from: 'cloud:9' }, 'ERR_TREE_SOURCE');
  const sha256 = 'a'.repeat(64);
  assert.deepEqual(of({ from: 'tar:https://example.org/a.tar', sha256 }).from, {
    kind: 'tar',
    location: 'https://example.org/a.tar',
    sha256,
  });
  refuses({ from: 'tar:https://example.org/a.tar' }, 'ERR_FLAG_VALUE', /nothing tells whether/);
  refuses({ sha256 }, 'ERR_FLAG_VALUE');
  refuses({ packages: ['vim'] }, 'ERR_FLAG_VALUE', /nothing is built from base:deb/);
  assert.deepEqual(of({ from: 'debian:bookworm', packages: ['vim,curl', 'git'] }).build, {
    packages: ['vim', 'curl', 'git'],
    components: [],
    insecure: false,
  });
});

test('a flag that does not take its value says what it takes', () => {
  refuses({ memory: 'lots' }, 'ERR_FLAG_VALUE', /memory.*lots/);
  refuses({ memory: '' }, 'ERR_FLAG_VALUE', /--memory does not take ''/);
  refuses({ tasks: '1.5' }, 'ERR_FLAG_VALUE');
  refuses({ 'io-weight': '10001' }, 'ERR_FLAG_VALUE', /--io-weight does not take '10001'/);
  refuses({ 'private-users': 'identity' }, 'ERR_FLAG_VALUE');
  refuses({ bind: ['/a:relative'] }, 'ERR_FLAG_VALUE', /--bind does not take '\/a:relative'/);
  refuses({ bind: ['/a:/b:ro'] }, 'ERR_FLAG_VALUE');
  refuses({ overlay: ['/a:/b'] }, 'ERR_FLAG_VALUE');
  refuses({ tmpfs: ['/a:fast'] }, 'ERR_FLAG_VALUE');
  refuses({ user: ['Ann'] }, 'ERR_FLAG_VALUE');
  refuses({ user: ['ann:uid=0'] }, 'ERR_FLAG_VALUE');
  refuses({ user: ['ann:home=/x'] }, 'ERR_FLAG_VALUE');
  refuses({ credential: ['a/b:/x'] }, 'ERR_FLAG_VALUE');
  refuses({ capability: ['CAP_NOTHING'] }, 'ERR_FLAG_VALUE');
  refuses({ device: ['/etc/passwd'] }, 'ERR_FLAG_VALUE');
  refuses({ env: ['A=\n'] }, 'ERR_FLAG_VALUE');
  refuses({ network: ['host', 'nat'] }, 'ERR_FLAG_CONFLICT');
  refuses({ network: ['nat', 'nat,name=host0'] }, 'ERR_FLAG_VALUE');
  refuses({ network: ['bridge=br0'], publish: ['80:80'] }, 'ERR_FLAG_CONFLICT');
  refuses({ publish: ['80'] }, 'ERR_FLAG_VALUE');
  refuses({ publish: ['0:80'] }, 'ERR_FLAG_VALUE');
});

test('a wrong size, number or time is told by the word that was given, with what would be right', () => {
  const spec = of({});
  const rows = [
    ['memory', 'limits.memory', '1z', /^a size is a number with b, k, m or g behind it: 512m$/],
    ['cpus', 'limits.cpus', 'x', /^a number of at least 0\.01$/],
    ['io-weight', 'limits.ioWeight', '0', /^a whole number from 1 to 10000$/],
    ['tasks', 'limits.tasks', '1.5', /^a whole number of at least 1$/],
    ['nofile', 'limits.nofile', 'x', /^a whole number of at least 1$/],
    ['nproc', 'limits.nproc', '-1', /^a whole number of at least 1$/],
    ['autostart-order', 'autostart.order', 'x', /^a whole number from 0 to 9999$/],
    ['autostart-delay', 'autostart.delay', '1m', /^a whole number from 0 to 86400, in seconds$/],
    ['private-users', 'privateUsers', 'x', /^no, pick, or BASE/],
  ] as const;
  for (const [flag, field, value, hint] of rows) {
    const told = (word: string) => ({
      code: 'ERR_FLAG_VALUE',
      message: `${word} does not take '${value}'`,
      hint,
    });
    assert.throws(() => of({ [flag]: value }), told(`--${flag}`));
    for (const key of [flag, field]) assert.throws(() => withSetting(spec, key, value, caller), told(key));
  }
  const listed = { message: "tmpfs does not take '/x:size=1z'", hint: /^options of mount\(8\): size=64m/ };
  assert.throws(() => of({ tmpfs: ['/x:size=1z'] }), { ...listed, message: `--${listed.message}` });
  assert.throws(() => withSetting(spec, 'tmpfs', '/x:size=1z', caller), listed);
});

test('set takes words of flags and paths of fields', () => {
  const spec = of({ bind: ['/a:/x'], env: ['A=1'] });
  const set = (key: string, value: string, before: MachineSpec = spec) =>
    withSetting(before, key, value, caller);
  assert.equal(set('memory', '1g').limits.memory, 1024 ** 3);
  assert.equal(set('limits.memory', '1g').limits.memory, 1024 ** 3);
  assert.deepEqual(set('memory', '', set('memory', '1g')), spec);
  assert.equal(set('enable', 'true').enabled, true);
  assert.deepEqual(set('bind', './b:/y').mounts.length, 2);
  assert.deepEqual(set('bind-ro', '/b:/x').mounts, [
    { kind: 'bind', source: '/b', target: '/x', readOnly: true },
  ]);
  assert.deepEqual(set('profile', 'kvm').profiles, ['default', 'kvm']);
  assert.deepEqual(set('network', 'host').network, { kind: 'host' });
  assert.deepEqual(set('env', 'B=2').environment, { A: '1', B: '2' });
  const published = set('publish', '53:53/udp', set('publish', '80:80'));
  assert.ok(published.network.kind === 'private');
  const [nat] = published.network.interfaces;
  assert.deepEqual(nat?.kind === 'nat' && nat.ports.map(({ port }) => port), [80, 53]);
  assert.throws(() => set('colour', 'blue'), { code: 'ERR_FLAG_VALUE' });
  for (const key of ['password-hash', 'firstBoot.rootPasswordHash', 'firstBoot.users[0].passwordHash'])
    assert.throws(() => set(key, '$6$salt$hash'), {
      code: 'ERR_FLAG_VALUE',
      hint: /^spawnlet machine passwd /,
    });
});

test('no words give anything but a machine or a refusal', () => {
  const flag = fc.constantFrom(
    'network',
    'publish',
    'bind',
    'tmpfs',
    'overlay',
    'device',
    'user',
    'copy',
    'env',
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc
      .array(fc.constantFrom('/a', ':', ',', '=', 'nat', 'bridge', 'name', '\\', '..', '80', '\n'))
      .map(parts => parts.join('')),
  );
  fc.assert(
    fc.property(flag, text, (name, value) => {
      try {
        of({ [name]: [value] });
      } catch (error) {
        assert.ok(error instanceof SpawnletError, String(error));
      }
    }),
  );
});
