import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePackageUnit } from './package-unit.ts';
import type { HostProgram } from './program.ts';
import { hostServiceLines } from './service.ts';

const program = (more: Partial<HostProgram> = {}): HostProgram => ({
  name: 'pod-default-web-main-1',
  directory: '/var/lib/spawnlet/pods/1/containers/main',
  run: '/run/spawnlet/pods/1/main',
  words: {},
  user: { as: 'packaged', ids: { uid: 0, gid: 0 }, isKnown: true, groups: [] },
  mounts: [],
  capabilities: ['CAP_CHOWN', 'CAP_SETUID'],
  asPackaged: true,
  privileged: false,
  noNewPrivileges: true,
  seccomp: 'default',
  ipc: 'own',
  seesProcesses: false,
  oomScoreAdj: 1000,
  grace: 30,
  ...more,
});

const packaged = (lines: string) => {
  const service = parsePackageUnit(`[Service]\n${lines}\n`, 'web.service');
  return service ? { service } : {};
};
const valuesOf = (given: HostProgram, key: string) =>
  hostServiceLines(given).flatMap(([name, value]) => (name === key ? value : []));

test('a daemon that leaves the foreground is found by its file, in its own /run as the host sees it', () => {
  const lines = 'Type=forking\nPIDFile=/run/web.pid\nExecStart=/usr/sbin/web\nExecStop=/usr/sbin/web -s quit';
  const daemon = program(packaged(lines));
  assert.deepEqual(valuesOf(daemon, 'PIDFile'), ['/run/spawnlet/pods/1/main/run/web.pid']);
  assert.deepEqual(valuesOf(daemon, 'ExecStop'), ['/usr/sbin/web -s quit']);
  // Words of the pod mean a program that stays.
  const words = { args: [['-g']] };
  const stays = program({ ...packaged(lines), words });
  assert.deepEqual(
    ['Type', 'PIDFile', 'ExecStop'].map(key => valuesOf(stays, key)),
    [['exec'], [], []],
  );
  const relative = program(packaged('Type=forking\nPIDFile=web/web.pid\nExecStart=/usr/sbin/web'));
  assert.deepEqual(valuesOf(relative, 'PIDFile'), ['/run/spawnlet/pods/1/main/run/web/web.pid']);
});

test('settings of the package stand before those of the pod, which hold', () => {
  const lines = hostServiceLines(
    program(packaged('ExecStart=/bin/a\nEnvironmentFile=/etc/default/a\nUMask=077')),
  );
  const files = lines.filter(([key]) => key === 'EnvironmentFile').map(([, value]) => value);
  assert.deepEqual(files, ['/etc/default/a', '/var/lib/spawnlet/pods/1/containers/main/variables']);
  assert.deepEqual(valuesOf(program(packaged('ExecStart=/bin/a\nUMask=077')), 'UMask'), ['077']);
});

test('restrictions of the package are kept where the pod says nothing else', () => {
  const own = packaged('ExecStart=/bin/a\nCapabilityBoundingSet=CAP_KILL\nSystemCallFilter=@basic-io');
  assert.deepEqual(valuesOf(program(own), 'CapabilityBoundingSet'), ['CAP_KILL']);
  assert.deepEqual(valuesOf(program(own), 'SystemCallFilter'), ['@basic-io']);
  assert.deepEqual(valuesOf(program({ ...own, asPackaged: false }), 'CapabilityBoundingSet'), [
    'CAP_CHOWN CAP_SETUID',
  ]);
  assert.deepEqual(valuesOf(program({ asPackaged: false, capabilities: [] }), 'CapabilityBoundingSet'), ['']);
  assert.deepEqual(valuesOf(program(), 'SystemCallFilter'), ['@system-service']);
  assert.deepEqual(valuesOf(program({ seccomp: 'unconfined' }), 'SystemCallFilter'), []);
});

test('a user without a name is become by another program, which gives up what that took', () => {
  const user = { as: 'given', ids: { uid: 1234, gid: 0 }, isKnown: false, groups: [77] } as const;
  const nobody = program({
    user,
    words: { program: '/bin/a', args: [] },
    capabilities: ['CAP_SETUID'],
    asPackaged: false,
  });
  assert.deepEqual(valuesOf(nobody, 'User'), []);
  assert.deepEqual(valuesOf(nobody, 'ExecStart'), [
    '/usr/bin/setpriv --reuid=1234 --regid=0 --groups=0,77 --inh-caps=-all --bounding-set=-setgid,-setpcap -- /bin/a',
  ]);
  assert.deepEqual(valuesOf(nobody, 'CapabilityBoundingSet'), ['CAP_SETUID CAP_SETGID CAP_SETPCAP']);
  const known = program({ user: { ...user, isKnown: true }, words: { program: '/bin/a', args: [] } });
  assert.deepEqual(
    [valuesOf(known, 'User'), valuesOf(known, 'Group'), valuesOf(known, 'SupplementaryGroups')],
    [['1234'], ['0'], ['77']],
  );
});

test('nothing of the host that commands it is left open, whatever the pod asks for', () => {
  for (const privileged of [false, true]) {
    const given = program({ privileged });
    assert.deepEqual(valuesOf(given, 'ProtectSystem'), ['strict']);
    assert.deepEqual(valuesOf(given, 'ProtectHome'), ['tmpfs']);
    assert.deepEqual(valuesOf(given, 'BindPaths'), ['/run/spawnlet/pods/1/main/run:/run']);
    const closed = valuesOf(given, 'InaccessiblePaths').join(' ');
    for (const path of [
      '/var/lib/spawnlet',
      '/var/lib/kubelet',
      '/etc/kubernetes',
      '/etc/ssh',
      '/etc/shadow',
    ])
      assert.ok(closed.includes(`-${path}`), path);
  }
  assert.deepEqual(valuesOf(program({ privileged: true }), 'DevicePolicy'), ['auto']);
  assert.deepEqual(
    valuesOf(program(packaged('Type=notify\nExecStart=/bin/a')), 'BindPaths').at(-1),
    '/run/systemd/notify',
  );
});
