// runs in a lab: bookworm
/**
 * What systemk gets wrong, row by row, on pods of the shape that it takes: the number before a name is the paragraph of the study
 * in which the row stands.
 *
 * Status, phase and conditions (1.8, 1.9) are in src/pod/status/systemk.test.ts; os-release and commands of package managers (1.5)
 * in src/image/package/managers.test.ts; escapes of words and variables (1.4), also against systemd itself, in test/systemd and
 * src/engine/host/command.test.ts.
 *
 * Rows that need an API server are not here, since nothing in this agent talks to one: flags of the API and of its certificates (1.2),
 * service account tokens and ca.crt of projected volumes (1.6; refused without an issuer: src/pod/volumes/plan.test.ts), service
 * links (1.7), VK's deletion of API objects (1.8), the kubelet's port and its authorization (1.10), the Node object, its labels, taints
 * and lease (1.11), polling and API throttling (1.12).
 */
import assert from 'node:assert/strict';
import { access, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { systemChildren } from '../../src/host/child.ts';
import { eventually, spawnlet, system } from '../app/tools.ts';
import { useDebArchive } from '../harness/deb-archive.ts';
import {
  apply,
  endUnread,
  gone,
  isReady,
  podNamed,
  podOf,
  remove,
  type TestAgent,
  until,
  useAgent,
} from './agent.ts';
import { tool, uptimed } from './host-packages.ts';

let agent: TestAgent;

before(async () => {
  await useDebArchive('/var/tmp/archive', [uptimed, tool]);
  agent = await useAgent('--default-runtime', 'host');
});

after(async () => {
  await agent[Symbol.asyncDispose]();
});

const sh = (name: string, script: string, more: object = {}) => ({
  name,
  image: '/bin/sh',
  args: ['-c', script],
  ...more,
});
const forever = 'trap "exit 0" TERM; while :; do sleep 0.05; done';
const end = async (...names: string[]) => {
  await Promise.all(names.map(remove));
  await Promise.all(names.map(gone));
};
const logOf = async (name: string, ...flags: string[]) =>
  (await spawnlet(['pod', 'logs', ...flags, name])).out;
const saying = (name: string, text: string | RegExp) =>
  eventually(async () => {
    const log = await logOf(name);
    return log.match(text) ? log : undefined;
  }, `${name} says ${text}`);
const shell = async (name: string, script: string) =>
  (await spawnlet(['pod', 'exec', name, '--', 'sh', '-c', script])).out;
const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );
/** Runs to its end, and gives what it said. */
async function output(name: string, container: object, spec: object = {}): Promise<string> {
  await apply(name, podOf(name, [container], { restartPolicy: 'Never', ...spec }));
  await until(name, 'is over', ({ phase }) => phase === 'Succeeded' || phase === 'Failed');
  const log = await logOf(name);
  await end(name);
  return log;
}
const configMap = (name: string, data: Record<string, string>) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
});

test('1.3 names: a pod whose name has a dot is one pod, not another container of another', async () => {
  await apply('dots', podOf('a.b', [sh('c', forever)]));
  const { metadata } = await until('a.b', 'is ready', isReady);
  assert.equal(metadata?.name, 'a.b');
  await remove('dots');
  await gone('a.b');
});

test('1.3, 1.7 units: systemd takes them whole; limits and the slice are set, and privileges and devices are not left open', async () => {
  const resources = { limits: { memory: '64Mi', cpu: '1' }, requests: { cpu: '100m' } };
  await apply('limits', podOf('limits', [sh('main', forever, { resources })]));
  const { metadata } = await until('limits', 'is ready', isReady);
  const keys =
    'Slice MemoryMax CPUQuotaPerSecUSec PrivateTmp PrivateDevices DevicePolicy NoNewPrivileges ProtectSystem Restart';
  const shown = await system(
    'systemctl',
    'show',
    ...keys.split(' ').map(key => `--property=${key}`),
    `pod-default-limits-main-${metadata?.uid}.service`,
  );
  const values = new Map(
    shown
      .trim()
      .split('\n')
      .map(line => line.split('=', 2) as [string, string]),
  );
  assert.match(values.get('Slice') ?? '', /^kubepods-burstable-pod/);
  const unit = `pod-default-limits-main-${metadata?.uid}.service`;
  const verified = await systemChildren.capture(['systemd-analyze', 'verify', unit]);
  assert.deepEqual([verified.code, verified.stderr], [0, '']);
  const { Slice: _slice, ...rest } = Object.fromEntries(values);
  assert.deepEqual(rest, {
    MemoryMax: '67108864',
    CPUQuotaPerSecUSec: '1s',
    PrivateTmp: 'yes',
    PrivateDevices: 'yes',
    DevicePolicy: 'closed',
    NoNewPrivileges: 'yes',
    ProtectSystem: 'strict',
    Restart: 'no',
  });
  await end('limits');
});

test('1.4 words: dollars, percents, quotes and variables come to the program as Kubernetes has them', async () => {
  const args = [
    '-c',
    'for i in 1 2; do echo $i ${i}; done; printf "<%s>\\n" "$@"',
    'sh',
    '$FOO',
    '%n',
    '$(WHO)',
    '$$(WHO)',
    'a "b" \\ \'c\'',
    '$(NONE)',
    '',
    'x\ny',
    ';',
  ];
  const env = [
    { name: 'WHO', value: '100%h $FOO ${WHO}' },
    { name: 'PLAIN', value: '100%h' },
  ];
  const log = await output('words', { name: 'main', image: '/bin/sh', args: [...args, '$(PLAIN)'], env });
  assert.equal(
    log,
    '1 1\n2 2\n<$FOO>\n<%n>\n<100%h $FOO ${WHO}>\n<$(WHO)>\n<a "b" \\ \'c\'>\n<$(NONE)>\n<>\n<x\ny>\n<;>\n<100%h>\n',
  );
});

test('1.4 words: a value is in no unit and on no command line of a unit', async () => {
  const env = [{ name: 'SECRET', value: 'very-secret' }];
  await apply(
    'hidden',
    podOf('hidden', [
      sh('main', `: "$0"; ${forever}`, { args: ['-c', `echo has $(SECRET); ${forever}`], env }),
    ]),
  );
  await saying('hidden', 'has very-secret');
  const { metadata } = await until('hidden', 'is ready', isReady);
  const unit = `pod-default-hidden-main-${metadata?.uid}.service`;
  const shown = await system('systemctl', 'show', '--property=ExecStart,Environment', unit);
  assert.doesNotMatch(`${shown}${await system('systemctl', 'cat', unit)}`, /very-secret/);
  await end('hidden');
});

test('1.4 words: an image without a unit that has only args is refused with a reason, not left pending for ever', async () => {
  await apply('only-args', podOf('only-args', [{ name: 'main', image: 'tool', args: ['--flag'] }]));
  const { status } = await until(
    'only-args',
    'waits with a reason',
    ({ containerStatuses: [only] = [] }) => only?.state?.waiting?.reason === 'CreateContainerError',
  );
  assert.match(
    status?.containerStatuses?.[0]?.state?.waiting?.message ?? '',
    /set command of container main/,
  );
  await end('only-args');
});

test('1.4 words: command replaces the first word and leaves the options, args the rest, both the line', async () => {
  const run = async (name: string, words: object) => {
    await apply(
      name,
      podOf(name, [{ name: 'main', image: 'uptimed', ...words }], { terminationGracePeriodSeconds: 1 }),
    );
    const line = (await saying(name, /./)).split('\n', 1)[0];
    await end(name);
    return line;
  };
  assert.equal(await run('replaced', { command: ['/bin/echo'] }), '-f');
  assert.equal(await run('reworded', { args: ['-x', 'y z'] }), 'uptimed -x y z: no useable database found');
  assert.equal(await run('both', { command: ['echo'], args: ['a', 'b  c'] }), 'a b  c');
});

test('1.5 images: an absolute path installs nothing and masks no unit of the host', async () => {
  await mkdir('/usr/local/sbin', { recursive: true });
  await writeFile('/usr/local/sbin/cron', '#!/bin/sh\necho mine\n', { mode: 0o755 });
  const before = await system(
    'sh',
    '-c',
    'ls -lR /etc/systemd/system | sha256sum; dpkg-query --show | sha256sum',
  );
  assert.equal(await output('path', { name: 'main', image: '/usr/local/sbin/cron' }), 'mine\n');
  assert.equal(
    await system('sh', '-c', 'ls -lR /etc/systemd/system | sha256sum; dpkg-query --show | sha256sum'),
    before,
  );
});

test('1.5 images: a package that was here before keeps its own unit as it is', async () => {
  const unit = '/lib/systemd/system/bash.service';
  await writeFile(unit, '[Service]\nExecStart=/bin/sleep 1000\n');
  await system(
    'sh',
    '-c',
    'echo /lib/systemd/system/bash.service >> /var/lib/dpkg/info/bash.list; systemctl daemon-reload; systemctl start bash',
  );
  await apply('here', podOf('here', [{ name: 'main', image: 'bash' }], { terminationGracePeriodSeconds: 1 }));
  await until('here', 'is ready', isReady);
  assert.equal(await system('systemctl', 'is-active', 'bash'), 'active\n');
  assert.equal(await system('sh', '-c', 'systemctl is-enabled bash || :'), 'static\n');
  await end('here');
  await system(
    'sh',
    '-c',
    `systemctl stop bash; rm ${unit}; sed -i '/bash.service/d' /var/lib/dpkg/info/bash.list; systemctl daemon-reload`,
  );
});

test('1.6 volumes: an emptyDir is no memory, a hostPath is where it is mounted, and each is as writable as it says', async () => {
  await mkdir('/var/tmp/elsewhere', { recursive: true });
  await writeFile('/var/tmp/elsewhere/file', 'of the host\n');
  const volumeMounts = [
    { name: 'empty', mountPath: '/mnt' },
    { name: 'here', mountPath: '/opt', readOnly: true },
    { name: 'here', mountPath: '/srv' },
  ];
  const volumes = [
    { name: 'empty', emptyDir: {} },
    { name: 'here', hostPath: { path: '/var/tmp/elsewhere' } },
  ];
  const script =
    'touch /mnt/a && stat -f -c %T /mnt; cat /opt/file; touch /opt/b 2> /dev/null || echo read-only; touch /srv/c';
  const log = await output('volumes', sh('main', script, { volumeMounts }), { volumes });
  assert.match(log, /^(?!tmpfs).*\nof the host\nread-only\n$/);
  assert.deepEqual((await readdir('/var/tmp/elsewhere')).sort(), ['c', 'file']);
  await rm('/var/tmp/elsewhere', { recursive: true });
});

test('1.6 volumes: modes and items are those of the pod, and what is missing is waited for', async () => {
  const volumes = [
    {
      name: 'config',
      configMap: { name: 'late', defaultMode: 0o440, items: [{ key: 'a', path: 'sub/x', mode: 0o400 }] },
    },
  ];
  const volumeMounts = [{ name: 'config', mountPath: '/mnt' }];
  await apply(
    'late-pod',
    podOf(
      'late-pod',
      [sh('main', `cat /mnt/sub/x; stat -L -c %a /mnt/sub/x; ls /mnt; ${forever}`, { volumeMounts })],
      { volumes },
    ),
  );
  await until('late-pod', 'waits', ({ phase }) => phase === 'Pending');
  assert.equal(await logOf('late-pod'), '');
  await apply('late', configMap('late', { a: 'one\n', b: 'two\n' }));
  assert.match(await saying('late-pod', /sub$/m), /^one\n400\nsub\n$/);
  await end('late-pod');
  await remove('late');
});

test('1.6 volumes: keys that are taken away vanish, as a set, for each pod that stays; also after the agent was started again', async () => {
  await apply('shared', configMap('shared', { a: 'one', b: 'one' }));
  const pod = (name: string) =>
    podOf(name, [sh('main', forever, { volumeMounts: [{ name: 'config', mountPath: '/mnt' }] })], {
      volumes: [{ name: 'config', configMap: { name: 'shared' } }],
    });
  await Promise.all(['first', 'second'].map(name => apply(name, pod(name))));
  await Promise.all(['first', 'second'].map(name => until(name, 'is ready', isReady)));
  await end('first');
  const reads = (text: string) =>
    eventually(async () => (await shell('second', 'cd /mnt; grep -H . *')) === text, `second reads ${text}`);
  await apply('shared', configMap('shared', { a: 'two', c: 'two' }));
  await reads('a:two\nc:two\n');
  await agent.kill();
  agent.start();
  await apply('shared', configMap('shared', { c: 'three' }));
  await reads('c:three\n');
  await end('second');
  await remove('shared');
});

test('1.7 users: the container’s own user goes before the pod’s, one without a name will do, and a group without a user', async () => {
  const who = 'id -u; id -g; id -G';
  const shared = { runAsUser: 1234, fsGroup: 77 };
  assert.equal(await output('numbers', sh('main', who), { securityContext: shared }), '1234\n0\n0 77\n');
  const named = { securityContext: { windowsOptions: { runAsUserName: 'games' } } };
  assert.equal(await output('named', sh('main', who, named), { securityContext: shared }), '5\n60\n60 77\n');
  assert.equal(
    await output('grouped', sh('main', 'id -u; id -g', { securityContext: { runAsGroup: 42 } })),
    '0\n42\n',
  );
  await apply('rooted', podOf('rooted', [sh('main', who, { securityContext: { runAsNonRoot: true } })]));
  await until(
    'rooted',
    'is refused',
    ({ containerStatuses: [only] = [] }) => only?.state?.waiting?.reason === 'CreateContainerConfigError',
  );
  await end('rooted');
});

test('1.8 life: an init container that fails keeps the program from starting', async () => {
  const spec = { initContainers: [sh('init', 'echo init; exit 1')], restartPolicy: 'Never' };
  await apply('held', podOf('held', [sh('main', 'echo main')], spec));
  const { status } = await until('held', 'has failed', ({ phase }) => phase === 'Failed');
  assert.equal(status?.initContainerStatuses?.[0]?.state?.terminated?.exitCode, 1);
  assert.equal(await logOf('held'), '');
  await end('held');
});

test('1.8 life: a program that ends well runs again, and a crash loop has its back-off and no end', async () => {
  await apply('again', podOf('again', [sh('main', 'echo once; exit 0')]));
  const { status } = await until(
    'again',
    'waits for its third run',
    ({ containerStatuses: [only] = [] }) =>
      only?.state?.waiting?.reason === 'CrashLoopBackOff' && (only.restartCount ?? 0) >= 1,
  );
  const { exitCode, reason } = status?.containerStatuses?.[0]?.lastState?.terminated ?? {};
  assert.deepEqual([exitCode, reason], [0, 'Completed']);
  await end('again');
});

test('1.8 life: a pod is gone when its last process is, within its grace period, and not before', async () => {
  const slow = 'trap "sleep 0.7; exit 0" TERM; echo $$ > /mnt/pid; while :; do sleep 0.05; done';
  const volumes = [{ name: 'here', hostPath: { path: '/var/tmp/slow', type: 'DirectoryOrCreate' } }];
  await apply(
    'slow',
    podOf('slow', [sh('main', slow, { volumeMounts: [{ name: 'here', mountPath: '/mnt' }] })], {
      volumes,
      terminationGracePeriodSeconds: 10,
    }),
  );
  await until('slow', 'is ready', isReady);
  const pid = await eventually(
    async () => (await shell('slow', 'cat /mnt/pid')).trim() || undefined,
    'it says its number',
  );
  await remove('slow');
  await eventually(async () => {
    const there = await podNamed('slow');
    if (there === undefined) assert.equal(await isThere(`/proc/${pid}`), false, 'the process is over');
    return there === undefined;
  }, 'the pod is gone');
  await rm('/var/tmp/slow', { recursive: true });
});

test('1.8 life: what was to go while no agent ran is gone after the next one has begun', async () => {
  await apply('orphan', podOf('orphan', [sh('main', forever)]));
  const { metadata } = await until('orphan', 'is ready', isReady);
  await agent.kill();
  await remove('orphan');
  agent.start();
  await gone('orphan');
  assert.equal(
    await system('systemctl', 'list-units', '--all', '--plain', '--no-legend', `*${metadata?.uid}*`),
    '',
  );
});

test('1.8 life: a program that ended while no agent ran has its real exit code', async () => {
  await apply(
    'ends',
    podOf(
      'ends',
      [
        sh('main', 'until [ -e /mnt/go ]; do sleep 0.05; done; exit 42', {
          volumeMounts: [{ name: 'here', mountPath: '/mnt' }],
        }),
      ],
      {
        restartPolicy: 'Never',
        volumes: [{ name: 'here', hostPath: { path: '/var/tmp/ends', type: 'DirectoryOrCreate' } }],
      },
    ),
  );
  const { metadata } = await until('ends', 'is ready', isReady);
  await agent.kill();
  await writeFile('/var/tmp/ends/go', '');
  const record = `/var/lib/spawnlet/pods/${metadata?.uid}/containers/main/record`;
  await eventually(() => isThere(record), 'the unit has left its record');
  agent.start();
  const { status } = await until('ends', 'has failed', ({ phase }) => phase === 'Failed');
  assert.equal(status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 42);
  await end('ends');
  await rm('/var/tmp/ends', { recursive: true });
});

test('1.10 logs: of this pod alone, with --tail 0, --since-time, --previous, --limit-bytes and RFC 3339 times', async () => {
  await apply('loud', podOf('loud', [sh('main', 'echo a; echo b; printf c')], {}));
  await until('loud', 'ran again', ({ containerStatuses: [only] = [] }) => (only?.restartCount ?? 0) >= 1);
  await end('loud');
  await apply('loud', podOf('loud', [sh('main', 'echo one; echo two; printf three; exit 1')], {}));
  await until(
    'loud',
    'ran again',
    ({ containerStatuses: [only] = [] }) =>
      (only?.restartCount ?? 0) >= 1 && only?.lastState?.terminated !== undefined,
  );
  assert.equal(await logOf('loud', '--previous'), 'one\ntwo\nthree');
  assert.equal(await logOf('loud', '--previous', '--tail', '0'), '');
  assert.equal(await logOf('loud', '--previous', '--limit-bytes', '5'), 'one\nt');
  const stamped = await logOf('loud', '--previous', '--timestamps', '--tail', '2');
  assert.match(stamped, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z two\n\d{4}\S+ three$/);
  const hour = new Date(Date.now() + 3_600_000).toISOString();
  assert.equal(await logOf('loud', '--previous', '--since-time', hour), '');
  await end('loud');
});

test('1.10 logs: of a program that has ended before journald reads what it wrote', async () => {
  const script = 'for n in 1 2 3; do /bin/echo $n; done';
  await endUnread('short', podOf('short', [sh('main', script)], { restartPolicy: 'Never' }));
  assert.equal(await logOf('short'), '1\n2\n3\n');
  await end('short');
});

test('1.10 exec: what a command says and its exit code come back', async () => {
  await apply('exec', podOf('exec', [sh('main', forever)]));
  await until('exec', 'is ready', isReady);
  const { code, out, err } = await spawnlet([
    'pod',
    'exec',
    'exec',
    '--',
    'sh',
    '-c',
    'echo out; echo err >&2; exit 3',
  ]);
  assert.deepEqual([code, out, err], [3, 'out\n', 'err\n']);
  await end('exec');
});
