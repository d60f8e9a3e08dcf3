import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { anySpec, factsFor, linesOf, path, plainFacts, plainSpec } from '../../test/harness/machine-spec.ts';
import { parseUnit, renderUnit, valuesOf } from '../systemd/unit-file.ts';
import { serviceDropIn } from './drop-in.ts';
import { nspawnFile } from './nspawn-file.ts';
import { colonWord, colonWords, quotedWord, quotedWords } from './nspawn-words.ts';
import type { MachineSpec } from './spec.ts';

const none = { nspawn: [], unit: [], service: [] };
const render = (spec: Partial<MachineSpec>, facts = plainFacts) =>
  nspawnFile({ ...plainSpec, ...spec }, none, facts);
const lines = (text: string) => text.split('\n').filter(line => line !== '' && !line.startsWith('#'));

test('a machine that asks for nothing differs from the stock unit in its users and in when it is ready', () => {
  assert.deepEqual(lines(render({})), ['[Exec]', 'NotifyReady=yes', 'PrivateUsers=no']);
});

test('the whole of a file, as a reader finds it', () => {
  const text = render(
    {
      mounts: [{ kind: 'bind', source: '/srv/a:b', target: '/data', readOnly: true }],
      profiles: ['default', 'nested'],
      limits: { nofile: 1000 },
      environment: { GREETING: "it's 5 %" },
    },
    { ...plainFacts, users: { kind: 'pick' } },
  );
  assert.equal(
    text,
    `# Machine web, made by 'spawnlet machine'. To change it: spawnlet machine set web
# What systemd.nspawn(5) cannot say: systemctl cat systemd-nspawn@web.service
[Exec]
# It is up when its own init says so, not when it was started.
NotifyReady=yes
PrivateUsers=pick
Capability=CAP_SYSLOG
SystemCallFilter=@keyring bpf
LimitNOFILE=1000
Environment="GREETING=it's 5 %"
[Files]
# The mount shows other owners; no file of the tree is changed.
PrivateUsersOwnership=map
BindReadOnly=/srv/a\\:b:/data:idmap
# nested: The kubelet and k3s read it to learn what the kernel has killed for memory.
Bind=/dev/kmsg
# nested: docker and k3s look there for what the kernel can do (overlay, br_netfilter, nf_conntrack).
BindReadOnly=/sys/module
# nested: Runtimes that find AppArmor there load profiles, which a machine may not.
Inaccessible=/sys/module/apparmor
`,
  );
});

test('owners are mapped by the mount and never changed in the tree, whatever the users', () => {
  const range = { kind: 'range', base: 524_288, count: 65_536 } as const;
  for (const users of [{ kind: 'pick' } as const, range]) {
    const file = parseUnit(render({}, { ...plainFacts, users }));
    assert.deepEqual(valuesOf(file, 'Files', 'PrivateUsersOwnership'), ['map']);
  }
  assert.match(render({}, { ...plainFacts, users: range }), /^PrivateUsers=524288:65536$/m);
});

test('a command is PID 2, and its words come through', () => {
  const file = parseUnit(
    render({ start: { kind: 'command', argv: ['/bin/sh', '-c', 'echo "$A" \\ \'b\'', ''] } }),
  );
  assert.deepEqual(valuesOf(file, 'Exec', 'Boot'), ['no']);
  assert.deepEqual(valuesOf(file, 'Exec', 'ProcessTwo'), ['yes']);
  const [parameters = ''] = valuesOf(file, 'Exec', 'Parameters');
  assert.deepEqual(quotedWords(parameters), ['/bin/sh', '-c', 'echo "$A" \\ \'b\'', '']);
});

test('file systems of the kernel are bound without an id-mapping, which they do not take', () => {
  const mounts = ['/dev/snd', '/sys/firmware', '/proc/bus', '/devices'].map(
    source => ({ kind: 'bind', source, target: '/x', readOnly: false }) as const,
  );
  const file = parseUnit(render({ mounts }, { ...plainFacts, users: { kind: 'pick' } }));
  assert.deepEqual(valuesOf(file, 'Files', 'Bind'), [
    '/dev/snd:/x',
    '/sys/firmware:/x',
    '/proc/bus:/x',
    '/devices:/x:idmap',
  ]);
});

test('an init that does not notify is not waited for', () => {
  assert.deepEqual(lines(render({}, { ...plainFacts, ready: 'started' })), ['[Exec]', 'PrivateUsers=no']);
});

test('what adopt left alone stays, at the end of its section', () => {
  const kept = [{ section: 'Exec', key: 'KillSignal', value: 'SIGTERM' }];
  assert.match(render({}, { ...plainFacts, kept }), /Not made by spawnlet.*\nKillSignal=SIGTERM\n/);
});

test('words between colons are read back as they were, by the rule of systemd-nspawn', () => {
  fc.assert(
    fc.property(path, path, (one, other) => {
      const text = `${colonWord('a', one)}:${colonWord('b', other)}:idmap`;
      assert.deepEqual(colonWords(text, 2), [one, other, 'idmap']);
    }),
  );
});

test('quoted words are read back as they were, by the rule of systemd-nspawn', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: fc.constantFrom(...`ab "'\\%$\t=é`.split('')) })), words => {
      assert.deepEqual(quotedWords(words.map(text => quotedWord('a word', text)).join(' ')), words);
    }),
  );
});

test('the files of any machine are read back as they were written', () => {
  fc.assert(
    fc.property(anySpec, spec => {
      for (const text of [
        nspawnFile(spec, linesOf(spec), factsFor(spec)),
        serviceDropIn(spec, linesOf(spec), factsFor(spec)),
      ])
        assert.equal(renderUnit(parseUnit(text)), text);
    }),
  );
});

test('nothing in a spec can add a line: a line break is refused, wherever it stands', () => {
  const evil = 'a\n[Exec]\nCapability=all';
  const specs: Partial<MachineSpec>[] = [
    { name: evil },
    { start: { kind: 'command', argv: [evil] } },
    { environment: { A: evil } },
    { environment: { [evil]: 'a' } },
    { capabilities: [evil] },
    { firstBoot: { ...plainSpec.firstBoot, hostname: evil } },
    { mounts: [{ kind: 'bind', source: `/${evil}`, target: '/a', readOnly: false }] },
    { mounts: [{ kind: 'bind', source: '/a', target: `/${evil}`, readOnly: false }] },
    { mounts: [{ kind: 'tmpfs', target: `/${evil}`, options: '' }] },
    { mounts: [{ kind: 'tmpfs', target: '/a', options: evil }] },
    { mounts: [{ kind: 'overlay', layers: ['/a', `/${evil}`], target: '/b' }] },
    { mounts: [{ kind: 'inaccessible', target: `/${evil}` }] },
    { devices: [{ path: `/dev/${evil}`, access: 'rw' }] },
  ];
  for (const spec of specs)
    assert.throws(
      () => render(spec),
      (error: { code?: string }) => /^ERR_(UNIT|CAPABILITY)/.test(error.code ?? ''),
      JSON.stringify(spec),
    );
});

test('words of a file are no more than the words of the spec', () => {
  assert.throws(() => render({ capabilities: ['CAP_NET_RAW all'] }), { code: 'ERR_CAPABILITY' });
  assert.throws(
    () => render({ mounts: [{ kind: 'bind', source: '/a/../b', target: '/c', readOnly: false }] }),
    {
      code: 'ERR_UNIT_VALUE',
    },
  );
  assert.throws(() => render({ mounts: [{ kind: 'bind', source: 'a', target: '/c', readOnly: false }] }), {
    code: 'ERR_UNIT_VALUE',
  });
});
