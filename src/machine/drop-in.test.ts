import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainFacts, plainSpec } from '../../test/harness/machine-spec.ts';
import { parseUnit, valuesOf } from '../systemd/unit-file.ts';
import { commandWords } from './adoption/command-line.ts';
import { delayOf, limitsOf, serviceDropIn, startsAfter } from './drop-in.ts';
import type { MachineSpec } from './spec.ts';

const none = { nspawn: [], unit: [], service: [] };
const render = (
  spec: Partial<MachineSpec>,
  facts = plainFacts,
  network = none as Parameters<typeof serviceDropIn>[1],
) => serviceDropIn({ ...plainSpec, ...spec }, network, facts);
const service = (text: string, key: string) => valuesOf(parseUnit(text), 'Service', key);

test('the whole of a drop-in, as a reader finds it', () => {
  const text = render(
    {
      autostart: { order: 2 },
      limits: { memory: 512 * 1024 ** 2, cpus: 1.5, ioWeight: 50, tasks: 4096, nofile: 9 },
      devices: [{ path: '/dev/fuse', access: 'rw' }],
      mounts: [{ kind: 'bind', source: '/srv/data', target: '/data', readOnly: false }],
    },
    { ...plainFacts, after: ['db'] },
    { nspawn: [], unit: [['After', 'br0.device']], service: [] },
  );
  assert.equal(
    text,
    `# Machine web, made by 'spawnlet machine': what systemd.nspawn(5) cannot say. To change it: spawnlet machine set web
# Your own settings: systemctl edit systemd-nspawn@web.service
[Unit]
# systemd-nspawn copies resolv.conf and makes its links as it starts: the network of the host has to be there.
After=network.target nss-lookup.target
# What it is attached to is there first: systemd-nspawn does not wait.
After=br0.device
# Where its tree and what is bound into it may be mounted.
RequiresMountsFor=/srv/data
# Machines with a lower order are up first.
After=systemd-nspawn@db.service
[Service]
# Its first boot may take longer than the 90 seconds after which systemd ends a unit that is not up.
TimeoutStartSec=15min
# Limits of the whole machine are those of its unit.
MemoryMax=536870912
CPUQuota=150%
IOWeight=50
TasksMax=4096
# The stock unit has DevicePolicy=closed.
DeviceAllow=/dev/fuse rw
# Left by a systemd-nspawn 257 that was killed, it would keep the next one from starting.
ExecStopPost=-/bin/umount --quiet /run/systemd/nspawn/unix-export/%i
[X-Spawnlet]
FormatVersion=1
Profiles=default
Order=2
`,
  );
});

test('credentials alone bring a command line of its own, with the words of the stock unit', () => {
  const text = render({ credentials: [{ id: 'tls.key', path: '/etc/keys/50%' }] });
  assert.deepEqual(service(text, 'LoadCredential'), ['tls.key:/etc/keys/50%%']);
  assert.deepEqual(service(text, 'ExecStart'), [
    '',
    '/usr/bin/systemd-nspawn --quiet --keep-unit --boot --link-journal=try-guest --network-veth -U --settings=override --load-credential=tls.key:tls.key --machine=web',
  ]);
  assert.deepEqual(service(render({}), 'ExecStart'), []);
});

test('a name of a credential is one word', () => {
  for (const id of ['a b', 'a:b', '../a', '', '.', 'a\nb'])
    assert.throws(() => render({ credentials: [{ id, path: '/a' }] }), { code: 'ERR_UNIT_VALUE' }, id);
});

test('a device is opened as far as anything asks for it, each node once', () => {
  const text = render({
    devices: [{ path: '/dev/kmsg', access: 'r' }],
    mounts: [
      { kind: 'bind', source: '/dev/snd', target: '/dev/snd', readOnly: false },
      { kind: 'bind', source: '/dev/sr0', target: '/cd', readOnly: true },
      { kind: 'bind', source: '/dev/shm/x', target: '/x', readOnly: false },
      { kind: 'bind', source: '/devices', target: '/y', readOnly: false },
    ],
    profiles: ['default', 'nested'],
  });
  assert.deepEqual(service(text, 'DeviceAllow'), ['/dev/kmsg rw', '/dev/snd rw', '/dev/sr0 r']);
});

test('the delay is a sleep while the host starts, and is known again', () => {
  const [line = ''] = service(render({ autostart: { delay: 7 } }), 'ExecStartPre');
  assert.equal(delayOf(commandWords(line, 'web') ?? []), 7);
  assert.equal(delayOf(['/bin/sh', '-c', 'exec sleep 7;; rm -rf /']), undefined);
  assert.deepEqual(service(render({ autostart: { delay: 0 } }), 'ExecStartPre'), []);
});

test('systemd does not end a start that waits as long as was asked for', () => {
  const timeout = (delay: number) => service(render({ autostart: { delay } }), 'TimeoutStartSec');
  assert.deepEqual([timeout(86_400), timeout(0.5)], [['87300'], ['901']]);
  assert.deepEqual(timeout(0), ['15min']);
});

test('a machine waits at boot for enabled ones with a lower order, and one without an order for none', () => {
  const machine = (name: string, order?: number, enabled = true): MachineSpec => ({
    ...plainSpec,
    name,
    enabled,
    autostart: order === undefined ? {} : { order },
  });
  const all = [machine('c', 3), machine('b', 2), machine('a', 1), machine('off', 0, false), machine('any')];
  const after = Object.fromEntries(all.map(one => [one.name, startsAfter(one, all)]));
  assert.deepEqual(after, { c: ['a', 'b'], b: ['a'], a: [], off: [], any: [] });
});

test('part of a processor is never none', () => {
  assert.deepEqual(limitsOf({ cpus: 0.001 }), [['CPUQuota', '1%']]);
});

test('a tree elsewhere is waited for where it lies, since systemd does not follow the link', () => {
  const text = render({}, { ...plainFacts, tree: { kind: 'link', path: '/opt/a b' } });
  assert.deepEqual(valuesOf(parseUnit(text), 'Unit', 'RequiresMountsFor'), ['"/opt/a b"']);
});

test('nothing in a spec can add a line', () => {
  const evil = 'a\nExecStartPre=/bin/true';
  const specs: Partial<MachineSpec>[] = [
    { name: evil },
    { credentials: [{ id: 'a', path: `/${evil}` }] },
    { devices: [{ path: `/dev/${evil}`, access: 'rw' }] },
    { mounts: [{ kind: 'bind', source: `/dev/${evil}`, target: '/a', readOnly: false }] },
    { mounts: [{ kind: 'bind', source: `/${evil}`, target: '/a', readOnly: false }] },
  ];
  for (const spec of specs)
    assert.throws(
      () => render(spec),
      (error: { code?: string }) => error.code?.startsWith('ERR_UNIT') === true,
      JSON.stringify(spec),
    );
  assert.throws(() => render({}, { ...plainFacts, after: [evil] }), { code: 'ERR_UNIT_NAME' });
  const letters = render({ devices: [{ path: '/dev/fuse', access: evil }] });
  assert.deepEqual(service(letters, 'DeviceAllow'), ['/dev/fuse r']);
});
