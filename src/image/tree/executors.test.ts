import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeFiles } from '../../host/files.ts';
import { removeTree } from './executors.ts';

const full = () => Object.assign(new Error('not empty'), { code: 'ENOTEMPTY' });

/** A directory into which something writes while it is removed, so many times. */
class Busy extends FakeFiles {
  times = 0;

  override async remove(path: string): Promise<void> {
    if (this.times-- > 0) throw full();
    await super.remove(path);
  }
}

test('a tree to which a last file is added is removed, and one that is written to for ever is told of', async () => {
  const files = new Busy();
  await files.makeDirectory('/tree', 0o755);
  files.times = 3;
  await removeTree({ files }, '/tree');
  assert.equal(await files.look('/tree'), undefined);
  files.times = Number.POSITIVE_INFINITY;
  await assert.rejects(removeTree({ files }, '/tree'), { code: 'ENOTEMPTY' });
});
