// runs in a lab: bookworm
// Programs of the host as pods: packages, and paths. Manifests are of the shape that systemk's examples have.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { access, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { systemChildren } from '../../src/host/child.ts';
import { done, eventually, spawnlet, system, words } from '../app/tools.ts';
import { makeDeb, useDebArchive } from '../harness/deb-archive.ts';
import { apply, eventsOf, gone, isReady, podOf, remove, type TestAgent, until, useAgent } from './agent.ts';
import { nginx, prometheus, slow, tool, uptimed } from './host-packages.ts';

let agent: TestAgent;
const archive = '/var/tmp/archive';
const gate = '/var/tmp/gate';

before(async () => {
  const packages = [uptimed, prometheus, ...nginx, tool, slow('slow-a', gate), slow('slow-b', gate)];
  await useDebArchive(archive, packages);
  agent = await useAgent('--default-runtime', 'host');
});

after(async () => {
  await agent[Symbol.asyncDispose]();
});

const logOf = async (name: string, ...flags: string[]) =>
  (await spawnlet(['pod', 'logs', ...flags, name])).out;
const saying = (name: string, text: string | RegExp) =>
  eventually(async () => {
    const log = await logOf(name);
    return log.match(text) ? log : undefined;
  }, `${name} says ${text}`);
const exec = (name: string, ...words: string[]) => spawnlet(['pod', 'exec', name, '--', ...words]);
const shell = async (name: string, script: string) => (await exec(name, 'sh', '-c', script)).out;
const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );
/** The message of a container that waits, in the reason that is meant or in the back-off after it. */
async function messageOf(name: string, reason: string): Promise<string> {
  const reasons = [reason, 'ImagePullBackOff'];
  const { status } = await until(name, `waits: ${reason}`, ({ containerStatuses: [only] = [] }) =>
    reasons.includes(only?.state?.waiting?.reason ?? ''),
  );
  return status?.containerStatuses?.[0]?.state?.waiting?.message ?? '';
}

test('a package that is not there is installed and runs as its unit says, and its own service is masked', async () => {
  await apply('uptimed', podOf('uptimed', [{ name: 'uptimed', image: 'uptimed' }]));
  const { status, metadata } = await until('uptimed', 'is ready', isReady);
  await saying('uptimed', 'uptimed -f: no useable database found');
  const [only] = status?.containerStatuses ?? [];
  assert.deepEqual([only?.image, only?.imageID], ['uptimed:1.0', 'apt://uptimed@1.0']);
  assert.deepEqual([status?.podIP, status?.phase], [status?.hostIP, 'Running']);
  assert.equal((await exec('uptimed', 'sh', '-c', 'exit 7')).code, 7);
  assert.match(await shell('uptimed', 'cat /proc/self/cgroup'), new RegExp(`uptimed-${metadata?.uid}`));
  const inTerminal = `${words('pod', 'exec', '-t', 'uptimed', '--').join(' ')} sh -c "test -t 0 && id -un; exit 5"`;
  const terminal = await systemChildren.capture(['script', '-qec', inTerminal, '/dev/null']);
  assert.equal(terminal.code, 5);
  // script echoes the end of its own input, before or after.
  assert.match(terminal.stdout.toString(), /^(?:\^@)?root\r\n(?:\^@)?$/);
  await writeFile('/var/tmp/brought', 'by cp\n');
  await done(['pod', 'cp', '/var/tmp/brought', 'uptimed:/tmp/brought']);
  assert.equal(await shell('uptimed', 'cat /tmp/brought'), 'by cp\n');
  const { err } = await spawnlet(['pod', 'attach', '-i', 'uptimed']);
  assert.match(err, /reads no standard input \[ERR_NO_STDIN\]/);
  assert.deepEqual(
    (await eventsOf('uptimed')).map(event => event.split(' ', 1)[0]),
    ['Pulling', 'Pulled', 'Created', 'Started'],
  );
  const state = await system('sh', '-c', 'systemctl is-enabled uptimed; systemctl is-active uptimed; :');
  assert.deepEqual(state.trim().split('\n'), ['masked', 'inactive']);
  const names = await shell('uptimed', 'env | sort');
  assert.match(names, new RegExp(`^SYSTEMK_NODE_INTERNAL_IP=${status?.hostIP}$`, 'm'));
  assert.match(names, new RegExp(`^SPAWNLET_NODE_EXTERNAL_IP=${status?.hostIP}$`, 'm'));
  await remove('uptimed');
  await gone('uptimed');
});

test('a configuration of a ConfigMap, a user by name, and options of the package: as a Prometheus has them', async () => {
  const pod = podOf(
    'prometheus',
    [
      {
        name: 'prometheus',
        image: 'prometheus',
        args: ['--config.file=/etc/prometheus/prometheus.yml', '--storage.tsdb.path=/tmp/prometheus'],
        volumeMounts: [
          { name: 'config', mountPath: '/etc/prometheus', readOnly: true },
          { name: 'data', mountPath: '/var/lib/prometheus' },
        ],
      },
    ],
    {
      securityContext: { windowsOptions: { runAsUserName: 'nobody' } },
      volumes: [
        { name: 'config', configMap: { name: 'prometheus' } },
        { name: 'data', emptyDir: {} },
      ],
    },
  );
  const config = (text: string) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'prometheus' },
    data: { 'prometheus.yml': text },
  });
  await apply('config', config('scrape: nothing\n'));
  await apply('prometheus', pod);
  await until('prometheus', 'is ready', isReady);
  const log = await saying('prometheus', 'scrape: nothing');
  assert.match(
    log,
    /^prometheus as nobody with: --config.file=\/etc\/prometheus\/prometheus.yml --storage.tsdb.path=\/tmp\/prometheus$/m,
  );
  assert.equal(
    await shell('prometheus', 'touch /var/lib/prometheus/a && id -un; stat -c %U:%a /run/prometheus'),
    'nobody\nnobody:750\n',
  );
  assert.equal(await isThere('/var/lib/prometheus/a'), false);
  assert.equal(await isThere('/run/prometheus'), false);
  await apply('config', config('scrape: all\n'));
  await eventually(
    async () => (await shell('prometheus', 'cat /etc/prometheus/prometheus.yml')) === 'scrape: all\n',
    'the new configuration is there',
  );
  assert.equal(await readFile('/etc/prometheus/prometheus.yml', 'utf8'), 'of the package\n');
  await apply('plain', podOf('plain', [{ name: 'prometheus', image: 'prometheus:1.0' }]));
  await saying('plain', 'prometheus as prometheus with: --web.listen-address=:9090 --log.level=info');
  await Promise.all([remove('prometheus'), remove('config'), remove('plain')]);
  await Promise.all([gone('prometheus'), gone('plain')]);
});

test('a daemon that leaves the foreground is followed, as an nginx is, and is asked to stop in its own way', async () => {
  const volumes = [{ name: 'log', emptyDir: {} }];
  const volumeMounts = [{ name: 'log', mountPath: '/var/log/nginx' }];
  await apply('nginx', podOf('nginx', [{ name: 'nginx', image: 'nginx', volumeMounts }], { volumes }));
  const { metadata } = await until('nginx', 'is ready', isReady);
  assert.equal(await isThere('/run/nginx.pid'), false);
  assert.equal((await system('systemctl', 'is-enabled', 'nginx').catch(() => 'masked\n')).trim(), 'masked');
  const file = `/var/lib/spawnlet/pods/${metadata?.uid}/volumes/empty-dir/log/error.log`;
  await exec('nginx', 'nginx', '-s', 'quit');
  const again = await until(
    'nginx',
    'ran again',
    ({ containerStatuses: [only] = [] }) => only?.restartCount === 1 && only.ready,
  );
  const { exitCode, reason } = again.status?.containerStatuses?.[0]?.lastState?.terminated ?? {};
  assert.deepEqual([exitCode, reason], [0, 'Completed']);
  assert.match(
    await readFile(file, 'utf8').catch(() => shell('nginx', 'cat /var/log/nginx/error.log')),
    /quit/,
  );
  await remove('nginx');
  await gone('nginx');
  const args = ['-g', 'daemon off;'];
  await apply('front', podOf('front', [{ name: 'nginx', image: 'nginx', args, volumeMounts }], { volumes }));
  await until('front', 'is ready', isReady);
  await remove('front');
  await gone('front');
});

test('the host is seen read-only, without homes, keys, sockets that command it, and devices; privileges do not grow', async () => {
  const look = `
    id -un
    touch /etc/x /usr/x /var/x 2>&1 | grep -c Read-only
    find /root /home /var/lib/spawnlet /etc/ssh -mindepth 1
    cat /etc/shadow
    for each in /run/systemd/private /run/dbus/system_bus_socket /run/docker.sock /run/spawnlet; do [ ! -e $each ] || echo $each; done
    systemctl list-units > /dev/null 2>&1 && echo commands
    [ ! -e /dev/kmsg ] && [ ! -e /dev/mem ] && echo no devices
    mknod /tmp/null c 1 3 2> /dev/null && cat /tmp/null
    grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t' | paste -sd' '
    ls /tmp | wc -l
    unshare --mount true 2> /dev/null || echo no namespaces
    echo over`;
  await mkdir('/etc/ssh', { recursive: true });
  await Promise.all(['/tmp/of-the-host', '/etc/ssh/key', '/root/file'].map(path => writeFile(path, 'x')));
  await apply(
    'looks',
    podOf('looks', [{ name: 'sh', image: '/bin/sh', args: ['-c', look] }], { restartPolicy: 'Never' }),
  );
  const log = await saying('looks', /^over$/m);
  assert.equal(log, 'root\n3\nno devices\nNoNewPrivs:1 Seccomp:2\n0\nno namespaces\nover\n');
  const own = 'id -u; id -g; grep -E "^(CapBnd|NoNewPrivs):" /proc/self/status; sleep 1000';
  const securityContext = {
    runAsUser: 4321,
    runAsGroup: 99,
    allowPrivilegeEscalation: true,
    capabilities: { drop: ['ALL'], add: ['CHOWN'] },
  };
  await apply(
    'own',
    podOf('own', [{ name: 'sh', image: '/bin/sh', args: ['-c', own], securityContext }], {
      terminationGracePeriodSeconds: 1,
    }),
  );
  const said = await saying('own', /NoNewPrivs/);
  assert.match(said, /^4321\n99\nCapBnd:\t0000000000000001\nNoNewPrivs:\t0$/m);
  assert.equal(
    await shell('own', 'id -u; id -g; grep CapBnd /proc/self/status'),
    '4321\n99\nCapBnd:\t0000000000000001\n',
  );
  await Promise.all([remove('looks'), remove('own')]);
  await Promise.all([gone('looks'), gone('own')]);
});

test('probes, hooks, limits and the message of a program of the host are those of any container', async () => {
  const main = {
    name: 'main',
    image: 'bash',
    command: ['bash', '-c', 'trap "exit 0" TERM; echo $$ > /data/pid; while :; do sleep 0.05; done'],
    volumeMounts: [{ name: 'data', mountPath: '/data' }],
    readinessProbe: { exec: { command: ['test', '-e', '/data/open'] }, periodSeconds: 1 },
    lifecycle: {
      postStart: { exec: { command: ['sh', '-c', 'touch /data/begun'] } },
      preStop: { exec: { command: ['sh', '-c', 'echo stopping >> /data/log'] } },
    },
    resources: { limits: { memory: '64Mi', cpu: '500m' } },
  };
  const volumes = [{ name: 'data', hostPath: { path: '/var/tmp/data', type: 'DirectoryOrCreate' } }];
  const fails = { name: 'fails', image: '/bin/sh', args: ['-c', 'echo why > /dev/termination-log; exit 3'] };
  await apply('whole', podOf('whole', [main, fails], { volumes, restartPolicy: 'OnFailure' }));
  const pod = await until('whole', 'has failed once', ({ containerStatuses: all = [] }) =>
    all.some(({ lastState, state }) => (state?.terminated ?? lastState?.terminated)?.exitCode === 3),
  );
  const failed = pod.status?.containerStatuses?.find(({ name }) => name === 'fails');
  const { message, reason } = failed?.state?.terminated ?? failed?.lastState?.terminated ?? {};
  assert.deepEqual([message, reason], ['why\n', 'Error']);
  await eventually(() => isThere('/var/tmp/data/begun'), 'the postStart hook has run');
  assert.equal(pod.status?.containerStatuses?.find(({ name }) => name === 'main')?.ready, false);
  await writeFile('/var/tmp/data/open', '');
  await until('whole', 'has one that is ready', ({ containerStatuses: all = [] }) =>
    all.some(({ ready }) => ready),
  );
  const unit = `pod-default-whole-main-${pod.metadata?.uid}.service`;
  const shown = await system('systemctl', 'show', '--property=MemoryMax,CPUQuotaPerSecUSec,Slice', unit);
  assert.match(shown, /MemoryMax=67108864/);
  assert.match(shown, /CPUQuotaPerSecUSec=500ms/);
  assert.match(shown, /Slice=kubepods-burstable-pod/);
  await remove('whole');
  await gone('whole');
  assert.equal(await readFile('/var/tmp/data/log', 'utf8'), 'stopping\n');
  // Of the places that were made on the host for its mounts nothing is left.
  assert.deepEqual(await Promise.all(['/data', '/dev/termination-log'].map(isThere)), [false, false]);
  await rm('/var/tmp/data', { recursive: true });
});

test('what cannot run is told: no such package or version, no command, no program, no such user', async () => {
  const cases = [
    ['nowhere', { image: 'no-such-package' }, 'ErrImagePull', /Unable to locate package no-such-package/],
    ['other', { image: 'uptimed:2.0' }, 'ErrImagePull', /uptimed is here in version 1.0, not 2.0/],
    [
      'wordless',
      { image: 'tool:1:2.0-3' },
      'CreateContainerError',
      /no unit that says what to run.*set command/,
    ],
    [
      'programless',
      { image: 'bash', command: ['no-such-program'] },
      'RunContainerError',
      /not found in \$PATH/,
    ],
    ['unpinned', { image: 'https://example.com/a.deb' }, 'ErrImagePull', /has no checksum/],
    ['odd', { image: 'Not A Package' }, 'InvalidImageName', /is the name of no package/],
    [
      'stranger',
      { image: '/bin/sh', securityContext: { windowsOptions: { runAsUserName: 'nobody-here' } } },
      'CreateContainerConfigError',
      /the host has no user "nobody-here"/,
    ],
    ['never', { image: 'slow-a', imagePullPolicy: 'Never' }, 'ErrImageNeverPull', /not installed/],
  ] as const;
  await Promise.all(
    cases.map(([name, container]) => apply(name, podOf(name, [{ name: 'main', ...container }]))),
  );
  for (const [name, , reason, message] of cases) assert.match(await messageOf(name, reason), message, name);
  const missing = { name: 'main', image: '/no/such/program' };
  await apply('missing', podOf('missing', [missing], { restartPolicy: 'Never' }));
  const { status } = await until('missing', 'has failed', ({ phase }) => phase === 'Failed');
  assert.equal(status?.containerStatuses?.[0]?.state?.terminated?.reason, 'StartError');
  const names = ['missing', ...cases.map(([name]) => name)];
  await Promise.all(names.map(remove));
  await Promise.all(names.map(gone));
});

test('a package by its URL is taken if it is the one whose checksum is named', async () => {
  const file = await makeDeb('/var/tmp', {
    name: 'fetched',
    files: { '/usr/bin/fetched': '#!/bin/sh\necho fetched; exec sleep 1000\n' },
  });
  const bytes = await readFile(file);
  let asked = 0;
  const server = createServer((_request, response) => {
    asked++;
    response.end(bytes);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/fetched_1.0_all.deb`;
  const sum = createHash('sha256').update(bytes).digest('hex');
  const wrong = sum.replace(/^./, first => (first === '0' ? '1' : '0'));
  const container = (hash: string) => ({
    name: 'main',
    image: `${url}#sha256=${hash}`,
    command: ['fetched'],
  });
  await apply('bad', podOf('bad', [container(wrong)]));
  assert.match(await messageOf('bad', 'ErrImagePull'), new RegExp(`has sha256 ${sum}, not ${wrong}`));
  await remove('bad');
  await gone('bad');
  await apply('fetched', podOf('fetched', [container(sum)], { terminationGracePeriodSeconds: 1 }));
  await saying('fetched', 'fetched');
  const before = asked;
  await apply('twice', podOf('twice', [container(sum)], { terminationGracePeriodSeconds: 1 }));
  await saying('twice', 'fetched');
  assert.equal(asked, before);
  await Promise.all([remove('fetched'), remove('twice')]);
  await Promise.all([gone('fetched'), gone('twice')]);
  server.close();
});

test('installs come one after the other, go on without the agent, and end dpkg well though apt is killed', async () => {
  const slowPod = (name: string) => podOf(name, [{ name: 'main', image: name, command: [name] }]);
  await apply('slow-a', slowPod('slow-a'));
  await apply('slow-b', slowPod('slow-b'));
  await eventually(() => isThere(`${gate}.begun`), 'an install is under way');
  const shown = await system(
    'systemctl',
    'show',
    '--property=MainPID,ControlGroup',
    'spawnlet-package.service',
  );
  await agent.kill();
  agent.start();
  // The second one waits for the first, which its agent has left alone.
  await until('slow-b', 'is there', () => true);
  assert.equal(
    await system('systemctl', 'show', '--property=MainPID,ControlGroup', 'spawnlet-package.service'),
    shown,
  );
  await system('sh', '-c', 'pkill -KILL apt-get; pkill -KILL dpkg; :');
  await writeFile(gate, '');
  await Promise.all(['slow-a', 'slow-b'].map(name => saying(name, `${name} runs`)));
  assert.equal(await system('dpkg', '--audit'), '');
  const log = await system(
    'journalctl',
    '--no-pager',
    '-o',
    'cat',
    '-u',
    'spawnlet-package.service',
    '-g',
    '^(Starting|Finished|Failed)',
  );
  const begun = log.split('\n').filter(line => /^(?:Starting|Finished|Failed)/.test(line));
  for (const [at, line] of begun.entries())
    assert.equal(line.startsWith('Starting'), at % 2 === 0, `no two at once: ${begun.join(' | ')}`);
  await Promise.all([remove('slow-a'), remove('slow-b')]);
  await Promise.all([gone('slow-a'), gone('slow-b')]);
});

test('what the engine cannot give is refused by name, and a pod may name another engine', async () => {
  const { code, err } = await spawnlet(['pod', 'apply', '--dry-run', '-f', '-'], {
    input: JSON.stringify(
      podOf('refused', [{ name: 'main', image: 'bash', tty: true }], { hostname: 'other' }),
    ),
  });
  assert.notEqual(code, 0);
  assert.match(err, /spec.containers\[0\].tty is not supported by the engine host/);
  assert.match(err, /spec.hostname is not supported by the engine host/);
  const { code: taken } = await spawnlet(['pod', 'apply', '--dry-run', '-f', '-'], {
    input: JSON.stringify(
      podOf('taken', [{ name: 'main', image: 'bash', tty: true }], { runtimeClassName: 'crun' }),
    ),
  });
  assert.equal(taken, 0);
  const flags = ['--default-runtime', 'host', '--allow-unverified-packages'];
  const plan = await done(['kubelet', 'install', '--dry-run', ...flags]);
  assert.match(plan, /ExecStart=.* kubelet --default-runtime=host --allow-unverified-packages$/m);
});
