// runs in a lab: bookworm trixie +containernetworking-plugins +nftables
// Manifests of a directory run as units, and what happens to them is told as Kubernetes tells it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { done, eventually, spawnlet, system } from '../app/tools.ts';
import {
  apply,
  container,
  eventsOf,
  forever,
  gone,
  image,
  isReady,
  ofPods,
  podNamed,
  podOf,
  remove,
  until,
  useHost,
} from './agent.ts';

const host = useHost();

test('a pod is units, with an address, names and variables, and leaves nothing', async () => {
  const before = await ofPods();
  const env = [
    { name: 'WHO', value: 'you' },
    { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
  ];
  await apply(
    'web',
    podOf('web', [container('main', `echo hello $(WHO) $(IP); uname -n; ${forever}`, { env })]),
  );
  const pod = await until('web', 'is ready', isReady);
  const { phase, podIP, hostIP, containerStatuses = [], qosClass } = pod.status ?? {};
  assert.deepEqual([phase, qosClass], ['Running', 'BestEffort']);
  assert.match(podIP ?? '', /^10\.88\.0\.\d+$/);
  assert.match(hostIP ?? '', /^10\.77\./);
  const invocation = containerStatuses[0]?.containerID?.replace('spawnlet://', '') ?? '';
  const unit = `pod-default-web-main-${pod.metadata?.uid}.service`;
  assert.equal(await system('systemctl', 'show', '-P', 'InvocationID', unit), `${invocation}\n`);
  const said = await eventually(async () => {
    const log = await system(
      'journalctl',
      '--namespace=spawnlet',
      '-o',
      'cat',
      `CONTAINER_ID_FULL=${invocation}`,
    );
    return log.includes('web\n') ? log : undefined;
  }, 'the container has said its name');
  assert.match(said, new RegExp(`hello you ${podIP}`));
  assert.match(await done(['pod', 'describe', 'web']), new RegExp(unit));
  assert.match(await done(['pod', 'exec', 'web', '--', 'cat', '/etc/hosts']), new RegExp(`${podIP}\tweb`));
  const { code } = await spawnlet(['pod', 'exec', 'web', '--', 'sh', '-c', 'exit 7']);
  assert.equal(code, 7);
  assert.notEqual(await ofPods(), before);
  await remove('web');
  await eventually(async () => (await podNamed('web')) === undefined, 'the pod is gone');
  assert.equal(await ofPods(), before);
});

test('init containers run in order, each to its end, before the others', async () => {
  const init = (name: string) => ({ ...container(name, 'true'), terminationMessagePolicy: 'File' });
  await apply(
    'staged',
    podOf('staged', [container('main', forever)], { initContainers: [init('a'), init('b')] }),
  );
  const { status } = await until('staged', 'is ready', isReady);
  const [a, b] = status?.initContainerStatuses ?? [];
  const main = status?.containerStatuses?.[0];
  assert.deepEqual([a?.state?.terminated?.reason, b?.state?.terminated?.exitCode], ['Completed', 0]);
  const times = [
    a?.state?.terminated?.finishedAt,
    b?.state?.terminated?.startedAt,
    main?.state?.running?.startedAt,
  ];
  assert.deepEqual(
    times,
    times.toSorted((a, b) => Date.parse(a ?? '') - Date.parse(b ?? '')),
  );
  await remove('staged');
});

test('a container that fails is started again, then waits in its back-off', async () => {
  await apply('loops', podOf('loops', [container('main', 'echo once; exit 3')]));
  const { status } = await until('loops', 'waits in its back-off', ({ containerStatuses: [only] = [] }) => {
    return only?.state?.waiting?.reason === 'CrashLoopBackOff' && only.restartCount === 1;
  });
  const [only] = status?.containerStatuses ?? [];
  const { reason, exitCode } = only?.lastState?.terminated ?? {};
  assert.deepEqual([reason, exitCode, status?.phase], ['Error', 3, 'Running']);
  const events = await eventsOf('loops');
  assert.deepEqual(events, ['Pulled main x2', 'Created main x2', 'Started main x2', 'BackOff main x1']);
  assert.match(
    await done(['pod', 'describe', 'loops']),
    /Normal +Started +.*\(x2 over .*\) +main .*\n +Warning +BackOff +.* main +Back-off restarting failed container main in pod loops_default\(/,
  );
  await remove('loops');
});

test('a pod whose containers have ended for good has Succeeded or Failed, and runs no more', async () => {
  for (const [name, script, phase] of [
    ['well', 'true', 'Succeeded'],
    ['badly', 'exit 4', 'Failed'],
  ] as const) {
    await apply(name, podOf(name, [container('main', script)], { restartPolicy: 'Never' }));
    const pod = await until(name, `has ${phase}`, status => status.phase === phase);
    assert.equal(pod.status?.containerStatuses?.[0]?.restartCount, 0);
    const unit = await system(
      'systemctl',
      'list-units',
      '--all',
      '--plain',
      '--no-legend',
      `pod-default-${name}-*`,
    );
    assert.equal(unit, '');
  }
  await Promise.all([remove('well'), remove('badly')]);
});

test('a process that is killed for want of memory is told as such', async () => {
  const greedy = 'perl -e \'my $x = "x" x 200_000_000; sleep 100\'';
  const limits = { resources: { limits: { memory: '32Mi' } } };
  await apply('greedy', podOf('greedy', [container('main', greedy, limits)], { restartPolicy: 'Never' }));
  const { status } = await until('greedy', 'has failed', ({ phase }) => phase === 'Failed');
  const { reason, exitCode } = status?.containerStatuses?.[0]?.state?.terminated ?? {};
  assert.deepEqual([reason, exitCode, status?.qosClass], ['OOMKilled', 137, 'Burstable']);
  await remove('greedy');
});

test('an agent that is killed and started again finds its pods as they are', async () => {
  await apply('stays', podOf('stays', [container('main', forever), container('short', 'sleep 0.6; exit 5')]));
  const running = await until('stays', 'runs', ({ containerStatuses: all = [] }) =>
    all.every(each => each.started),
  );
  const idOf = (pod: typeof running, name: string) =>
    pod.status?.containerStatuses?.find(each => each.name === name)?.containerID;
  await host.agent.kill();
  await eventually(async () => {
    const id = idOf(running, 'short')?.replace('spawnlet://', '') ?? '';
    const unit = `pod-default-stays-short-${running.metadata?.uid}.service`;
    const shown = await system('systemctl', 'show', '-P', 'ActiveState', '-P', 'InvocationID', unit);
    return shown.includes(id) && shown.includes('failed');
  }, 'the short container has ended while nobody looked');
  host.agent.start();
  const later = await until('stays', 'has told the end', ({ containerStatuses: all = [] }) =>
    all.some(({ restartCount }) => restartCount > 0),
  );
  assert.equal(idOf(later, 'main'), idOf(running, 'main'));
  const short = later.status?.containerStatuses?.find(({ name }) => name === 'short');
  assert.equal(short?.lastState?.terminated?.exitCode, 5);
  assert.equal(short?.lastState?.terminated?.containerID, idOf(running, 'short'));
  const events = await eventsOf('stays');
  assert.ok(events.includes('Started main x1'), events.join(', '));
  // Or more: it ends again soon.
  assert.ok(
    events.some(event => /^Started short x[2-9]$/.test(event)),
    events.join(', '),
  );
  await remove('stays');
});

test('probes decide when a container is ready, and when it is started anew', async () => {
  const probe = (file: string, more: object = {}) => ({
    exec: { command: ['ls', `/tmp/${file}`] },
    periodSeconds: 1,
    failureThreshold: 1,
    ...more,
  });
  const script = `sleep 0.5; : > /tmp/up; : > /tmp/ready; ${forever}`;
  const probes = {
    startupProbe: probe('up', { failureThreshold: 30 }),
    readinessProbe: probe('ready'),
    livenessProbe: probe('up'),
  };
  await apply('probed', podOf('probed', [container('main', script, probes)]));
  const begun = await until(
    'probed',
    'runs',
    ({ containerStatuses: [only] = [] }) => only?.state?.running !== undefined,
  );
  assert.ok(!isReady(begun.status ?? {}));
  await until('probed', 'is ready', isReady);
  await done(['pod', 'exec', 'probed', 'rm', '/tmp/ready']);
  await until('probed', 'is ready no more', status => !isReady(status));
  await done(['pod', 'exec', 'probed', 'rm', '/tmp/up']);
  const again = await until(
    'probed',
    'runs again',
    ({ containerStatuses: [only] = [] }) => (only?.restartCount ?? 0) > 0,
  );
  assert.ok(again);
  const events = await done(['pod', 'events', 'probed']);
  assert.match(events, /Warning +Unhealthy +default +Pod\/probed +main +Liveness probe failed/);
  assert.match(events, /Normal +Killing .* Container main failed liveness probe, will be restarted/);
  await remove('probed');
});

test('hooks run after the start and before the end, and a container leaves its last words', async () => {
  const lifecycle = {
    postStart: { exec: { command: ['sh', '-c', 'echo begun > /tmp/hook'] } },
    preStop: { exec: { command: ['sh', '-c', 'echo -n "told $(cat /tmp/hook)" > /dev/termination-log'] } },
  };
  const initContainers = [
    { ...container('words', 'echo no; echo why; exit 1'), terminationMessagePolicy: 'FallbackToLogsOnError' },
  ];
  await apply('hooked', podOf('hooked', [container('main', forever, { lifecycle })]));
  await until('hooked', 'is ready', isReady);
  assert.equal(await done(['pod', 'exec', 'hooked', 'cat', '/tmp/hook']), 'begun\n');
  await apply(
    'words',
    podOf('words', [container('main', 'true')], { initContainers, restartPolicy: 'Never' }),
  );
  const { status } = await until('words', 'has failed', ({ phase }) => phase === 'Failed');
  assert.equal(status?.initContainerStatuses?.[0]?.state?.terminated?.message, 'no\nwhy\n');
  await Promise.all([remove('hooked'), remove('words')]);
});

test('a port of the host leads to the container, from here and from elsewhere', async () => {
  const server = `perl -MIO::Socket -e '$s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die; while ($c = $s->accept) { print $c "hello\\n"; close $c }'`;
  const ports = [{ containerPort: 80, hostPort: 8123 }];
  await apply(
    'served',
    podOf('served', [
      container('main', server, { ports, readinessProbe: { tcpSocket: { port: 80 }, periodSeconds: 1 } }),
    ]),
  );
  const { status } = await until('served', 'is ready', isReady);
  const get = (host: string) =>
    system('perl', '-MIO::Socket', '-e', 'print IO::Socket::INET->new(shift)->getline', host);
  for (const place of ['127.0.0.1:8123', `${status?.hostIP}:8123`, `${status?.podIP}:80`])
    assert.equal(await get(place), 'hello\n', place);
  await remove('served');
});

test('a port of the host is a container’s or a pod’s, and never both', async () => {
  const publish = ['-p', '8124:80', image, 'sleep', '1000'];
  await done(['run', '-d', '--name', 'holder', ...publish]);
  const ports = [{ containerPort: 80, hostPort: 8124 }];
  const manifest = podOf('wanting', [container('main', forever, { ports })]);
  const tried = await spawnlet(['pod', 'apply', '-f', '-'], { input: JSON.stringify(manifest) });
  assert.match(tried.err, /port 8124\/tcp is container holder's.*ERR_PORT_TAKEN/);
  await apply('wanting', manifest);
  await eventually(
    async () =>
      (await done(['pod', 'describe', 'wanting']).catch(() => '')).includes('FailedCreatePodSandBox') ||
      undefined,
    'the pod says why it does not begin',
  );
  assert.match(await done(['pod', 'describe', 'wanting']), /port 8124\/tcp is container holder's/);
  await done(['rm', '-f', 'holder']);
  await until('wanting', 'is ready when the port is free', isReady);
  const { code, err } = await spawnlet(['run', '-d', '--name', 'late', ...publish]);
  assert.equal(code, 125);
  assert.match(err, /port 8124\/tcp is pod default\/wanting's.*ERR_PORT_TAKEN/);
  await remove('wanting');
  // The last container that went took nothing along that pods need to give their ports back.
  await gone('wanting');
  assert.doesNotMatch(await system('nft', 'list', 'map', 'inet', 'spawnlet_cni', 'published4'), /8124/);
});

test('other resources are given to a container that runs: by a restart only where it asks for one', async () => {
  const resizePolicy = [
    { resourceName: 'cpu', restartPolicy: 'NotRequired' },
    { resourceName: 'memory', restartPolicy: 'RestartContainer' },
  ];
  const pod = (memory: string, cpu: string) => {
    const resources = { limits: { memory, cpu } };
    return podOf('sized', [
      container('main', forever, { resources }),
      container('strict', forever, { resources, resizePolicy }),
    ]);
  };
  await apply('sized', pod('64Mi', '500m'));
  const { metadata, status } = await until('sized', 'is ready', isReady);
  const slice = `kubepods-pod${metadata?.uid?.replaceAll('-', '_')}.slice`;
  const limitsOf = async (name: string) =>
    (await system('systemctl', 'show', '-P', 'MemoryMax', '-P', 'CPUQuotaPerSecUSec', name))
      .trim()
      .split('\n')
      .toSorted()
      .join(' ');
  const unit = (name: string) => `pod-default-sized-${name}-${metadata?.uid}.service`;
  const limits = () => Promise.all([unit('main'), unit('strict'), slice].map(limitsOf));
  const text = (memory: number, cpu: string) => [`${memory << 20}`, cpu].toSorted().join(' ');
  const run = (of: typeof status, name: string) => {
    const one = of?.containerStatuses?.find(each => each.name === name);
    return [one?.containerID, one?.restartCount];
  };
  assert.deepEqual(await limits(), [text(64, '500ms'), text(64, '500ms'), text(128, '1s')]);

  await apply('sized', pod('64Mi', '1'));
  await eventually(async () => (await limits())[1] === text(64, '1s'), 'the units have the new limits');
  const faster = await podNamed('sized');
  for (const name of ['main', 'strict']) assert.deepEqual(run(faster?.status, name), run(status, name));

  await apply('sized', pod('96Mi', '1'));
  const larger = await until('sized', 'has run anew', all => run(all, 'strict')[1] === 1 && isReady(all));
  assert.equal(larger.metadata?.uid, metadata?.uid);
  assert.deepEqual(run(larger.status, 'main'), run(status, 'main'));
  assert.deepEqual(await limits(), [text(96, '1s'), text(96, '1s'), text(192, '2s')]);
  assert.match(host.agent.said(), /Killing: Container strict resize requires restart/);
  await remove('sized');
  await eventually(async () => (await podNamed('sized')) === undefined, 'the pod is gone');
  assert.equal(await system('sh', '-c', `ls /run/systemd/system.control | grep ${metadata?.uid} || :`), '');
});

test('what is not there yet is refused by name', async () => {
  await apply(
    'more',
    podOf('more', [container('main', forever)], { securityContext: { seLinuxOptions: { level: 's0' } } }),
  );
  await eventually(
    async () =>
      /more\.yaml:1: spec\.securityContext\.seLinuxOptions is not supported by the engine crun: not there yet/.test(
        host.agent.said(),
      ),
    'the agent says so',
  );
  await remove('more');
});

test('a process has the user, groups, capabilities and filter that the pod gives it, and no more', async () => {
  const securityContext = {
    runAsUser: 1000,
    runAsGroup: 3000,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
  };
  await apply(
    'confined',
    podOf('confined', [container('main', forever, { securityContext })], {
      securityContext: { supplementalGroups: [4000], fsGroup: 5000, runAsNonRoot: true },
    }),
  );
  await until('confined', 'is ready', isReady);
  const shown = await done([
    'pod',
    'exec',
    'confined',
    '--',
    'sh',
    '-c',
    'cat /proc/1/status; cat /proc/self/status; touch /x 2>/dev/null || echo read-only',
  ]);
  const values = (key: string) =>
    [...shown.matchAll(new RegExp(`^${key}:\\s*(.*?)\\s*$`, 'gm'))].map(match => match[1]);
  assert.deepEqual(values('Uid'), Array(2).fill('1000\t1000\t1000\t1000'));
  assert.deepEqual(values('Gid'), Array(2).fill('3000\t3000\t3000\t3000'));
  assert.deepEqual(values('CapBnd'), Array(2).fill('0000000000000400'));
  assert.deepEqual(values('NoNewPrivs'), ['1', '1']);
  assert.deepEqual(values('Seccomp'), ['2', '2']);
  for (const group of ['4000', '5000']) assert.match(values('Groups')[0] ?? '', new RegExp(`\\b${group}\\b`));
  await remove('confined');
  await apply(
    'rooted',
    podOf('rooted', [container('main', forever)], { securityContext: { runAsNonRoot: true } }),
  );
  await until(
    'rooted',
    'is refused',
    ({ containerStatuses: [only] = [] }) => only?.state?.waiting?.reason === 'CreateContainerConfigError',
  );
  await remove('rooted');
});
