import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { anySpec, factsFor, linesOf, plainFacts, plainSpec } from '../../test/harness/machine-spec.ts';
import { type AdoptSource, adopt } from './adopt.ts';
import { serviceDropIn } from './drop-in.ts';
import { nspawnFile } from './nspawn-file.ts';

const { gpu } = plainFacts.host;
const source = (parts: Partial<AdoptSource>): AdoptSource => ({
  name: 'web',
  units: [],
  enabled: false,
  gpu,
  ...parts,
});
const unit = (text: string) => source({ units: [{ path: 'web.service', text }] });
const nspawn = (text: string) => source({ nspawn: { path: 'web.nspawn', text } });

test('a machine of spawnlet is understood whole: its files are its spec', () => {
  fc.assert(
    fc.property(anySpec, spec => {
      const facts = factsFor(spec);
      const adopted = adopt({
        name: spec.name,
        nspawn: { path: 'web.nspawn', text: nspawnFile(spec, linesOf(spec), facts) },
        units: [{ path: '50-spawnlet.conf', text: serviceDropIn(spec, linesOf(spec), facts) }],
        enabled: spec.enabled,
        gpu,
      });
      const { from: _from, firstBoot: _first, ...rest } = adopted.spec;
      const { from: _other, firstBoot: _second, ...wanted } = spec;
      assert.deepEqual(rest, wanted);
      assert.deepEqual(
        adopted.lines.filter(({ verdict }) => verdict !== 'understood'),
        [],
      );
      assert.deepEqual(adopted.kept, []);
    }),
    { numRuns: 300 },
  );
});

test('published ports are understood from the lines that an ejected machine has kept', () => {
  const spec = {
    ...plainSpec,
    network: {
      kind: 'private',
      interfaces: [
        {
          kind: 'nat',
          name: 'host0',
          addresses: ['10.153.0.9/22', 'fd5b:1::9/64'],
          gateways: [],
          dns: [],
          ports: [
            { protocol: 'tcp', hostPort: 9001, port: 80 },
            { protocol: 'udp', address: '192.0.2.7', hostPort: 5353, port: 53 },
          ],
        },
      ],
    },
  } as const;
  const {
    spec: adopted,
    lines,
    kept,
  } = adopt({
    name: 'web',
    nspawn: { path: 'web.nspawn', text: nspawnFile(spec, linesOf(spec), plainFacts) },
    units: [{ path: '50-spawnlet.conf', text: serviceDropIn(spec, linesOf(spec), plainFacts) }],
    enabled: false,
    gpu,
  });
  assert.ok(adopted.network.kind === 'private' && adopted.network.interfaces[0]?.kind === 'nat');
  assert.deepEqual(adopted.network.interfaces[0].ports, spec.network.interfaces[0].ports);
  assert.deepEqual(
    lines.filter(({ verdict }) => verdict !== 'understood'),
    [],
  );
  assert.deepEqual(kept, []);
});

test('any text is read without an error, and each of its lines is in the report or a comment', () => {
  const line = fc.constantFrom(
    '[Exec]',
    '[Files]',
    '[Network]',
    '[Service]',
    'Bind=/a:',
    'Bind=\\',
    'Overlay=:',
    'Port=x',
    'Parameters="',
    'ExecStart=systemd-nspawn -',
    'ExecStart=/x "',
    'PrivateUsers=0',
    '\\',
    'x',
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(line, fc.string())), parts => {
      const text = parts.join('\n');
      adopt(source({ nspawn: { path: 'a', text }, units: [{ path: 'b', text }] }));
    }),
  );
});

test('a unit by hand, as the guide to systemd-nspawn has it, is understood line by line', () => {
  const { spec, lines, kept } = adopt(
    unit(`[Unit]
After=network.target nss-lookup.target
[Install]
WantedBy=multi-user.target
[Service]
User=root
LimitNPROC=10000
LimitNOFILE=1000000
WorkingDirectory=/opt/nspawn/demo
ExecStart=systemd-nspawn \\
--keep-unit \\
--boot \\
--machine=demo \\
--register=yes \\
--directory=/opt/nspawn/demo \\
--network-bridge=vmbr0 \\
--bind-ro=/opt/acme:/nginx/cert \\
--bind=/opt/nginx:/nginx \\
--capability=all \\
--system-call-filter='add_key keyctl bpf' \\
--bind=/dev/kmsg \\
--bind-ro=/sys/module \\
--inaccessible=/sys/module/apparmor
`),
  );
  assert.deepEqual(spec, {
    ...plainSpec,
    from: { kind: 'directory', path: '/opt/nspawn/demo' },
    enabled: true,
    profiles: ['default', 'nested', 'privileged'],
    network: {
      kind: 'private',
      interfaces: [{ kind: 'bridge', bridge: 'vmbr0', name: 'host0', addresses: [], gateways: [], dns: [] }],
    },
    limits: { nofile: 1_000_000, nproc: 10_000 },
    mounts: [
      { kind: 'bind', source: '/opt/acme', target: '/nginx/cert', readOnly: true },
      { kind: 'bind', source: '/opt/nginx', target: '/nginx', readOnly: false },
    ],
  });
  assert.deepEqual(
    lines.filter(line => line.verdict === 'left alone'),
    [
      {
        where: 'web.service:9',
        text: '[Service] WorkingDirectory=/opt/nspawn/demo',
        verdict: 'left alone',
        as: 'not a setting of machines',
      },
    ],
  );
  assert.deepEqual(kept, [{ section: 'Service', key: 'WorkingDirectory', value: '/opt/nspawn/demo' }]);
  assert.deepEqual(
    lines.find(({ text }) => text === '--bind=/dev/kmsg'),
    { where: 'web.service:10', text: '--bind=/dev/kmsg', verdict: 'understood', as: 'profiles: nested' },
  );
});

test('the guide runs a shell, without an init, on the network of the host', () => {
  const { spec } = adopt(unit('[Service]\nExecStart=/usr/bin/systemd-nspawn -D /opt/demo\n'));
  assert.deepEqual(spec.start, { kind: 'command', argv: [] });
  assert.deepEqual(spec.network, { kind: 'host' });
  assert.deepEqual(spec.privateUsers, { kind: 'no' });
});

test('a tree without any file is a machine of the stock unit', () => {
  const { spec, lines } = adopt(source({ enabled: true }));
  assert.deepEqual(spec, {
    ...plainSpec,
    enabled: true,
    from: { kind: 'directory', path: '/var/lib/machines/web' },
    privateUsers: { kind: 'pick' },
    network: {
      kind: 'private',
      interfaces: [{ kind: 'nat', ports: [], name: 'host0', addresses: [], gateways: [], dns: [] }],
    },
  });
  assert.deepEqual(lines, []);
});

test('short options come together, with their argument behind or after them, and end where the command begins', () => {
  const { spec } = adopt(
    unit(String.raw`[Service]
ExecStart=systemd-nspawn -qaD /srv/t -Mx -E "A=b c" -p udp:53 -n --setenv B=1 --tmpfs=/a\x3ab:size=1M -- /bin/echo -b "$$x" %%i %i
`),
  );
  assert.deepEqual(spec.from, { kind: 'directory', path: '/srv/t' });
  assert.deepEqual(spec.environment, { A: 'b c', B: '1' });
  assert.deepEqual(spec.start, { kind: 'command', argv: ['/bin/echo', '-b', '$x', '%i', 'web'] });
  assert.deepEqual(spec.mounts, [{ kind: 'tmpfs', target: '/a', options: 'b:size=1M' }]);
  assert.deepEqual(spec.network, {
    kind: 'private',
    interfaces: [
      {
        kind: 'nat',
        ports: [{ protocol: 'udp', hostPort: 53, port: 53 }],
        name: 'host0',
        addresses: [],
        gateways: [],
        dns: [],
      },
    ],
  });
});

test('with --settings=override the file counts, else the command line, group by group', () => {
  const file = { path: 'web.nspawn', text: '[Network]\nBridge=br1\n[Files]\nBind=/b\n' };
  const command = (mode: string) => ({
    path: 'web.service',
    text: `[Service]\nExecStart=systemd-nspawn --boot ${mode} --network-bridge=br0\n`,
  });
  const bridges = ['--settings=override', '', '--settings=no'].map(mode => {
    const { spec, lines } = adopt(source({ nspawn: file, units: [command(mode)] }));
    const [one] = spec.network.kind === 'private' ? spec.network.interfaces : [];
    const unread = lines.filter(line => line.verdict === 'left alone').map(line => line.text);
    return [one?.kind === 'bridge' ? one.bridge : undefined, spec.mounts.length, unread];
  });
  assert.deepEqual(bridges, [
    ['br1', 1, ['--network-bridge=br0']],
    ['br0', 1, ['[Network] Bridge=br1']],
    ['br0', 0, ['[Network] Bridge=br1', '[Files] Bind=/b']],
  ]);
});

test('what has no field is left alone with its reason, and kept where a file can hold it', () => {
  const { lines, kept } = adopt(
    nspawn(`# a comment
[Exec]
KillSignal=SIGTERM
SystemCallFilter=@swap

Boot=yes
Parameters=--unit=rescue.target
[Files]
Bind=+/a:/b
OverlayReadOnly=/a:/b:/c
[Network]
VirtualEthernetExtra=a:b
`),
  );
  assert.deepEqual(
    lines.filter(({ as }) => as !== 'start').map(({ where, verdict }) => `${where} ${verdict}`),
    [3, 4, 7, 9, 10, 12].map(line => `web.nspawn:${line} left alone`),
  );
  assert.deepEqual(
    kept.map(({ section, key, value }) => `${section}.${key}=${value}`),
    [
      'Exec.KillSignal=SIGTERM',
      'Exec.SystemCallFilter=@swap',
      'Exec.Parameters=--unit=rescue.target',
      'Files.Bind=+/a:/b',
      'Files.OverlayReadOnly=/a:/b:/c',
      'Network.VirtualEthernetExtra=a:b',
    ],
  );
});

test('parameters in a file that does not say what is started do not count, as for systemd-nspawn', () => {
  const { spec, lines, kept } = adopt(nspawn('[Exec]\nParameters=/bin/true\n'));
  assert.deepEqual(spec.start, { kind: 'boot' });
  assert.match(lines[0]?.as ?? '', /does not count/);
  assert.deepEqual(kept, []);
});

test('what was kept is kept again, in the file that spawnlet writes', () => {
  const { spec, kept } = adopt(nspawn('[Exec]\nKillSignal=SIGTERM\n[Files]\nBind=/a:/b:norbind\n'));
  const text = nspawnFile(spec, linesOf(spec), { ...plainFacts, users: { kind: 'pick' }, kept });
  assert.deepEqual(adopt(nspawn(text)).kept, kept);
});

test('options that only a command line has, and words that are none, are told', () => {
  const { lines } = adopt(
    unit(
      '[Service]\nExecStart=systemd-nspawn -b --property=MemoryMax=1G --frobnicate --rlimit=RLIMIT_NOFILE=5 -S a.slice\n',
    ),
  );
  assert.deepEqual(
    lines.filter(({ verdict }) => verdict === 'left alone').map(({ text }) => text),
    ['--property=MemoryMax=1G', '-S a.slice', '--frobnicate'],
  );
});

test('a device is one whose node is bound and may be opened', () => {
  const { spec, kept } = adopt(
    source({
      nspawn: { path: 'a', text: '[Files]\nBind=/dev/fuse\nBind=/dev/snd:/dev/snd\n' },
      units: [{ path: 'b', text: '[Service]\nDeviceAllow=/dev/fuse rwm\nDeviceAllow=char-alsa rw\n' }],
    }),
  );
  assert.deepEqual(spec.devices, [{ path: '/dev/fuse', access: 'rwm' }]);
  assert.deepEqual(spec.mounts, [{ kind: 'bind', source: '/dev/snd', target: '/dev/snd', readOnly: false }]);
  assert.deepEqual(kept, [{ section: 'Service', key: 'DeviceAllow', value: 'char-alsa rw' }]);
});
