import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeFiles } from '../host/files.ts';
import { originOfDirectory } from './prepare.ts';

test("no machine boots from the host's own tree, from a base or from what holds machines", async () => {
  const files = new FakeFiles();
  for (const path of [
    '/',
    '/var/lib',
    '/var/lib/machines',
    '/var/lib/spawnlet',
    '/var/lib/spawnlet/base/deb/tree',
  ]) {
    await files.makeDirectory(path, 0o755);
    await assert.rejects(originOfDirectory(files, path), { code: 'ERR_MACHINE_TREE', message: /host's own/ });
  }
});

test('any other directory can be a tree, whatever its name begins with', async () => {
  for (const path of ['/srv/tree', '/var/lib/machines/old', '/var/lib/spawnlets', '/var/li']) {
    const files = new FakeFiles();
    await files.makeDirectory(path, 0o755);
    assert.deepEqual(await originOfDirectory(files, path), {
      tree: { kind: 'link', path },
      root: { layers: [path] },
    });
  }
});
