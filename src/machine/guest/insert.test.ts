import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { swap } from '../../../test/harness/swapper.ts';
import { insert } from './insert.ts';
import { GuestRoot } from './root.ts';

const work = mkdtempSync(join(tmpdir(), 'insert-'));
after(() => rmSync(work, { recursive: true, force: true }));

const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const { signal } = new AbortController();

/** A source, a root to copy into, and a directory outside of it. */
function scene(name: string) {
  const at = (path: string) => join(work, name, path);
  for (const path of ['source/a', 'root/a', 'outside']) mkdirSync(at(path), { recursive: true });
  return at;
}

test('files, directories and links are copied, with modes and times, into what is there', async () => {
  const at = scene('plain');
  writeFileSync(at('source/a/run'), 'x'.repeat(200_000), { mode: 0o750 });
  utimesSync(at('source/a/run'), 1000, 1000);
  symlinkSync('run', at('source/a/link'));
  execFileSync('mkfifo', [at('source/a/fifo')]);
  writeFileSync(at('root/a/other'), 'stays');
  using tree = new GuestRoot(at('root'));
  await insert(at('source'), tree, '/', owner, signal);
  assert.deepEqual(readdirSync(at('root/a')).sort(), ['link', 'other', 'run']);
  const { mode, mtimeMs, size } = lstatSync(at('root/a/run'));
  assert.deepEqual([mode & 0o7777, mtimeMs, size], [0o750, 1_000_000, 200_000]);
  assert.equal(readlinkSync(at('root/a/link')), 'run');
});

test('set-id bits are not copied', async () => {
  const at = scene('bits');
  writeFileSync(at('source/a/run'), '');
  execFileSync('chmod', ['6755', at('source/a/run')]);
  using tree = new GuestRoot(at('root'));
  await insert(at('source/a/run'), tree, '/run', owner, signal);
  assert.equal(lstatSync(at('root/run')).mode & 0o7777, 0o755);
});

test('nothing is written out of a tree whose directories become links meanwhile', async () => {
  const at = scene('swapped');
  for (const name of ['x', 'y']) writeFileSync(at(`source/a/${name}`), 'new');
  writeFileSync(at('outside/x'), 'old');
  using tree = new GuestRoot(at('root'));
  await using _swapper = await swap(at('root/a'), at('outside'));
  for (let round = 0; round < 100; round++)
    await insert(at('source'), tree, '/', owner, signal).catch((error: { code: string }) =>
      assert.match(error.code, /^ERR_(?:GUEST_PATH|GUEST_COPY|IN_THE_WAY)$/),
    );
  assert.equal(readFileSync(at('outside/x'), 'utf8'), 'old');
  assert.deepEqual(readdirSync(at('outside')), ['x']);
});
