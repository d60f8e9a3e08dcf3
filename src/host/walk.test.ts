import assert from 'node:assert/strict';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { swap } from '../../test/harness/swapper.ts';
import { placeOf } from './handle.ts';
import { type Rules, walk } from './walk.ts';

const work = mkdtempSync(join(tmpdir(), 'wälk-'));
after(() => rmSync(work, { recursive: true, force: true }));
const root = join(work, 'root');
mkdirSync(join(root, 'a/b'), { recursive: true });
mkdirSync(join(work, 'root.beside'));
writeFileSync(join(root, 'a/file'), '');
for (const [link, target] of [
  ['in', 'a/b/..'],
  ['absolute', join(root, 'a/b')],
  ['itself', root],
  ['up', 'a/../../root.beside'],
  ['beside', `${root}.beside`],
  ['etc', '/etc'],
  ['round', 'round'],
] as const)
  symlinkSync(target, join(root, link));

/** Where a path leads, from the root; undefined if nowhere. */
function placeAt(path: string, rules: Partial<Rules> = {}): string | undefined {
  const handle = openSync(root, 'r');
  try {
    const blocked = (why: string) => new Error(why);
    using spot = walk(handle, path, { last: 'follow', outside: 'refused', blocked, ...rules });
    return spot?.found === undefined ? undefined : placeOf(spot.found).slice(work.length);
  } finally {
    closeSync(handle);
  }
}

test('a path is followed through links that stay in the directory, absolute ones too', () => {
  assert.equal(placeAt('in/b'), '/root/a/b');
  assert.equal(placeAt('absolute/../file'), '/root/a/file');
  assert.equal(placeAt('itself/a'), '/root/a');
  assert.equal(placeAt(''), '/root');
  assert.equal(placeAt('a/none'), undefined);
  assert.equal(placeAt('a/file/none'), undefined);
});

test('a path out of the directory is refused, or is one inside, by the rules', () => {
  for (const path of ['up', 'beside', 'etc/passwd', '..', 'a/../..', 'round'])
    assert.throws(() => placeAt(path), path);
  assert.equal(placeAt('../../a', { outside: 'root' }), '/root/a');
  assert.equal(placeAt('beside', { outside: 'root' }), undefined);
});

test('directories that are missing are made, with the mode that is asked for', () => {
  assert.equal(placeAt('new/one', { make: 'all', mode: 0o2777 }), '/root/new/one');
  for (const path of ['new', 'new/one']) assert.equal(statSync(join(root, path)).mode & 0o7777, 0o2777);
  assert.equal(placeAt('new/two/three', { make: 'above' }), undefined);
  assert.equal(placeAt('new/two'), '/root/new/two');
  assert.throws(() => placeAt('a/file/none', { make: 'all' }), /no directory/);
});

test('in a directory that was removed while it is held nothing is made', () => {
  const gone = join(work, 'gone');
  mkdirSync(gone);
  const handle = openSync(gone, 'r');
  rmSync(gone, { recursive: true });
  try {
    const rules = { last: 'follow', outside: 'refused', make: 'all', blocked: Error } as const;
    assert.equal(walk(handle, 'new/one', rules), undefined);
  } finally {
    closeSync(handle);
  }
});

test('the mode is that of the directory that was made, not of what a link in its place leads to', async () => {
  const outside = join(work, 'outside');
  mkdirSync(outside, { mode: 0o700 });
  await using _container = await swap(join(root, 'swapped'), outside);
  const until = performance.now() + 1500;
  while (performance.now() < until) {
    try {
      placeAt('swapped', { make: 'all', mode: 0o777 });
    } catch {
      // It was the link.
    }
    assert.equal(statSync(outside).mode & 0o777, 0o700);
  }
});
