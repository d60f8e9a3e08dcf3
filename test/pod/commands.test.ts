// runs in a lab: bookworm +containernetworking-plugins +nftables
// The commands of pods: manifests are checked, applied, waited for and removed.
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { done, spawnlet } from '../app/tools.ts';
import { forever, image, isReady, manifests, podOf, pods, until, useHost } from './agent.ts';

const host = useHost();

async function file(name: string, ...documents: readonly (object | string)[]): Promise<string> {
  const path = join(host.images.directory, name);
  const texts = documents.map(each => (typeof each === 'string' ? each : JSON.stringify(each)));
  await writeFile(path, texts.join('\n---\n'));
  return path;
}

const main = (script: string) => ({ name: 'main', image, command: ['sh', '-c', script] });
test('apply waits until pods are ready, keeps documents word for word, and rm until they are gone', async () => {
  const settings = '# mine\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {a: "1"}\n';
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: { terminationGracePeriodSeconds: 2, containers: [main(forever)] },
      },
    },
  };
  const path = await file('web.yaml', settings, deployment);
  const { err, out } = await spawnlet(['pod', 'apply', '-f', path]);
  assert.match(err, /default\/web-0: Running, 1 of 1 ready/);
  assert.equal(out, 'configmap/conf created\ndeployment/web created\n');
  const again = await done(['pod', 'apply', '-f', path]);
  assert.equal(again, 'configmap/conf unchanged\ndeployment/web unchanged\n');
  const names = (await pods()).map(({ metadata }) => metadata?.name);
  assert.deepEqual(names, ['web-0', 'web-1']);
  assert.match(await readFile(join(manifests, 'configmap-default-conf.yaml'), 'utf8'), /^# mine\napiVersion/);
  const dry = await done(['pod', 'apply', '--dry-run', '-f', path]);
  assert.equal(dry, 'nothing to do\n');
  const wrongKind = await spawnlet(['pod', 'rm', 'web']);
  assert.match(
    wrongKind.err,
    /there is a Deployment web .*ERR_NO_OBJECT.*\n.*spawnlet pod rm deployment\/web/,
  );
  const removed = await spawnlet(['pod', 'rm', '-f', path]);
  assert.equal(removed.out, 'configmap/conf deleted\ndeployment/web deleted\n');
  assert.match(removed.err, /waiting for web-0, web-1 to end: up to 2 s/);
  assert.deepEqual(await pods(), []);
  assert.deepEqual(await readdir(manifests), []);
});

test('a mistake is told with its file, line and field before anything changes', async () => {
  const path = await file(
    'wrong.yaml',
    `apiVersion: v1
kind: Pod
metadata: {name: wrong}
spec:
  containers:
  - name: main
    image: ${image}
    imagePullPolicy: Sometimes
    volumeMounts:
    - {name: none, mountPath: /x}
`,
  );
  const { code, err } = await spawnlet(['pod', 'apply', '-f', path]);
  assert.equal(code, 125);
  assert.match(err, /wrong\.yaml:8: spec\.containers\[0\]\.imagePullPolicy .*Always/);
  assert.match(err, /wrong\.yaml:10: spec\.containers\[0\]\.volumeMounts\[0\]\.name/);
  assert.match(err, /ERR_MANIFEST/);
  assert.deepEqual(await readdir(manifests), []);
});

test('apply says why a pod is not ready, and for how long it waits', async () => {
  const absent = { name: 'main', image: 'localhost/images:absent', imagePullPolicy: 'Never' };
  const path = await file('absent.yaml', podOf('absent', [absent]));
  const { code, err } = await spawnlet(['pod', 'apply', '--timeout', '4s', '-f', path]);
  assert.equal(code, 125);
  assert.match(err, /default\/absent: ErrImageNeverPull, 0 of 1 ready: .*localhost\/images:absent/);
  assert.match(err, /pod absent is not ready in time: .*absent.*ERR_POD_TIMEOUT/);
  await done(['pod', 'rm', 'absent']);
});

test('apply says how a pod has failed', async () => {
  const failing = podOf('failing', [main(forever)], {
    initContainers: [{ ...main('exit 7'), name: 'first' }],
    restartPolicy: 'Never',
  });
  const { code, err } = await spawnlet(['pod', 'apply', '-f', await file('failing.yaml', failing)]);
  assert.equal(code, 125);
  assert.match(err, /pod failing has failed: first: Error, exit code 7 .*ERR_POD_FAILED/);
  await done(['pod', 'rm', 'failing']);
});

test('flags of pod exec stand behind the name, too', async () => {
  const pod = podOf('two', [
    main(forever),
    { ...main(forever), name: 'other', env: [{ name: 'WHO', value: 'you' }] },
  ]);
  await done(['pod', 'apply', '-f', await file('two.yaml', pod)]);
  for (const words of [
    ['two', '-c', 'other', '--', 'printenv', 'WHO'],
    ['two', '--container=other', '--', 'printenv', 'WHO'],
    ['-c', 'other', 'two', '--', 'printenv', 'WHO'],
    ['-c', 'other', 'two', 'printenv', 'WHO'],
  ])
    assert.equal(await done(['pod', 'exec', ...words]), 'you\n', words.join(' '));
  // Without the two hyphens all is the command's, as with podman.
  assert.equal(await done(['pod', 'exec', 'two', 'sh', '-c', 'echo a']), 'a\n');
  const { code, err } = await spawnlet(['pod', 'exec', '-it', 'two', 'sh'], { input: '' });
  assert.equal(code, 125);
  assert.match(err, /ERR_NO_TERMINAL.*\n.*-t/);
  await done(['pod', 'rm', 'two']);
});

test('without an agent nothing is written, waited for or removed in silence', async () => {
  const path = await file('kept.yaml', podOf('kept', [main(forever)]));
  await done(['pod', 'apply', '-f', path]);
  await host.agent.kill();
  const applied = await spawnlet([
    'pod',
    'apply',
    '-f',
    await file('new.yaml', podOf('new', [main(forever)])),
  ]);
  assert.equal(applied.code, 125);
  assert.match(applied.err, /ERR_NO_AGENT.*\n.*spawnlet kubelet install/);
  assert.deepEqual(await readdir(manifests), ['pod-default-kept.yaml']);
  const removed = await spawnlet(['pod', 'rm', 'kept']);
  assert.match(removed.err, /ERR_NO_AGENT/);
  assert.match((await spawnlet(['pod', 'ls'])).err, /does not run: spawnlet kubelet install/);
  const noted = await spawnlet([
    'pod',
    'apply',
    '--wait=false',
    '-f',
    join(host.images.directory, 'new.yaml'),
  ]);
  assert.deepEqual([noted.code, noted.out], [0, 'pod/new created\n']);
  assert.match(noted.err, /does not run/);
  host.agent.start();
  await until('new', 'is ready', isReady);
  await done(['pod', 'rm', 'kept', 'new']);
});
