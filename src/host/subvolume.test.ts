import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeChildren } from './child.ts';
import { FakeFiles } from './files.ts';
import { removeTree } from './subvolume.ts';

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
  const children = new FakeChildren();
  await files.makeDirectory('/tree', 0o755);
  files.times = 3;
  await removeTree({ files, children }, '/tree');
  assert.equal(await files.look('/tree'), undefined);
  await files.makeDirectory('/tree', 0o755);
  files.times = Number.POSITIVE_INFINITY;
  await assert.rejects(removeTree({ files, children }, '/tree'), { code: 'ENOTEMPTY' });
});
