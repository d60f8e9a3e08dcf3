import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import * as fc from 'fast-check';
import { GuestRoot } from './root.ts';

const work = mkdtempSync(join(tmpdir(), 'guest-root-'));
after(() => rmSync(work, { recursive: true, force: true }));

const own = { mode: 0o640, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

const fifo = join(work, 'fifo');
execFileSync('mkfifo', [fifo]);

/** All that is below a directory but for the tree, with contents: what must not change. */
function listing(directory: string): Record<string, string> {
  const rows: Record<string, string> = {};
  const visit = (path: string) => {
    const stat = lstatSync(path);
    const content = stat.isFile() ? readFileSync(path, 'utf8') : '';
    rows[path] = `${stat.mode.toString(8)} ${stat.ino} ${content}`;
    if (stat.isDirectory())
      for (const each of readdirSync(path)) if (each !== 'root') visit(join(path, each));
  };
  visit(directory);
  return rows;
}

type Hostile =
  | { name: string; kind: 'file' | 'fifo' }
  | { name: string; kind: 'link'; target: string }
  | { name: string; kind: 'directory'; entries: Hostile[] };

let count = 0;

/** A tree between two directories that are not its business. */
function makeTree(all: readonly Hostile[]): { root: string; around: string } {
  const around = join(work, String(++count));
  const root = join(around, 'root');
  mkdirSync(join(around, 'outside/etc'), { recursive: true });
  mkdirSync(join(around, 'etc'));
  mkdirSync(root);
  for (const path of ['outside/secret', 'outside/etc/shadow', 'etc/shadow', 'shadow'])
    writeFileSync(join(around, path), path);
  const fill = (directory: string, some: readonly Hostile[]) => {
    for (const entry of some) {
      const path = join(directory, entry.name);
      if (existsSync(path) || lstatSync(path, { throwIfNoEntry: false })) continue;
      if (entry.kind === 'file') writeFileSync(path, 'old');
      else if (entry.kind === 'fifo') linkSync(fifo, path);
      else if (entry.kind === 'link') symlinkSync(entry.target.replaceAll('AROUND', around), path);
      else if (entry.kind === 'directory') {
        mkdirSync(path);
        fill(path, entry.entries);
      }
    }
  };
  fill(root, all);
  return { root, around };
}

const name = fc.constantFrom('etc', 'shadow', 'a', 'b', 'outside');
const target = fc.oneof(
  fc.constantFrom(
    '..',
    '../..',
    '/',
    '/etc',
    '.',
    'AROUND',
    'AROUND/outside',
    'AROUND/outside/etc',
    'AROUND/outside/etc/shadow',
    '../outside',
    '../../outside/etc',
    '../../etc/shadow',
    '/proc/self/root',
    '/proc/self/cwd',
    'nowhere/at/all',
  ),
  fc.array(fc.oneof(name, fc.constant('..')), { minLength: 1, maxLength: 5 }).map(parts => parts.join('/')),
);
const { entries } = fc.letrec<{ entries: Hostile[]; entry: Hostile }>(tie => ({
  entries: fc.array(tie('entry'), { maxLength: 5 }),
  entry: fc.oneof(
    { depthSize: 'small' },
    fc.record({ name, kind: fc.constantFrom('file' as const, 'fifo' as const) }),
    fc.record({ name, kind: fc.constant('link' as const), target }),
    fc.record({ name, kind: fc.constant('directory' as const), entries: tie('entries') }),
  ),
}));
const path = fc
  .array(fc.oneof(name, fc.constant('..')), { minLength: 1, maxLength: 4 })
  .map(parts => `/${parts.join('/')}`);

/** The system's or spawnlet's refusal of a tree that cannot be written to; a defect throws something else. */
async function attempt(work: () => unknown): Promise<void> {
  try {
    await work();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : error;
    assert.ok(['ERR_GUEST_PATH', 'ERR_IN_THE_WAY'].includes(String(code)), String(error));
  }
}

describe('a tree that was made to harm', () => {
  test('is written, linked, filled and emptied with nothing changed outside', async () => {
    await fc.assert(
      fc.asyncProperty(entries, fc.array(path, { minLength: 1, maxLength: 4 }), async (all, paths) => {
        const { root, around } = makeTree(all);
        const before = listing(around);
        {
          using tree = new GuestRoot(root);
          for (const each of paths) {
            await attempt(() => tree.write(each, 'new', own));
            await attempt(() => tree.link(each, '/etc/passwd'));
            await attempt(() => tree.makeDirectory(each, { ...own, mode: 0o700 }));
            await attempt(() => tree.read(each));
            await attempt(() => tree.remove(each));
          }
        }
        assert.deepEqual(listing(around), before);
        rmSync(around, { recursive: true });
      }),
      { numRuns: 300 },
    );
  });
});

describe('a path of a tree', () => {
  const treeOf = (all: readonly Hostile[]) => new GuestRoot(makeTree(all).root);
  const directory = (entryName: string, ...all: Hostile[]): Hostile => ({
    name: entryName,
    kind: 'directory',
    entries: all,
  });
  const link = (entryName: string, to: string): Hostile => ({ name: entryName, kind: 'link', target: to });

  test('goes through links as the machine would see them', () => {
    using tree = treeOf([
      directory('etc', { name: 'shadow', kind: 'file' }),
      link('a', '/../../etc'),
      link('b', 'a/../a'),
    ]);
    assert.equal(tree.read('/b/shadow')?.text, 'old');
    assert.equal(tree.look('/b')?.kind, 'link');
    assert.equal(tree.look('/b', 'follow')?.kind, 'directory');
    assert.deepEqual(tree.list('/b'), ['shadow']);
  });

  test('of which a dangling link is a part is made inside', () => {
    using tree = treeOf([link('etc', '/a/b')]);
    tree.write('/etc/hostname', 'web', own);
    assert.equal(tree.read('/a/b/hostname')?.text, 'web');
  });

  test('that ends in a fifo is replaced, and never opened', () => {
    using tree = treeOf([directory('etc', { name: 'shadow', kind: 'fifo' })]);
    assert.equal(tree.read('/etc/shadow'), undefined);
    tree.write('/etc/shadow', 'new', own);
    assert.equal(tree.read('/etc/shadow')?.text, 'new');
  });

  test('that leads through a file, or round in circles, is refused', () => {
    using tree = treeOf([{ name: 'etc', kind: 'file' }, link('a', 'b'), link('b', 'a')]);
    assert.throws(() => tree.write('/etc/shadow', '', own), { code: 'ERR_GUEST_PATH' });
    assert.throws(() => tree.write('/a/x', '', own), { code: 'ERR_GUEST_PATH' });
    assert.throws(() => tree.read('/a'), { code: 'ERR_GUEST_PATH' });
  });

  test('that is a directory is not replaced by a file, and leaves nothing behind', () => {
    using tree = treeOf([directory('etc', directory('shadow'))]);
    assert.throws(() => tree.write('/etc/shadow', '', own), { code: 'ERR_IN_THE_WAY' });
    assert.deepEqual(tree.list('/etc'), ['shadow']);
  });

  test('keeps the bytes of names and contents that are no UTF-8', async () => {
    using tree = treeOf([]);
    tree.write('/etc/café', '\xff\xfe', own);
    assert.deepEqual(readdirSync(join(tree.path, 'etc')), ['café']);
    assert.deepEqual(readFileSync(join(tree.path, 'etc/café')), Buffer.from([0xff, 0xfe]));
    tree.makeDirectory('/ö/ü', own);
    await tree.remove('/ö');
    assert.deepEqual(tree.list('/'), ['etc']);
  });
});

/** What a machine that runs may do in its tree: a directory becomes a link to the host's, and back. */
const swapper = `const { renameSync, symlinkSync, unlinkSync } = require('node:fs');
const { parentPort, workerData: { path, outside } } = require('node:worker_threads');
parentPort.postMessage('ready');
const attempt = (change) => { try { change(); } catch {} };
for (;;) {
  attempt(() => renameSync(path, path + '.real'));
  attempt(() => symlinkSync(outside, path));
  attempt(() => unlinkSync(path));
  attempt(() => renameSync(path + '.real', path));
}`;

test('a directory that becomes a link while it is removed leads to nothing outside', async () => {
  const around = join(work, 'swapped');
  const [root, outside] = [join(around, 'root'), join(around, 'outside')];
  const path = join(root, 'd/s');
  mkdirSync(root, { recursive: true });
  mkdirSync(outside);
  const names = Array.from({ length: 20 }, (_each, index) => `file${10 + index}`);
  for (const name of names) writeFileSync(join(outside, name), 'kept');
  const worker = new Worker(swapper, { eval: true, workerData: { path, outside } });
  try {
    await new Promise(resolve => worker.once('message', resolve));
    using tree = new GuestRoot(root);
    for (let round = 0; round < 200; round++) {
      mkdirSync(join(root, 'new/s'), { recursive: true });
      for (const name of names) writeFileSync(join(root, 'new/s', name), '');
      if (!existsSync(join(root, 'd'))) renameSync(join(root, 'new'), join(root, 'd'));
      await tree.remove('/d').catch(() => undefined);
      assert.deepEqual(readdirSync(outside), names, `round ${round}`);
    }
  } finally {
    await worker.terminate();
  }
});
