import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeFiles } from '../../host/files.ts';
import { FakeLocks } from '../../host/lock.ts';
import { mountPointExecutors } from './mount-points.ts';

const signal = new AbortController().signal;

async function scene() {
  const files = new FakeFiles();
  for (const uid of ['one', 'two']) await files.makeDirectory(`/var/lib/spawnlet/pods/${uid}`, 0o700);
  await files.makeDirectory('/etc', 0o755);
  const steps = mountPointExecutors({ files, locks: new FakeLocks() });
  const make = (uid: string, ...targets: string[]) =>
    steps['make-mount-points'].apply(
      { do: 'make-mount-points', uid, mounts: targets.map(target => ({ source: '/', target })) },
      signal,
    );
  const remove = (uid: string) =>
    steps['remove-mount-points'].apply({ do: 'remove-mount-points', uid }, signal);
  const are = async (...paths: string[]) =>
    (await Promise.all(paths.map(path => files.look(path)))).map(entry => entry?.kind);
  return { files, make, remove, are };
}

test('what is missing of a path is made, and goes with the last pod that has it', async () => {
  const { make, remove, are } = await scene();
  await make('one', '/data/a', '/etc');
  await make('two', '/data/a/b');
  assert.deepEqual(await are('/data/a', '/data/a/b'), ['directory', 'directory']);
  await remove('one');
  assert.deepEqual(await are('/data/a', '/data/a/b', '/etc'), ['directory', 'directory', 'directory']);
  await remove('two');
  assert.deepEqual(await are('/data', '/etc'), [undefined, 'directory']);
});

test('what somebody has put there since stays, and done twice it is the same', async () => {
  const { files, make, remove, are } = await scene();
  await make('one', '/data');
  await make('one', '/data');
  await files.write('/data/file', 'x', 0o644);
  await remove('one');
  await remove('one');
  assert.deepEqual(await are('/data/file'), ['file']);
});

test('what a program has of its own, or in another of its volumes, is not made on the host', async () => {
  const { files, make, are } = await scene();
  await files.link('/link', '/etc');
  await make('one', '/tmp/a', '/run/b', '/root/c', '/data', '/data/inside', '/link/d');
  assert.deepEqual(await are('/tmp', '/run', '/root', '/data', '/data/inside', '/etc/d'), [
    undefined,
    undefined,
    undefined,
    'directory',
    undefined,
    undefined,
  ]);
});
