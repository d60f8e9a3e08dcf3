// Programs that people run, from Debian's packages, as pods of a host with the agent as a unit.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { agentUnit } from '../../src/kubelet/unit.ts';
import type { Pod } from '../../src/pod/api/kubernetes.ts';
import { eventually } from '../app/tools.ts';
import { writeLayout } from '../harness/images.ts';
import { checkout, type TestLab, useLab } from '../harness/lab.ts';
import { serviceImage, users } from '../harness/service-images.ts';
import { isReady, podOf } from './agent.ts';
import { type LabPods, startPods } from './lab-pods.ts';
import { application, front, type WebServer, webServers } from './programs.ts';

const image = 'localhost/images:services';
/** Processes that a pod may have. */
const mostPids = 128;

let directory: string;
let lab: TestLab;
let pods: LabPods;

before(async () => {
  directory = await mkdtemp('/tmp/pods-real-');
  await writeLayout(join(directory, 'images'), { services: await serviceImage() });
  lab = await useLab({
    suite: 'trixie',
    packages: ['containernetworking-plugins', 'nftables'],
    binds: [`${directory}:${directory}:ro`],
  });
  await lab.read([join(checkout, 'bin/spawnlet'), 'image', 'pull', `oci:${directory}/images:services`]);
  pods = await startPods(lab, `--pod-max-pids=${mostPids}`);
});

after(async () => {
  await lab?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

afterEach(context => lab.explain(context));

const container = (name: string, command: readonly string[], more: object = {}) => ({
  name,
  image,
  command,
  ...more,
});

const configMap = (name: string, data: object) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
});

const statusOf = (pod: Pod | undefined, name = 'main') =>
  [...(pod?.status?.containerStatuses ?? []), ...(pod?.status?.initContainerStatuses ?? [])].find(
    each => each.name === name,
  );

const gone = (name: string) =>
  eventually(async () => (await pods.named(name)) === undefined, `pod ${name} is gone`);

const webPod = ({ name, command }: WebServer) =>
  podOf(
    name,
    [
      container('main', command, {
        ports: [{ containerPort: 80 }],
        readinessProbe: { httpGet: { path: '/page', port: 80 }, periodSeconds: 1 },
        volumeMounts: [{ name: 'conf', mountPath: '/conf' }],
      }),
    ],
    { volumes: [{ name: 'conf', configMap: { name } }] },
  );

async function serves(server: WebServer): Promise<void> {
  const { name, reload, configuration } = server;
  const settings = (colour: string) =>
    configMap(name, { server: configuration(colour), page: `a page of ${colour}\n` });
  await pods.apply(settings('red'), webPod(server));
  const begun = await pods.until(name, 'is ready', isReady);
  const page = () => pods.get(begun.status?.podIP, 80, '/page');
  assert.match(await page(), /^X-Colour: red\r$[^]*^a page of red$/m);
  await pods.apply(settings('blue'));
  await eventually(
    async () => (await pods.inside(name, ['cat', '/conf/page'])) === 'a page of blue\n',
    'the new file is in the container',
  );
  assert.match(await page(), /^X-Colour: red\r$[^]*^a page of blue$/m);
  await pods.inside(name, reload);
  await eventually(async () => /^X-Colour: blue\r$/m.test(await page()), 'the server has read its new file');
  await pods.get(begun.status?.podIP, 80, '/nowhere');
  await eventually(
    async () => /GET \/nowhere HTTP\/1\.0"? 404/.test(await pods.pod('logs', name)),
    'the log has the request',
  );
  assert.match(await pods.pod('logs', name), /GET \/page HTTP\/1\.1"? 200/);
  const later = await pods.named(name);
  assert.equal(statusOf(later)?.containerID, statusOf(begun)?.containerID);
  await pods.pod('rm', name, `configmap/${name}`);
  await gone(name);
}

const claim = (name: string) => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name },
  spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
});

describe('as pods run', { concurrency: 3 }, () => {
  test('a program that crashes again and again: it waits longer each time, and each run has its log', async () => {
    const state = { volumeMounts: [{ name: 'state', mountPath: '/state' }] };
    const script =
      'n=$(($(cat /state/n 2>/dev/null || echo 0) + 1)); echo $n >/state/n; echo attempt $n; exit 3';
    await pods.apply(
      podOf('looper', [container('main', ['sh', '-c', script], state)], {
        volumes: [{ name: 'state', emptyDir: {} }],
      }),
    );
    const waits = (count: number) =>
      pods.until('looper', `waits after ${count} restarts`, ({ containerStatuses: [only] = [] }) => {
        return only?.restartCount === count && only.state?.waiting?.reason === 'CrashLoopBackOff';
      });
    const first = statusOf(await waits(1))?.lastState?.terminated;
    assert.deepEqual([first?.exitCode, first?.reason], [3, 'Error']);
    assert.equal(await pods.pod('logs', '--previous', 'looper'), 'attempt 2\n');
    const second = statusOf(await waits(2));
    const paused =
      Date.parse(second?.lastState?.terminated?.startedAt ?? '') - Date.parse(first?.finishedAt ?? '');
    assert.ok(paused >= 9000 && paused < 15_000, `it waited ${paused} ms`);
    assert.match(second?.state?.waiting?.message ?? '', /^back-off 20s restarting failed container=main/);
    assert.equal(await pods.pod('logs', 'looper'), 'attempt 3\n');
    await pods.pod('rm', 'looper');
  });

  for (const server of webServers)
    test(`${server.name} logs to /dev/stdout, and takes up a ConfigMap that has changed`, () =>
      serves(server));

  test('PostgreSQL runs as its own user, and its rows outlive a crash, the agent and the pod', async () => {
    const start =
      'set -e; [ -s "$PGDATA/PG_VERSION" ] || initdb --auth=trust --locale=C --encoding=UTF8 --no-sync; exec postgres -k /tmp';
    const database = podOf(
      'postgres',
      [
        container('main', ['sh', '-c', start], {
          env: [
            { name: 'PGDATA', value: '/data/main' },
            { name: 'PGHOST', value: '/tmp' },
          ],
          readinessProbe: {
            exec: { command: ['pg_isready', '--quiet'] },
            periodSeconds: 1,
            timeoutSeconds: 5,
          },
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
          lifecycle: { stopSignal: 'SIGINT' },
        }),
      ],
      {
        os: { name: 'linux' },
        terminationGracePeriodSeconds: 20,
        securityContext: {
          runAsUser: users.postgres,
          runAsGroup: users.postgres,
          fsGroup: users.postgres,
          // PostgreSQL takes no directory of which a group may change anything, as a second go would have it.
          fsGroupChangePolicy: 'OnRootMismatch',
          runAsNonRoot: true,
        },
        volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'postgres' } }],
      },
    );
    const query = async (text: string) =>
      (await pods.inside('postgres', ['psql', '--no-psqlrc', '--quiet', '-At', '-c', text])).trim();
    await pods.apply(claim('postgres'), database);
    const begun = await pods.until('postgres', 'is ready', isReady);
    await query('create table notes (note text)');
    await query("insert into notes values ('kept')");
    const owner = await pods.inside('postgres', ['stat', '-c', '%u:%g %a', '/data/main']);
    assert.match(owner, new RegExp(`^${users.postgres}:${users.postgres} 2?700$`, 'm'));
    const unit = `pod-default-postgres-main-${begun.metadata?.uid}.service`;
    await lab.read(['systemctl', 'kill', '--signal=KILL', unit]);
    const crashed = await pods.until(
      'postgres',
      'runs again',
      status => isReady(status) && status.containerStatuses?.[0]?.restartCount === 1,
    );
    assert.equal(statusOf(crashed)?.lastState?.terminated?.exitCode, 137);
    assert.match(await pods.pod('logs', 'postgres'), /was interrupted|not properly shut down/);
    assert.equal(await query('select note from notes'), 'kept');
    await lab.read(['systemctl', 'restart', agentUnit]);
    assert.equal(await query("insert into notes values ('later') returning note"), 'later');
    const after = await pods.named('postgres');
    assert.equal(statusOf(after)?.containerID, statusOf(crashed)?.containerID);
    await pods.pod('rm', 'postgres');
    await gone('postgres');
    await pods.apply(database);
    await pods.until('postgres', 'is ready', isReady);
    assert.equal(await query("select string_agg(note, ' ') from notes"), 'kept later');
    assert.doesNotMatch(await pods.pod('logs', 'postgres'), /interrupted|not properly/);
    await pods.pod('rm', 'postgres', 'pvc/postgres');
  });

  test('Redis keeps its keys over a restart, and is told in time to end', async () => {
    const command = ['redis-server', '--dir', '/data', '--appendonly', 'yes', '--protected-mode', 'no'];
    await pods.apply(
      podOf(
        'redis',
        [
          container('main', command, {
            volumeMounts: [{ name: 'data', mountPath: '/data' }],
            livenessProbe: { exec: { command: ['redis-cli', 'ping'] }, periodSeconds: 1, timeoutSeconds: 5 },
            readinessProbe: { tcpSocket: { port: 6379 }, periodSeconds: 1 },
          }),
        ],
        {
          terminationGracePeriodSeconds: 20,
          securityContext: { runAsUser: users.redis, runAsGroup: users.redis, fsGroup: users.redis },
          volumes: [{ name: 'data', emptyDir: {} }],
        },
      ),
    );
    const begun = await pods.until('redis', 'is ready', isReady);
    const redis = async (...words: readonly string[]) =>
      (await pods.inside('redis', ['redis-cli', ...words])).trim();
    assert.equal(await redis('set', 'key', 'value'), 'OK');
    await lab.read([
      'systemctl',
      'kill',
      '--signal=TERM',
      `pod-default-redis-main-${begun.metadata?.uid}.service`,
    ]);
    const again = await pods.until(
      'redis',
      'runs again',
      status => isReady(status) && status.containerStatuses?.[0]?.restartCount === 1,
    );
    const { exitCode, reason } = statusOf(again)?.lastState?.terminated ?? {};
    assert.deepEqual([exitCode, reason], [0, 'Completed']);
    assert.match(await pods.pod('logs', '--previous', 'redis'), /Redis is now ready to exit, bye bye/);
    assert.equal(await redis('get', 'key'), 'value');
    await pods.pod('rm', 'redis');
  });

  test("Prometheus' exporter tells of the host, from a container that may change nothing", async () => {
    await pods.apply({
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'exporter' },
      spec: {
        selector: { matchLabels: { app: 'exporter' } },
        template: {
          metadata: { labels: { app: 'exporter' } },
          spec: {
            hostNetwork: true,
            hostPID: true,
            terminationGracePeriodSeconds: 5,
            securityContext: { runAsNonRoot: true, runAsUser: users.nobody },
            containers: [
              container('main', ['prometheus-node-exporter'], {
                args: ['--log.level=warn', '--path.rootfs=/host', '--web.listen-address=$(IP):9100'],
                env: [{ name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } }],
                ports: [{ containerPort: 9100, name: 'metrics' }],
                readinessProbe: { httpGet: { path: '/', port: 'metrics' }, periodSeconds: 1 },
                securityContext: {
                  allowPrivilegeEscalation: false,
                  readOnlyRootFilesystem: true,
                  capabilities: { drop: ['ALL'] },
                },
                volumeMounts: [
                  { name: 'host', mountPath: '/host', readOnly: true, mountPropagation: 'HostToContainer' },
                ],
              }),
            ],
            volumes: [{ name: 'host', hostPath: { path: '/' } }],
          },
        },
      },
    });
    const { status } = await pods.until('exporter-0', 'is ready', isReady);
    assert.equal(status?.podIP, lab.address);
    const metrics = await pods.get(lab.address, 9100, '/metrics');
    assert.match(metrics, new RegExp(`^node_uname_info\\{.*nodename="${lab.name}"`, 'm'));
    assert.match(metrics, /^node_network_up\{device="host0"\} 1$/m);
    await pods.pod('rm', 'daemonset/exporter');
  });

  test('a web app has its database made first, a proxy beside it, and a sidecar that ships its log', async () => {
    const [data, logs, conf] = ['data', 'logs', 'conf'].map(name => ({ name, mountPath: `/${name}` }));
    const migrate = `import sqlite3; sqlite3.connect('/data/app.db').execute('create table visits (path text)')`;
    const ship = 'touch /logs/access; trap "exit 0" TERM; tail -n +1 -f /logs/access & wait';
    await pods.apply(configMap('app', { 'app.py': application, front, greeting: 'Welcome' }), {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'app' },
      spec: {
        selector: { matchLabels: { app: 'app' } },
        template: {
          metadata: { labels: { app: 'app' } },
          spec: {
            terminationGracePeriodSeconds: 10,
            initContainers: [
              container('ship', ['sh', '-c', ship], { restartPolicy: 'Always', volumeMounts: [logs] }),
              container('migrate', ['python3', '-c', migrate], { volumeMounts: [data] }),
            ],
            containers: [
              container('app', ['python3', '/conf/app.py'], {
                env: [
                  {
                    name: 'GREETING',
                    valueFrom: { configMapKeyRef: { name: 'app', key: 'greeting' } },
                  },
                ],
                volumeMounts: [data, logs, conf],
              }),
              container('front', ['nginx', '-c', '/conf/front', '-g', 'daemon off;'], {
                ports: [{ containerPort: 80, hostPort: 8080 }],
                readinessProbe: { httpGet: { path: '/ready', port: 80 }, periodSeconds: 1 },
                volumeMounts: [conf],
              }),
            ],
            volumes: [
              { name: 'data', emptyDir: {} },
              { name: 'logs', emptyDir: { medium: 'Memory' } },
              { name: 'conf', configMap: { name: 'app' } },
            ],
          },
        },
      },
    });
    const pod = await pods.until('app-0', 'is ready', isReady);
    assert.match(await pods.get(lab.address, 8080, '/hello'), /^Welcome visitor [23]$/m);
    await eventually(
      async () => /^"GET \/hello HTTP\/1\.0" 200/m.test(await pods.pod('logs', 'app-0', 'ship')),
      'the sidecar has shipped the line',
    );
    const { state } = statusOf(pod, 'migrate') ?? {};
    assert.equal(state?.terminated?.reason, 'Completed');
    assert.ok(statusOf(pod, 'ship')?.state?.running);
    await pods.pod('rm', 'deployment/app', 'configmap/app');
    await gone('app-0');
  });

  test('a program that wants too much memory is killed, and its neighbour in the pod is not', async () => {
    const hog = 'import time\nall = []\nwhile True: all.append(bytearray(1 << 22))';
    await pods.apply(
      podOf('hungry', [
        container('main', ['python3', '-c', hog], { resources: { limits: { memory: '48Mi' } } }),
        container('calm', ['redis-server', '--save', '']),
      ]),
    );
    const pod = await pods.until('hungry', 'was killed and runs again', status =>
      (status.containerStatuses ?? []).some(
        ({ restartCount, lastState }) => restartCount > 0 && lastState?.terminated !== undefined,
      ),
    );
    const { reason, exitCode } = statusOf(pod)?.lastState?.terminated ?? {};
    assert.deepEqual([reason, exitCode], ['OOMKilled', 137]);
    assert.equal((await pods.inside('hungry', ['redis-cli', 'ping'], 'calm')).trim(), 'PONG');
    assert.equal(statusOf(await pods.named('hungry'), 'calm')?.restartCount, 0);
    await pods.pod('rm', 'hungry');
  });

  test('a fork bomb gets as many processes as a pod may have, and goes with its pod', async () => {
    const bomb =
      'import os, time\nwhile True:\n  try: os.fork()\n  except OSError: print("no more", flush=True); time.sleep(1)';
    await pods.apply(podOf('bomb', [container('main', ['python3', '-c', bomb])]));
    const { metadata } = await pods.until('bomb', 'runs', isReady);
    await eventually(async () => /no more/.test(await pods.pod('logs', '--tail=1', 'bomb')), 'it is held');
    const slice = `kubepods-besteffort-pod${metadata?.uid?.replaceAll('-', '_')}.slice`;
    const tasks = async () => Number(await lab.read(['systemctl', 'show', '-P', 'TasksCurrent', slice]));
    assert.ok((await tasks()) <= mostPids);
    assert.ok((await tasks()) > mostPids / 2);
    await pods.apply(podOf('other', [container('main', ['sleep', 'infinity'])]));
    await pods.until('other', 'runs beside it', isReady);
    await pods.pod('rm', 'bomb', 'other');
    await gone('bomb');
    const left = await lab.exec(['pgrep', '-f', 'no more']);
    assert.equal(left.stdout.toString(), '');
  });
});
