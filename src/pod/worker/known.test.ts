import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeFiles } from '../../host/files.ts';
import { containerDirectory } from '../unit/names.ts';
import { annotation, podsInUse } from './in-use.ts';
import { type Kept, writeKept, writePod } from './kept.ts';
import { getPod } from './known.ts';

async function recorded(): Promise<FakeFiles> {
  const files = new FakeFiles();
  for (const name of ['web', 'db']) {
    await writePod(files, `uid-${name}`, { metadata: { name, namespace: 'default' } });
    await writeKept(files, `uid-${name}`, { version: 1, boot: '', observed: {} } as unknown as Kept);
  }
  return files;
}

test('a pod is known by its name, and as pod apply tells it', async () => {
  const files = await recorded();
  for (const word of ['web', 'pod/web', 'pods/web'])
    assert.equal((await getPod(files, 'default', word)).identity.uid, 'uid-web');
  for (const word of ['deployment/web', 'pod/none', 'pod/'])
    await assert.rejects(getPod(files, 'default', word), { code: 'ERR_NO_POD' });
});

test('an image in use is told with the pods that use it', async () => {
  const files = await recorded();
  for (const [pod, container] of [
    ['web', 'main'],
    ['web', 'side'],
    ['db', 'main'],
  ] as const) {
    const directory = containerDirectory(`uid-${pod}`, container);
    await files.makeDirectory(directory, 0o700);
    const annotations = { [annotation.digest]: 'sha256:a', [annotation.layers]: 'one' };
    await files.write(`${directory}/config.json`, JSON.stringify({ annotations }), 0o600);
  }
  const { manifests, layers } = await podsInUse(files);
  assert.deepEqual([...(manifests.get('sha256:a') ?? [])].sort(), ['pod/db', 'pod/web']);
  assert.deepEqual([...layers], ['one']);
});
