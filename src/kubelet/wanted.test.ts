import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Manifests } from './wanted.ts';

const pod = (path: string, name: string) => ({
  path,
  text: JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { containers: [{ name: 'main', image: 'a:1' }] },
  }),
});

const namesOf = async (manifests: Manifests, ...files: Parameters<Manifests['read']>[0]) => {
  const { desired, mistakes } = await manifests.read(files);
  return [desired.pods.map(each => each.pod.metadata?.name), mistakes.length] as const;
};

test('a file that is wrong, empty or at odds with another takes no pod away', async () => {
  const manifests = new Manifests('node', 'crun');
  const [web, data] = [pod('/m/web.yaml', 'web'), pod('/m/data.yaml', 'data')];
  assert.deepEqual(await namesOf(manifests, web, data), [['web', 'data'], 0]);
  assert.deepEqual(await namesOf(manifests, { ...web, text: 'kind: Pod' }, data), [['web', 'data'], 1]);
  assert.deepEqual(await namesOf(manifests, { ...web, text: '' }, data), [['web', 'data'], 0]);
  assert.deepEqual(await namesOf(manifests, web, data, pod('/m/twice.yaml', 'web')), [['web', 'data'], 1]);
  assert.deepEqual(await namesOf(manifests, data), [['data'], 0]);
});
