// runs in a lab: bookworm +containernetworking-plugins +nftables
// The commands of pods: manifests are checked, applied, waited for and removed.
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { debianImage, done, type Fixture, spawnlet, useImages } from '../app/tools.ts';
import { manifests, pods, type TestAgent, useAgent } from './agent.ts';

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
