// runs in a lab: trixie +containernetworking-plugins +nftables +openssl
// What a pod's probes, hooks, policies and controllers have happen, seen from inside its containers.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { after, test } from 'node:test';
import { eventually, system } from '../app/tools.ts';
import { makeCertificate } from '../harness/certificate.ts';
import {
  apply,
  forever,
  gone,
  image,
  inside,
  isReady,
  podOf,
  pods,
  remove,
  until,
  useHost,
} from './agent.ts';

/** What containers leave behind. */
const told = '/srv/told';

const host = useHost({ prepare: () => mkdir(told, { recursive: true }) });
after(() => rm(told, { recursive: true }));

const container = (name: string, script: string, more: object = {}) => ({
  name,
  image,
  command: ['bash', '-c', script],
  ...more,
});
const statusIn = (status: NonNullable<Awaited<ReturnType<typeof until>>['status']>, name = 'main') =>
  [...(status.containerStatuses ?? []), ...(status.initContainerStatuses ?? [])].find(
    each => each.name === name,
  );

/** Servers of a health that they note who asks for: HTTP, HTTPS, gRPC. */
const servers = String.raw`
const { appendFileSync, readFileSync } = require('node:fs');
const note = (...words) => appendFileSync('/tmp/asked', words.join(' ') + '\n');
const answer = what => (request, response) => {
  note(what, request.url, request.headers.host, request.headers['x-probe'], request.headers['user-agent']);
  response.writeHead(request.url === '/teapot' ? 418 : 200).end('fine');
};
require('node:http').createServer(answer('http')).listen(8080);
const [key, cert] = ['key', 'cert'].map(name => readFileSync(process.env.PEM + '/' + name + '.pem'));
require('node:https').createServer({ key, cert }, answer('https')).listen(8443);
require('node:http2').createServer().on('stream', (stream, headers) => {
  const chunks = [];
  stream.on('data', chunk => chunks.push(chunk)).on('end', () => {
    note('grpc', headers[':path'], Buffer.concat(chunks).subarray(7).toString());
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.from([0, 0, 0, 0, 2, 8, 1]));
  });
}).listen(9090);
`;

test('probes ask as they are told to: over HTTP with headers, HTTPS, gRPC, TCP, or by a command', async () => {
  makeCertificate(host.images.directory);
  const node = process.execPath;
  // Node and its libraries are the host's.
  const run = `chroot '/host'; exec '${node}', '-e', $ENV{SERVERS}`;
  const every = { periodSeconds: 1, timeoutSeconds: 5 };
  const http = (port: number | string, path: string, more: object = {}) => ({
    httpGet: { port, path, ...more },
  });
  const server = {
    name: 'main',
    image,
    command: ['perl', '-e', run],
    env: [
      { name: 'SERVERS', value: servers.replaceAll('/tmp/asked', `${told}/asked`) },
      { name: 'PEM', value: host.images.directory },
    ],
    ports: [{ name: 'web', containerPort: 8080, protocol: 'TCP' }],
    volumeMounts: [{ name: 'host', mountPath: '/host' }],
    startupProbe: {
      ...http('web', '/started', {
        httpHeaders: [
          { name: 'X-Probe', value: 'mine' },
          { name: 'Host', value: 'virtual' },
        ],
      }),
      ...every,
      failureThreshold: 60,
    },
    readinessProbe: { ...http(8443, '/secure', { scheme: 'HTTPS' }), ...every, successThreshold: 2 },
    livenessProbe: {
      grpc: { port: 9090, service: 'health' },
      ...every,
      initialDelaySeconds: 1,
      terminationGracePeriodSeconds: 1,
    },
  };
  const volumes = [{ name: 'host', hostPath: { path: '/' } }];
  await apply(
    'asked',
    podOf(
      'asked',
      [server, container('other', forever, { readinessProbe: { tcpSocket: { port: 8080 }, ...every } })],
      { volumes },
    ),
  );
  await until('asked', 'is ready', isReady);
  const asked = () => readFile(`${told}/asked`, 'utf8');
  await eventually(async () => (await asked()).includes('grpc'), 'gRPC was asked');
  assert.match(await asked(), /^http \/started virtual mine kube-probe\/\S+$/m);
  assert.match(await asked(), /^https \/secure \S+:8443 {2}kube-probe\/\S+$/m);
  assert.match(await asked(), /^grpc \/grpc.health.v1.Health\/Check health$/m);
  assert.ok(((await asked()).match(/^https/gm) ?? []).length >= 2);
  assert.equal(((await asked()).match(/^http /gm) ?? []).length, 1);
  await remove('asked');
});

test('a liveness probe that times out so often ends the container, within its own grace period', async () => {
  const livenessProbe = {
    exec: { command: ['sleep', '10'] },
    timeoutSeconds: 1,
    periodSeconds: 1,
    failureThreshold: 2,
    terminationGracePeriodSeconds: 1,
  };
  // Deaf in its first run only.
  const script =
    'if mkdir /state/first; then trap "" TERM; else trap exit TERM; fi; while :; do sleep 0.05; done';
  const state = { name: 'state', mountPath: '/state' };
  await apply(
    'hangs',
    podOf('hangs', [container('main', script, { livenessProbe, volumeMounts: [state] })], {
      terminationGracePeriodSeconds: 60,
      volumes: [{ name: 'state', emptyDir: {} }],
    }),
  );
  const { status } = await until('hangs', 'runs again', status => {
    return (statusIn(status)?.restartCount ?? 0) > 0 && statusIn(status)?.state?.running !== undefined;
  });
  assert.equal(statusIn(status ?? {})?.lastState?.terminated?.exitCode, 137);
  await remove('hangs');
  await gone('hangs');
});

test('hooks ask over HTTP and TCP, run, or wait; the container is told by the signal that it names', async () => {
  const listens = `perl -MIO::Socket -e '$s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die; while ($c = $s->accept) { $l = <$c>; open F, ">>/told/hooks"; print F $l || "nothing\\n"; close F; print $c "HTTP/1.0 200 OK\\r\\n\\r\\n"; close $c }' & `;
  const told80 = (more: object) => ({ volumeMounts: [{ name: 'told', mountPath: '/told' }], ...more });
  const ends = (word: string) => `trap 'echo ${word} >>/told/hooks; exit' USR1; while :; do sleep 0.05; done`;
  const volumes = [{ name: 'told', hostPath: { path: told, type: 'Directory' } }];
  const hooks = (postStart: object, preStop: object) => ({
    lifecycle: { postStart, preStop, stopSignal: 'SIGUSR1' },
  });
  const get = (path: string) => ({ httpGet: { path, port: 80, host: '', scheme: 'HTTP' } });
  await apply(
    'hooks',
    podOf(
      'hooks',
      [
        container(
          'main',
          listens + ends('main'),
          told80(
            hooks(
              {
                exec: {
                  command: [
                    'bash',
                    '-c',
                    'until : </dev/tcp/127.0.0.1/80; do :; done; echo ran >>/told/hooks',
                  ],
                },
              },
              get('/stop'),
            ),
          ),
        ),
        container(
          'waits',
          ends('waited'),
          told80(hooks({ sleep: { seconds: 1 } }, { sleep: { seconds: 1 } })),
        ),
      ],
      { volumes, os: { name: 'linux' }, terminationGracePeriodSeconds: 20 },
    ),
  );
  await until('hooks', 'is ready', isReady);
  await remove('hooks');
  await gone('hooks');
  const lines = (await readFile(`${told}/hooks`, 'utf8'))
    .trim()
    .split('\n')
    .map(line => line.trim());
  assert.deepEqual(
    lines.filter(line => line !== 'nothing'),
    ['ran', 'GET /stop HTTP/1.1', 'main', 'waited'],
  );
});

test('containers run again as their policies and rules say, and a pod no longer than its deadline', async () => {
  const exit = (name: string, code: number, more: object = {}) => container(name, `exit ${code}`, more);
  const rule = (operator: string, ...values: readonly number[]) => ({
    restartPolicyRules: [{ action: 'Restart', exitCodes: { operator, values } }],
  });
  await apply(
    'rules',
    podOf(
      'rules',
      [
        exit('left', 3),
        exit('never', 3, { restartPolicy: 'Never' }),
        exit('failed', 3, { restartPolicy: 'OnFailure' }),
        exit('always', 0, { restartPolicy: 'Always' }),
        exit('among', 42, { restartPolicy: 'Never', ...rule('In', 42, 43) }),
        exit('not-among', 42, { restartPolicy: 'Never', ...rule('NotIn', 42) }),
      ],
      { restartPolicy: 'Never' },
    ),
  );
  const again = ['always', 'among', 'failed'];
  const { status } = await until('rules', 'has run some again', ({ containerStatuses = [] }) =>
    containerStatuses.every(({ name, restartCount, state }) =>
      again.includes(name) ? restartCount > 0 : state?.terminated,
    ),
  );
  for (const name of ['left', 'never', 'not-among'])
    assert.equal(statusIn(status ?? {}, name)?.restartCount, 0, name);
  await remove('rules');
  await apply('short', podOf('short', [container('main', forever)], { activeDeadlineSeconds: 1 }));
  const failed = await until('short', 'has failed', ({ phase }) => phase === 'Failed');
  assert.equal(failed.status?.reason, 'DeadlineExceeded');
  await remove('short');
});

test('last words are read where the container says they are, and its streams are what it asks for', async () => {
  const words = { terminationMessagePath: '/var/log/last', terminationMessagePolicy: 'File' };
  await apply(
    'words',
    podOf('words', [container('main', 'echo -n farewell >/var/log/last; exit 1', words)], {
      restartPolicy: 'Never',
    }),
  );
  const { status } = await until('words', 'has failed', ({ phase }) => phase === 'Failed');
  assert.equal(statusIn(status ?? {})?.state?.terminated?.message, 'farewell');
  await apply(
    'streams',
    podOf('streams', [
      container('main', forever, { stdin: true, tty: true, stdinOnce: false }),
      container('other', forever),
    ]),
  );
  await until('streams', 'is ready', isReady);
  assert.match(
    await inside('streams', 'for n in 0 1; do readlink /proc/1/fd/$n; done'),
    /^\/dev\/(pts\/0|console)\n\/dev\/(pts\/0|console)\n$/,
  );
  await Promise.all(['words', 'streams'].map(remove));
});

const controller = (
  kind: string,
  name: string,
  more: object,
  pod: object = {},
  labels: object = { app: name },
) => ({
  apiVersion: kind === 'Job' ? 'batch/v1' : 'apps/v1',
  kind,
  metadata: { name },
  spec: {
    ...more,
    template: {
      metadata: { labels },
      spec: { terminationGracePeriodSeconds: 2, containers: [container('main', forever)], ...pod },
    },
  },
});

test('controllers have their pods, with the names, numbers and claims that are theirs', async () => {
  const by = (app: string) => ({ selector: { matchLabels: { app } } });
  const expressions = {
    selector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['web', 'www'] }] },
  };
  await apply('web', controller('Deployment', 'web', { replicas: 2, ...expressions }));
  await apply('agent', controller('DaemonSet', 'agent', by('agent')));
  const mount = { volumeMounts: [{ name: 'data', mountPath: '/data' }] };
  const claims = [
    {
      metadata: { name: 'data' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
    },
  ];
  await apply(
    'db',
    controller(
      'StatefulSet',
      'db',
      {
        ...by('db'),
        replicas: 2,
        ordinals: { start: 3 },
        serviceName: 'data',
        persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
        volumeClaimTemplates: claims,
      },
      { containers: [container('main', forever, mount)] },
    ),
  );
  const index = 'echo $JOB_COMPLETION_INDEX of $HOSTNAME >>/told/job';
  const spec = {
    restartPolicy: 'Never',
    containers: [container('main', index, { volumeMounts: [{ name: 'told', mountPath: '/told' }] })],
    volumes: [{ name: 'told', hostPath: { path: told } }],
  };
  await apply(
    'job',
    controller(
      'Job',
      'job',
      { completions: 2, parallelism: 2, completionMode: 'Indexed', activeDeadlineSeconds: 60 },
      spec,
    ),
  );
  await apply('rests', controller('Job', 'rests', { suspend: true }, spec));
  for (const name of ['web-0', 'web-1', 'agent-0', 'db-3', 'db-4']) await until(name, 'is ready', isReady);
  for (const name of ['job-0', 'job-1']) await until(name, 'is done', ({ phase }) => phase === 'Succeeded');
  const names = (await pods()).map(({ metadata }) => metadata?.name);
  assert.deepEqual(names, ['agent-0', 'db-3', 'db-4', 'job-0', 'job-1', 'web-0', 'web-1']);
  assert.deepEqual((await readFile(`${told}/job`, 'utf8')).trim().split('\n').toSorted(), [
    '0 of job-0',
    '1 of job-1',
  ]);
  assert.match(
    await inside('db-4', 'uname -n; cat /etc/hosts; echo mine >/data/file'),
    /^db-4\n[^]*\tdb-4\.data\.default\.svc\.cluster\.local\tdb-4$/m,
  );
  assert.equal(await system('cat', '/var/lib/spawnlet/volumes/default/data-db-4/file'), 'mine\n');
  await Promise.all(['web', 'agent', 'db', 'job', 'rests'].map(remove));
});
