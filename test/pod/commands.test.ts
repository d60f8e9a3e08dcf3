// runs in a lab: bookworm +containernetworking-plugins +nftables
// The commands of pods: manifests are checked, applied, waited for and removed; logs are those of a run.
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { debianImage, done, type Fixture, spawnlet, useImages } from '../app/tools.ts';
import { manifests, podNamed, podOf, pods, type TestAgent, until, useAgent } from './agent.ts';

let images: Fixture;
let agent: TestAgent;
const image = 'localhost/images:deb';

before(async () => {
  images = await useImages({ deb: debianImage() });
  agent = await useAgent();
});

after(async () => {
  await agent[Symbol.asyncDispose]();
  await images[Symbol.asyncDispose]();
});

async function file(name: string, ...documents: readonly (object | string)[]): Promise<string> {
  const path = join(images.directory, name);
  const texts = documents.map(each => (typeof each === 'string' ? each : JSON.stringify(each)));
  await writeFile(path, texts.join('\n---\n'));
  return path;
}

const main = (script: string) => ({ name: 'main', image, command: ['sh', '-c', script] });
const forever = 'trap "exit 0" TERM; while :; do sleep 0.05; done';

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
  const { err } = await spawnlet(['pod', 'apply', '-f', path]);
  assert.match(err, /default\/web-0: Running, 1 of 1 ready/);
  const names = (await pods()).map(({ metadata }) => metadata?.name);
  assert.deepEqual(names, ['web-0', 'web-1']);
  assert.match(await readFile(join(manifests, 'configmap-default-conf.yaml'), 'utf8'), /^# mine\napiVersion/);
  const dry = await done(['pod', 'apply', '--dry-run', '-f', path]);
  assert.equal(dry, 'nothing to do\n');
  await done(['pod', 'rm', 'deployment/web', 'configmap/conf']);
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

test('logs are those of one run, with the options of kubectl', async () => {
  const script = 'echo one; echo two >&2; printf three; exit 1';
  const path = await file('talks.yaml', podOf('talks', [main(script)]));
  await spawnlet(['pod', 'apply', '--wait=false', '-f', path]);
  await until(
    'talks',
    'was started again',
    ({ containerStatuses: [only] = [] }) => only?.restartCount === 1 && only.state?.running === undefined,
  );
  for (const previous of [[], ['--previous']])
    assert.equal(await done(['pod', 'logs', ...previous, 'talks']), 'one\ntwo\nthree');
  assert.equal(await done(['pod', 'logs', '--tail=1', 'talks']), 'three');
  assert.equal(await done(['pod', 'logs', '--tail=0', 'talks']), '');
  assert.equal(await done(['pod', 'logs', '--limit-bytes=5', 'talks']), 'one\nt');
  assert.match(await done(['pod', 'logs', '--timestamps', 'talks']), /^\d{4}-\d\d-\d\dT[\d:]+\.\d{9}Z one\n/);
  assert.equal(await done(['pod', 'logs', '--since=1h', 'talks']), 'one\ntwo\nthree');
  await done(['pod', 'rm', 'talks']);
  const { err } = await spawnlet(['pod', 'logs', 'talks']);
  assert.match(err, /ERR_NO_POD/);
});

test('logs -f ends with the container', async () => {
  const path = await file(
    'short.yaml',
    podOf('short', [main('echo begin; sleep 0.5; echo end')], { restartPolicy: 'Never' }),
  );
  await spawnlet(['pod', 'apply', '--wait=false', '-f', path]);
  await until('short', 'runs', ({ containerStatuses: [only] = [] }) => only?.state?.running !== undefined);
  assert.equal(await done(['pod', 'logs', '-f', 'short']), 'begin\nend\n');
  await done(['pod', 'rm', 'short']);
  assert.equal(await podNamed('short'), undefined);
});
