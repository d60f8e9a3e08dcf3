// runs in a lab: bookworm trixie
// Parts of volumes, and containers that would have others of them: CVE-2017-1002101, CVE-2021-25741.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { mountsBelow } from '../../src/host/mounts.ts';
import { unmountBelow } from '../../src/host/unmount.ts';
import { updateVolume, volumeExecutors } from '../../src/pod/volumes/executors.ts';
import type { BindSubPath } from '../../src/pod/volumes/step.ts';
import { system } from '../app/tools.ts';
import { swap } from '../harness/swapper.ts';
import { host, objects, room, signal } from './volume-host.ts';

let work = '';
let volume = '';
let outside = '';
let count = 0;

before(async () => {
  work = await mkdtemp('/var/tmp/subpath-');
});
after(() => rm(work, { recursive: true, force: true }));

beforeEach(async () => {
  const here = join(work, String(++count));
  volume = join(here, 'volume');
  outside = join(here, 'outside');
  for (const path of [volume, outside, join(here, 'places')]) await mkdir(path, { recursive: true });
  await writeFile(join(outside, 'secret'), 'of the host');
});
afterEach(() => unmountBelow(work, host.children, signal));

const executor = volumeExecutors(room)['bind-subpath'];

function stepOf(subPath: string, more: Partial<BindSubPath> = {}): BindSubPath {
  const path = join(work, String(count), 'places/0');
  return { do: 'bind-subpath', volume: 'v', root: volume, subPath, path, make: true, ...more };
}

/** As the agent does it: what is there already is left. */
async function bind(subPath: string, more: Partial<BindSubPath> = {}): Promise<string> {
  const step = stepOf(subPath, more);
  if (!(await executor.satisfied(step))) await executor.apply(step, signal);
  assert.equal(await executor.satisfied(step), true);
  return step.path;
}

describe('a subPath', () => {
  test('is a directory or a file of the volume, and what is written to it is in the volume', async () => {
    await mkdir(join(volume, 'a/b'), { recursive: true });
    await writeFile(join(volume, 'a/file'), 'text');
    const place = await bind('a/b');
    await writeFile(join(place, 'new'), 'written');
    assert.equal(await readFile(join(volume, 'a/b/new'), 'utf8'), 'written');
    assert.equal(await readFile(await bind('a/file'), 'utf8'), 'text');
    assert.equal(mountsBelow(place).length, 1, 'one takes the place of the other');
  });

  test('may be a socket or a FIFO, which nobody opens', async () => {
    await using server = createServer().listen(join(volume, 'socket'));
    await once(server, 'listening');
    await system('mkfifo', join(volume, 'fifo'));
    assert.ok((await lstat(await bind('socket'))).isSocket());
    assert.ok((await lstat(await bind('fifo'))).isFIFO());
  });

  test('that is not there is made with the mode of the volume', async () => {
    await system('chmod', '2777', volume);
    await system('chgrp', '2000', volume);
    const place = await bind('logs/web-0');
    for (const path of [place, join(volume, 'logs'), join(volume, 'logs/web-0')]) {
      const { mode, gid } = await stat(path);
      assert.equal((mode & 0o7777).toString(8), '2777', path);
      assert.equal(gid, 2000, path);
    }
    await assert.rejects(bind('none', { make: false }), { code: 'ERR_SUBPATH' });
    await assert.rejects(bind('none', { root: join(work, 'none') }), { code: 'ERR_SUBPATH' });
  });

  test('goes through links that stay in the volume', async () => {
    await mkdir(join(volume, 'v1'));
    await writeFile(join(volume, 'v1/file'), 'one');
    await symlink('v1', join(volume, 'now'));
    await symlink(join(volume, 'v1'), join(volume, 'absolute'));
    assert.equal(await readFile(await bind('now/file'), 'utf8'), 'one');
    assert.equal(await readFile(await bind('absolute/file'), 'utf8'), 'one');
  });

  test('of a configMap is the key as it is at the start, and as it has become at the next', async () => {
    const files = join(work, String(count), 'files');
    const step = {
      do: 'write-volume',
      pod: { namespace: 'shop', name: 'web', uid: 'u' },
      volume: 'conf',
      path: files,
      sources: [{ kind: 'config-map', name: 'app', optional: false, items: { mode: 0o644 } }],
      group: undefined,
      secret: false,
    } as const;
    objects.config('app', { key: 'one' });
    await updateVolume(step, room, signal);
    const place = await bind('key', { root: files });
    objects.config('app', { key: 'two' });
    await updateVolume(step, room, signal);
    assert.equal(await readFile(place, 'utf8'), 'one');
    await bind('key', { root: files });
    assert.equal(await readFile(place, 'utf8'), 'two');
  });

  test('that leads out of the volume is refused', async () => {
    await symlink('../outside', join(volume, 'up'));
    await symlink(outside, join(volume, 'absolute'));
    await symlink(join(outside, 'secret'), join(volume, 'file'));
    await symlink('/proc/self/root', join(volume, 'root'));
    await symlink(`${volume}/../outside`, join(volume, 'round'));
    for (const path of ['up', 'up/secret', 'absolute', 'absolute/new', 'file', 'root/etc', 'round', '..'])
      await assert.rejects(bind(path), { code: 'ERR_SUBPATH' }, path);
    assert.deepEqual(await readdir(outside), ['secret']);
    assert.equal(existsSync(stepOf('x').path), false);
  });

  test('is taken back with its mount', async () => {
    await mkdir(join(volume, 'a'));
    await writeFile(join(volume, 'a/file'), '');
    const step = stepOf('a');
    await executor.apply(step, signal);
    await executor.undo?.(step, null);
    await executor.undo?.(step, null);
    assert.equal(existsSync(step.path), false);
    assert.deepEqual(await readdir(join(volume, 'a')), ['file']);
  });
});

/** Tries until something of the volume was bound often enough, and something refused; says how often. It has a minute. */
async function tries(subPath: string, check: (place: string) => Promise<void>) {
  const outcome = { bound: 0, refused: 0 };
  const late = AbortSignal.timeout(60_000);
  while (outcome.bound < 5 || outcome.refused < 5) {
    late.throwIfAborted();
    // What is made in the place of something would be in the way of the swaps.
    const step = stepOf(subPath, { make: false });
    try {
      await executor.apply(step, signal);
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'ERR_SUBPATH', String(error));
      outcome.refused++;
      continue;
    }
    await check(step.path);
    outcome.bound++;
  }
  return outcome;
}

describe('a container that swaps, while its neighbour starts,', () => {
  test('a directory for a link gets nothing of the host', async t => {
    await mkdir(join(volume, 'a/b'), { recursive: true });
    await writeFile(join(volume, 'a/b/secret'), 'of the volume');
    await mkdir(join(outside, 'b'));
    await writeFile(join(outside, 'b/secret'), 'of the host');
    await using _container = await swap(join(volume, 'a'), outside);
    const outcome = await tries('a/b', async place => {
      const there = await readFile(join(place, 'secret'), 'utf8').catch(() => 'new');
      assert.notEqual(there, 'of the host');
    });
    t.diagnostic(JSON.stringify(outcome));
    assert.deepEqual((await readdir(outside)).sort(), ['b', 'secret'], 'and nothing was made there');
  });

  test('the last name for a link to a file gets nothing of the host', async t => {
    await writeFile(join(volume, 'secret'), 'of the volume');
    await using _container = await swap(join(volume, 'secret'), join(outside, 'secret'));
    const outcome = await tries('secret', async place => {
      const stat = await lstat(place);
      if (stat.isFile()) assert.equal(await readFile(place, 'utf8'), 'of the volume');
    });
    t.diagnostic(JSON.stringify(outcome));
  });

  test('a directory above one that is being made has none made elsewhere', async () => {
    await mkdir(join(volume, 'a'));
    await using _container = await swap(join(volume, 'a'), outside);
    for (let round = 0; round < 100; round++)
      await executor.apply(stepOf(`a/new${round}/x`), signal).catch((error: { code?: string }) => {
        assert.equal(error.code, 'ERR_SUBPATH');
      });
    assert.deepEqual(await readdir(outside), ['secret']);
  });
});
