// runs in a lab: bookworm trixie +containernetworking-plugins +nftables
// Pods whose containers are systemd-nspawn's: what crun gives them, they have too, or it is refused by name.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { systemChildren } from '../../src/host/child.ts';
import { debianImage, done, eventually, lookUp, spawnlet, system, words } from '../app/tools.ts';
import {
  apply,
  container,
  eventsOf,
  forever,
  gone,
  image,
  inside,
  isReady,
  ofPods,
  podOf,
  remove,
  until,
  useHost,
} from './agent.ts';

const host = useHost({
  images: () => ({ deb: debianImage({}, [{ path: 'run/of-the-image', content: 'here\n' }]) }),
});

const pod = (name: string, containers: readonly object[], spec: object = {}) =>
  podOf(name, containers, { runtimeClassName: 'nspawn', ...spec });

const exec = (name: string, ...argv: string[]) => spawnlet(['pod', 'exec', name, '--', ...argv]);

/** A status of one container that has ended. */
const terminatedOf = (status: Awaited<ReturnType<typeof until>>['status']) =>
  status?.containerStatuses?.[0]?.state?.terminated;

async function ended(name: string) {
  const { status } = await until(name, 'has ended', ({ phase = '' }) => /Succeeded|Failed/.test(phase));
  return terminatedOf(status);
}

/** What the kernel says of the container's first process and of a command in it, by lines of /proc/PID/status. */
async function statusOf(name: string, more = 'true') {
  const text = await inside(name, `cat /proc/1/status /proc/self/status; ${more}`);
  const values = (key: string) =>
    [...text.matchAll(new RegExp(`^${key}:[ \\t]*(.*?)[ \\t]*$`, 'gm'))].map(match => match[1]);
  return { text, values };
}

const twice = <T>(value: T): T[] => [value, value];

test('a pod has an address, names, variables and volumes, and leaves nothing', async () => {
  await rm('/run/systemd/nspawn', { recursive: true, force: true });
  const before = await ofPods();
  await mkdir('/var/tmp/of-the-host/below', { recursive: true });
  await writeFile('/var/tmp/of-the-host/file', 'host\n');
  const object = (kind: string, name: string, rest: object) => ({
    apiVersion: 'v1',
    kind,
    metadata: { name },
    ...rest,
  });
  await apply('settings', object('ConfigMap', 'settings', { data: { colour: 'red' } }));
  await apply('keys', object('Secret', 'keys', { stringData: { key: 'k:1' } }));
  const volumes = [
    { name: 'settings', configMap: { name: 'settings' } },
    { name: 'keys', secret: { secretName: 'keys' } },
    { name: 'shared', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    { name: 'host', hostPath: { path: '/var/tmp/of-the-host', type: 'Directory' } },
  ];
  const volumeMounts = [
    { name: 'settings', mountPath: '/etc/settings' },
    { name: 'keys', mountPath: '/run/secrets/with:colon', readOnly: true },
    { name: 'shared', mountPath: '/shared', subPath: 'part' },
    { name: 'memory', mountPath: '/memory' },
    { name: 'host', mountPath: '/host', readOnly: true },
    { name: 'host', mountPath: '/hears', mountPropagation: 'HostToContainer' },
  ];
  const env = [
    { name: 'WHO', value: 'you & "me"' },
    { name: 'COLOUR', valueFrom: { configMapKeyRef: { name: 'settings', key: 'colour' } } },
    { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
  ];
  const server = `perl -MIO::Socket -e '$s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die; while ($c = $s->accept) { print $c "hello\\n"; close $c }'`;
  const side = container('side', `echo from the side > /shared/side; ${forever}`, {
    volumeMounts: [{ name: 'shared', mountPath: '/shared', subPath: 'part' }],
  });
  const resources = { limits: { memory: '64Mi', cpu: '500m' } };
  const readinessProbe = { tcpSocket: { port: 80 }, periodSeconds: 1 };
  await apply(
    'web',
    pod('web', [container('main', server, { env, volumeMounts, resources, readinessProbe }), side], {
      volumes,
    }),
  );
  const { status, metadata } = await until('web', 'is ready', isReady);
  const { podIP = '' } = status ?? {};
  assert.match(podIP, /^10\.88\.0\.\d+$/);
  const get = (where: string) =>
    system('perl', '-MIO::Socket', '-e', 'print IO::Socket::INET->new(shift)->getline', where);
  assert.equal(await get(`${podIP}:80`), 'hello\n');
  assert.equal(
    await inside('web', 'printf "%s|" "$WHO" "$COLOUR" "$IP" "$HOSTNAME"; uname -n'),
    `you & "me"|red|${podIP}|web|web\n`,
  );
  assert.match(await inside('web', `perl -e '${lookUp}' web`), new RegExp(`^${podIP}$`, 'm'));
  assert.equal(
    await inside(
      'web',
      'cat /etc/settings/colour "/run/secrets/with:colon/key" /shared/side /host/file /run/of-the-image',
    ),
    'redk:1from the side\nhost\nhere\n',
  );
  assert.equal(
    await inside(
      'web',
      'touch /memory/a /hears/written && ls /memory; touch /host/a 2>/dev/null || echo read-only',
    ),
    'a\nread-only\n',
  );
  assert.equal(await readFile('/var/tmp/of-the-host/written', 'utf8'), '');
  // What the host mounts later is seen where that was asked for, and nowhere else.
  await system('mount', '-t', 'tmpfs', 'later', '/var/tmp/of-the-host/below');
  await writeFile('/var/tmp/of-the-host/below/later', '');
  assert.equal(await inside('web', 'ls /hears/below; ls /host/below'), 'later\n');
  await system('umount', '/var/tmp/of-the-host/below');
  const unit = `pod-default-web-main-${metadata?.uid}.service`;
  const shown = await system('systemctl', 'show', '--property=MemoryMax,CPUQuotaPerSecUSec,Slice', unit);
  assert.match(shown, /MemoryMax=67108864/);
  assert.match(shown, /CPUQuotaPerSecUSec=500ms/);
  assert.match(shown, /Slice=kubepods-burstable-pod/);
  assert.match(await inside('web', 'readlink /proc/self/ns/ipc'), /^ipc:\[\d+\]\n$/);
  const [own, others] = await Promise.all(
    ['main', 'side'].map(name =>
      done(['pod', 'exec', '-c', name, 'web', '--', 'readlink', '/proc/self/ns/ipc', '/proc/self/ns/net']),
    ),
  );
  assert.equal(own, others);
  assert.notEqual(await ofPods(), before);
  await Promise.all(['web', 'settings', 'keys'].map(remove));
  await gone('web');
  assert.equal(await ofPods(), before);
  assert.equal(await system('find', '/run/systemd/nspawn', '-mindepth', '1'), '');
  await rm('/var/tmp/of-the-host', { recursive: true });
});

test('a command in a container is confined as its first process is: user, groups, capabilities, filter, cgroup', async () => {
  const securityContext = {
    runAsUser: 1000,
    runAsGroup: 3000,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
  };
  const more = { securityContext: { supplementalGroups: [4000], fsGroup: 5000, runAsNonRoot: true } };
  await apply('confined', pod('confined', [container('main', forever, { securityContext })], more));
  await until('confined', 'is ready', isReady);
  const tries = 'touch /x 2>/dev/null || echo read-only; unshare -U true 2>/dev/null || echo no users';
  const { values, text } = await statusOf('confined', tries);
  assert.deepEqual(values('Uid'), twice('1000\t1000\t1000\t1000'));
  assert.deepEqual(values('Gid'), twice('3000\t3000\t3000\t3000'));
  assert.deepEqual(values('CapBnd'), twice('0000000000000400'));
  for (const key of ['CapPrm', 'CapEff', 'CapInh', 'CapAmb'])
    assert.deepEqual(values(key), twice('0'.repeat(16)));
  assert.deepEqual(values('NoNewPrivs'), ['1', '1']);
  assert.deepEqual(values('Seccomp'), ['2', '2']);
  assert.equal(new Set(values('Groups')).size, 1);
  for (const group of ['4000', '5000']) assert.match(values('Groups')[0] ?? '', new RegExp(`\\b${group}\\b`));
  assert.match(text, /^read-only$/m);
  assert.match(text, /^no users$/m);
  const groups = 'cat /proc/1/cgroup; echo --; cat /proc/self/cgroup';
  const [first, own] = (await inside('confined', groups)).split('--\n');
  assert.equal(own, first);
  await remove('confined');
});

/** Of keyctl(2), which the default filter denies to all. */
const keyctl = process.arch === 'arm64' ? 219 : 250;

test('a filter is the default one, the administrator’s, or none; the program and a command have the same', async () => {
  const profiles = '/var/lib/kubelet/seccomp';
  await mkdir(profiles, { recursive: true });
  const rule = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 95 };
  await writeFile(
    `${profiles}/no-mkdir.json`,
    JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule] }),
  );
  const looks = (what: string) =>
    `mkdir /tmp/${what} 2>/dev/null && echo made || echo denied; perl -e 'print syscall(${keyctl}, 0, -3, 0) == -1 ? "denied\\n" : "keys\\n"' 2>/dev/null`;
  const cases = {
    standard: [undefined, 'made\ndenied'],
    local: [{ type: 'Localhost', localhostProfile: 'no-mkdir.json' }, 'denied\nkeys'],
    open: [{ type: 'Unconfined' }, 'made\nkeys'],
  } as const;
  for (const [name, [seccompProfile]] of Object.entries(cases)) {
    const securityContext = seccompProfile && { seccompProfile };
    await apply(
      name,
      pod(name, [
        container('main', `${looks('program')}; ${forever}`, {
          ...(securityContext && { securityContext }),
        }),
      ]),
    );
  }
  for (const [name, [, expected]] of Object.entries(cases)) {
    await until(name, 'is ready', isReady);
    const logged = await eventually(async () => {
      const log = await done(['pod', 'logs', name]);
      return log.split('\n').length > 2 ? log : undefined;
    }, `${name} has said what it may do`);
    assert.equal(logged, `${expected}\n`, name);
    assert.equal(await inside(name, looks('command')), `${expected}\n`, name);
    const [first, own] = (await statusOf(name)).values('NoNewPrivs');
    assert.equal(own, first, name);
  }
  await Promise.all(Object.keys(cases).map(remove));
});

test('namespaces are the host’s where that is asked for, and the kernel’s settings the pod’s', async () => {
  const sysctls = [
    { name: 'net.ipv4.ip_unprivileged_port_start', value: '81' },
    { name: 'kernel.msgmax', value: '12345' },
  ];
  await apply('set', pod('set', [container('main', forever)], { securityContext: { sysctls } }));
  const privileged = { securityContext: { privileged: true } };
  const ofHost = { hostNetwork: true, hostPID: true, hostIPC: true };
  await apply('host', pod('host', [container('main', forever, privileged)], ofHost));
  await until('set', 'is ready', isReady);
  const files = '/proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax';
  assert.equal(await inside('set', `cat ${files}`), '81\n12345\n');
  await until('host', 'is ready', isReady);
  for (const name of ['net', 'ipc', 'pid']) {
    const path = `/proc/self/ns/${name}`;
    assert.equal(await inside('host', `readlink ${path}`), await system('readlink', path), name);
  }
  const { values } = await statusOf('host');
  assert.equal(values('CapEff')[1], (await system('sed', '-n', 's/^CapBnd:\\t//p', '/proc/1/status')).trim());
  await Promise.all([remove('set'), remove('host')]);
});

test('how a container has ended is told: its code, its signal, memory, a program that is not there', async () => {
  const never = { restartPolicy: 'Never' };
  const greedy = 'perl -e \'my $x = "x" x 200_000_000; sleep 100\'';
  const limits = { resources: { limits: { memory: '32Mi' } } };
  await apply('well', pod('well', [container('main', 'true')], never));
  await apply(
    'badly',
    pod('badly', [container('main', 'echo -n why > /dev/termination-log; exit 7')], never),
  );
  await apply(
    'one',
    pod(
      'one',
      [container('main', 'echo words >&2; exit 1', { terminationMessagePolicy: 'FallbackToLogsOnError' })],
      never,
    ),
  );
  await apply('greedy', pod('greedy', [container('main', greedy, limits)], never));
  await apply('killed', pod('killed', [container('main', forever)], never));
  await apply('nowhere', pod('nowhere', [{ name: 'main', image, command: ['/nowhere'] }], never));
  const { metadata } = await until('killed', 'is ready', isReady);
  const pid = await readFile(`/run/spawnlet/app/pod-default-killed-main-${metadata?.uid}/pid`, 'utf8');
  process.kill(Number(pid), 'SIGKILL');
  const told = async (name: string) => {
    const { reason, exitCode, message, startedAt } = (await ended(name)) ?? {};
    // A run that is over before its unit is up has begun, too; its back-off is counted from there.
    assert.ok(startedAt, name);
    return [reason, exitCode, message];
  };
  assert.deepEqual(await told('well'), ['Completed', 0, undefined]);
  assert.deepEqual(await told('badly'), ['Error', 7, 'why']);
  assert.deepEqual(await told('one'), ['Error', 1, 'words\n']);
  assert.deepEqual(await told('killed'), ['Error', 137, undefined]);
  assert.deepEqual(await told('greedy'), ['OOMKilled', 137, undefined]);
  assert.deepEqual(await told('nowhere'), ['StartError', 127, 'exec: No such file or directory']);
  await Promise.all(['well', 'badly', 'one', 'killed', 'greedy', 'nowhere'].map(remove));
});

test('a container that fails is started again with a fresh root, then waits in its back-off', async () => {
  await apply('loops', pod('loops', [container('main', 'mkdir /once && exit 3; exit 4')]));
  const { status } = await until('loops', 'waits in its back-off', ({ containerStatuses: [only] = [] }) => {
    return only?.state?.waiting?.reason === 'CrashLoopBackOff' && only.restartCount === 1;
  });
  const { reason, exitCode } = status?.containerStatuses?.[0]?.lastState?.terminated ?? {};
  assert.deepEqual([reason, exitCode], ['Error', 3]);
  assert.deepEqual(await eventsOf('loops'), [
    'Pulled main x2',
    'Created main x2',
    'Started main x2',
    'BackOff main x1',
  ]);
  await remove('loops');
});

test('probes and hooks run in the container', async () => {
  const probe = (file: string, more: object = {}) => ({
    exec: { command: ['ls', `/tmp/${file}`] },
    periodSeconds: 1,
    timeoutSeconds: 20,
    failureThreshold: 1,
    ...more,
  });
  const run = (script: string) => ({ exec: { command: ['sh', '-c', script] } });
  const more = {
    startupProbe: probe('up', { failureThreshold: 30 }),
    readinessProbe: probe('ready'),
    livenessProbe: probe('up'),
    lifecycle: {
      postStart: run('echo begun > /tmp/hook'),
      preStop: run('echo -n "told $(cat /tmp/hook)" > /dev/termination-log'),
    },
  };
  await apply(
    'probed',
    pod('probed', [container('main', `: > /tmp/up; ${forever}`, more)], {
      terminationGracePeriodSeconds: 20,
    }),
  );
  const begun = await until(
    'probed',
    'has started',
    ({ containerStatuses: [only] = [] }) => only?.started === true,
  );
  assert.ok(!isReady(begun.status ?? {}));
  await inside('probed', ': > /tmp/ready');
  await until('probed', 'is ready', isReady);
  await inside('probed', 'rm /tmp/up');
  const again = await until(
    'probed',
    'ran again',
    ({ containerStatuses: [only] = [] }) => only?.restartCount === 1,
  );
  const { message, exitCode } = again.status?.containerStatuses?.[0]?.lastState?.terminated ?? {};
  assert.deepEqual([message, exitCode], ['told begun', 0]);
  assert.match(await done(['pod', 'events', 'probed']), /Liveness probe failed/);
  await remove('probed');
});

test('a probe that takes too long is ended, with what it runs', async () => {
  const readinessProbe = {
    exec: { command: ['sleep', '54321'] },
    timeoutSeconds: 2,
    periodSeconds: 600,
  };
  await apply('late', pod('late', [container('main', forever, { readinessProbe })]));
  await eventually(
    async () => /no answer within 2s/.test(await done(['pod', 'events', 'late'])) || undefined,
    'the probe has failed',
  );
  const isGone = async () => (await system('sh', '-c', 'ps -e -o args= | grep "^sleep 54321" || :')) === '';
  await eventually(async () => (await isGone()) || undefined, 'its command is gone');
  await inside('late', 'true');
  await remove('late');
});

test('exec gives the streams and the exit code, also on a terminal, and cp brings files', async () => {
  await apply('entered', pod('entered', [container('main', forever)]));
  await until('entered', 'is ready', isReady);
  const { code, out, err } = await exec('entered', 'sh', '-c', 'echo out; echo err >&2; exit 7');
  assert.deepEqual([code, out, err], [7, 'out\n', 'err\n']);
  assert.equal((await exec('entered', 'sh', '-c', 'kill -KILL $$')).code, 137);
  // A pipe that nobody reads ends a command as it does everywhere.
  assert.equal(
    (await exec('entered', 'perl', '-e', 'print exists $SIG{PIPE} ? $SIG{PIPE} // "usual" : "usual"')).out,
    'usual',
  );
  for (const [program, wanted] of [
    ['nowhere', 127],
    ['/etc', 126],
    ['/etc/passwd', 126],
  ] as const) {
    const failed = await exec('entered', program);
    assert.equal(failed.code, wanted, program);
    assert.match(failed.err, /ERR_EXEC/);
    assert.doesNotMatch(failed.err, /libuv/);
  }
  assert.equal(await done(['pod', 'exec', '-i', 'entered', 'cat'], { input: 'through\n' }), 'through\n');
  const inTerminal = `stty rows 33 cols 99; ${words('pod', 'exec', '-t', 'entered', '--').join(' ')} sh -c "test -t 0 && stty size; exit 5"`;
  const terminal = await systemChildren.capture(['script', '-qec', inTerminal, '/dev/null']);
  assert.equal(terminal.code, 5);
  assert.match(terminal.stdout.toString(), /33 99\r\n/);
  await writeFile('/var/tmp/brought', 'by cp\n');
  await done(['pod', 'cp', '/var/tmp/brought', 'entered:/tmp/brought']);
  assert.equal(await inside('entered', 'cat /tmp/brought'), 'by cp\n');
  await rm('/var/tmp/brought');
  await remove('entered');
});

test('a container is told to end, has its grace period, and its log is whole', async () => {
  const never = { restartPolicy: 'Never' };
  const slow =
    'trap "sleep 1; printf unterminated; exit 9" TERM; echo up; echo down >&2; while :; do sleep 0.05; done';
  const stubborn = 'trap "" TERM; echo up; while :; do sleep 0.05; done';
  const usr = { ...container('main', slow.replaceAll('TERM', 'USR1')), lifecycle: { stopSignal: 'SIGUSR1' } };
  const os = { os: { name: 'linux' } };
  await apply(
    'slow',
    pod('slow', [container('main', slow)], { ...never, terminationGracePeriodSeconds: 20 }),
  );
  await apply('stubborn', pod('stubborn', [container('main', stubborn)], { activeDeadlineSeconds: 60 }));
  await apply('usr', pod('usr', [usr], { ...never, ...os, terminationGracePeriodSeconds: 20 }));
  const names = ['slow', 'stubborn', 'usr'];
  const units = await Promise.all(
    names.map(async name => {
      const { metadata } = await until(name, 'is ready', isReady);
      return `pod-default-${name}-main-${metadata?.uid}`;
    }),
  );
  const logs = (name: string) => done(['pod', 'logs', name]);
  await eventually(async () => (await logs('slow')).includes('down') || undefined, 'both streams are logged');
  const [first = '', second = '', third = ''] = units;
  await Promise.all([first, third].map(unit => system('systemctl', 'stop', unit)));
  for (const name of ['slow', 'usr']) {
    const end = await ended(name);
    assert.deepEqual([end?.reason, end?.exitCode], ['Error', 9], name);
    // Two streams are two pipes: which of them is read first nobody knows.
    assert.match(await logs(name), /^(?:up\ndown|down\nup)\nunterminated$/, name);
  }
  const begin = performance.now();
  await remove('stubborn');
  await gone('stubborn');
  const seconds = (performance.now() - begin) / 1000;
  assert.ok(seconds > 1.5 && seconds < 15, `it took ${seconds} s`);
  assert.match(
    await system('journalctl', '--no-pager', '-o', 'cat', '-u', `${second}.service`),
    /SIGKILL|status=9\/KILL/,
  );
  await Promise.all([remove('slow'), remove('usr')]);
});

test('an agent that is killed and started again finds its containers as they are, and what they ended with', async () => {
  const short = container('short', 'sleep 0.6; exit 5');
  const victim = container('victim', forever);
  await apply(
    'stays',
    pod('stays', [container('main', forever), short, victim], { restartPolicy: 'OnFailure' }),
  );
  const running = await until('stays', 'runs', ({ containerStatuses: all = [] }) =>
    all.every(each => each.started),
  );
  const of = ({ status }: typeof running, name: string) =>
    status?.containerStatuses?.find(each => each.name === name);
  await host.agent.kill();
  const { uid } = running.metadata ?? {};
  const pid = await readFile(`/run/spawnlet/app/pod-default-stays-victim-${uid}/pid`, 'utf8');
  process.kill(Number(pid), 'SIGKILL');
  const unit = (name: string) => `pod-default-stays-${name}-${uid}.service`;
  for (const name of ['short', 'victim'])
    await eventually(
      async () => /failed/.test(await system('systemctl', 'show', '-P', 'ActiveState', unit(name))),
      `${name} has ended while nobody looked`,
    );
  host.agent.start();
  const later = await until('stays', 'has told the ends', ({ containerStatuses: all = [] }) =>
    all.filter(({ name }) => name !== 'main').every(({ restartCount }) => restartCount > 0),
  );
  assert.equal(of(later, 'main')?.containerID, of(running, 'main')?.containerID);
  assert.equal(of(later, 'main')?.restartCount, 0);
  for (const [name, code] of [
    ['short', 5],
    ['victim', 137],
  ] as const) {
    const last = of(later, name)?.lastState?.terminated;
    assert.deepEqual([last?.exitCode, last?.containerID], [code, of(running, name)?.containerID], name);
  }
  assert.ok((await eventsOf('stays')).includes('Started main x1'));
  await inside('stays', 'true');
  await remove('stays');
  await gone('stays');
});

test('who attaches has what the container writes from then on, and its exit code', async () => {
  const script =
    'echo before; until [ -e /tmp/go ]; do sleep 0.05; done; echo out; echo err >&2; sleep 0.2; printf end; exit 6';
  await apply('attached', pod('attached', [container('main', script)], { restartPolicy: 'Never' }));
  await until('attached', 'is ready', isReady);
  await eventually(
    async () => (await done(['pod', 'logs', 'attached'])) === 'before\n' || undefined,
    'it has begun',
  );
  const attached = systemChildren.capture(words('pod', 'attach', 'attached'));
  const follower =
    'ps -e -o args= | grep -q "^journalctl .*--follow.*pod-default-attached" && echo there || :';
  await eventually(
    async () => (await system('sh', '-c', follower)) === 'there\n' || undefined,
    'it is attached',
  );
  await inside('attached', ': > /tmp/go');
  const { code, stdout, stderr } = await attached;
  assert.deepEqual([code, stdout.toString(), stderr], [6, 'out\nend', 'err\n']);
  assert.match((await spawnlet(['pod', 'attach', '-i', 'attached'])).err, /not running/);
  await remove('attached');
});

test('who attaches with an input writes to the container, whose input ends where it says so', async () => {
  const echoes = 'while read -r line; do echo "heard $line"; done; exit 9';
  const once = container('main', echoes, { stdin: true, stdinOnce: true });
  await apply('once', pod('once', [once], { restartPolicy: 'Never' }));
  const kept = container(
    'main',
    'read -r line; echo "first $line"; read -r line; echo "then $line"; exit 8',
    { stdin: true },
  );
  await apply('kept', pod('kept', [kept], { restartPolicy: 'Never' }));
  await apply('deaf', pod('deaf', [container('main', `read -r line; echo "read $?"; ${forever}`)]));
  for (const name of ['once', 'kept', 'deaf']) await until(name, 'is ready', isReady);
  const attach = (name: string, input: string) => spawnlet(['pod', 'attach', '-i', name], { input });
  const { code, out } = await attach('once', 'one\n');
  assert.deepEqual([code, out], [9, 'heard one\n']);
  const first = attach('kept', 'one\n');
  await eventually(
    async () => (await done(['pod', 'logs', 'kept'])) === 'first one\n' || undefined,
    'the first line has come',
  );
  const second = await attach('kept', 'two\n');
  assert.deepEqual([second.code, second.out], [8, 'then two\n']);
  assert.equal((await first).code, 8);
  assert.equal(await done(['pod', 'logs', 'deaf']), 'read 1\n');
  assert.match((await attach('deaf', 'x')).err, /ERR_NO_STDIN/);
  await Promise.all(['once', 'kept', 'deaf'].map(remove));
});

test('what systemd-nspawn cannot give is refused by name', async () => {
  const volumeMounts = [{ name: 'v', mountPath: '/v', mountPropagation: 'Bidirectional' }];
  const securityContext = { allowPrivilegeEscalation: true };
  const refused = pod(
    'refused',
    [container('main', 'true', { tty: true, volumeMounts }), container('b', 'true', { securityContext })],
    { hostUsers: false, shareProcessNamespace: true, volumes: [{ name: 'v', hostPath: { path: '/var' } }] },
  );
  const tried = await spawnlet(['pod', 'apply', '--dry-run', '-f', '-'], { input: JSON.stringify(refused) });
  assert.notEqual(tried.code, 0);
  for (const path of [
    'spec.containers[0].tty',
    'spec.containers[1].securityContext',
    'spec.hostUsers',
    'spec.shareProcessNamespace',
  ])
    assert.ok(tried.err.includes(`${path} is not supported by the engine nspawn: `), `${path}: ${tried.err}`);
});
