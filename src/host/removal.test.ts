import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { at, enter } from './handle.ts';
import { removeEntry } from './removal.ts';

const work = mkdtempSync(join(tmpdir(), 'removal-'));
after(() => rmSync(work, { recursive: true, force: true }));

async function remove(name: string, signal?: AbortSignal): Promise<void> {
  const directory = openSync(work, 'r');
  try {
    await removeEntry(directory, name, signal);
  } finally {
    closeSync(directory);
  }
}

/** A chain of directories, deeper than a path can be long. */
function makeDeep(name: string, depth: number): void {
  let directory = openSync(work, 'r');
  for (const each of [name, ...Array.from({ length: depth }, () => 'd')]) {
    mkdirSync(at(directory, each));
    writeFileSync(at(directory, 'file'), '');
    const next = enter(directory, each);
    closeSync(directory);
    assert.ok(next !== undefined);
    directory = next;
  }
  closeSync(directory);
}

test('a tree goes, and what its links lead to stays', async () => {
  mkdirSync(join(work, 'kept'));
  writeFileSync(join(work, 'kept/file'), 'kept');
  mkdirSync(join(work, 'tree/a/b'), { recursive: true });
  symlinkSync('../../kept', join(work, 'tree/a/link'));
  symlinkSync(join(work, 'kept'), join(work, 'tree/link'));
  writeFileSync(Buffer.from(join(work, 'tree/a/\xff'), 'latin1'), '');
  await remove('tree');
  await remove('tree');
  assert.deepEqual(readdirSync(work), ['kept']);
  assert.deepEqual(readdirSync(join(work, 'kept')), ['file']);
});

test('a tree deeper than a path can be long, and than files can be held open, goes', async () => {
  makeDeep('deep', 5000);
  await remove('deep');
  assert.equal(existsSync(join(work, 'deep')), false);
});

test('a removal that is aborted is gone on with by the next', async () => {
  for (let each = 0; each < 1000; each++)
    mkdirSync(join(work, 'wide', String(each), 'd'), { recursive: true });
  const abort = new AbortController();
  const removed = remove('wide', abort.signal);
  abort.abort(new Error('enough'));
  await assert.rejects(removed, { message: 'enough' });
  assert.equal(existsSync(join(work, 'wide')), true);
  await remove('wide');
  assert.equal(existsSync(join(work, 'wide')), false);
});
