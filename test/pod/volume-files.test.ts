// runs in a lab
// Files of volumes as programs in a container read them, and who may.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import {
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { updateVolume, volumeExecutors } from '../../src/pod/volumes/executors.ts';
import { filesOf } from '../../src/pod/volumes/plan.ts';
import type { CheckHostPath, WriteVolume } from '../../src/pod/volumes/step.ts';
import { giveToGroup } from '../../src/pod/volumes/tree/ownership.ts';
import { textInVolume } from '../../src/pod/volumes/tree/read.ts';
import { usageOf } from '../../src/pod/volumes/tree/usage.ts';
import { plainFacts, podOf, TestObjects } from '../harness/pod-volumes.ts';
import { swap } from '../harness/swapper.ts';
import { host, objects, room, signal } from './volume-host.ts';

let work = '';
before(async () => {
  work = await mkdtemp('/var/tmp/volumes-');
});
after(() => rm(work, { recursive: true, force: true }));

let count = 0;

/** The step of a volume that has every key of the configMap `app`, in a place of its own. */
function appFiles(more: Partial<WriteVolume> = {}): WriteVolume {
  const [step] = filesOf(podOf([{ name: 'conf', configMap: { name: 'app' } }]), plainFacts);
  assert.ok(step);
  return { ...step, path: join(work, `files-${++count}`), ...more };
}

const update = (step: WriteVolume) => updateVolume(step, room, signal);
const modeOf = async (path: string) => ((await lstat(path)).mode & 0o7777).toString(8);

/** Names in a volume, links with their targets; the one directory of files is called FILES. */
async function listing(directory: string): Promise<string[]> {
  const files = await readlink(join(directory, '..data'));
  const names = (await readdir(directory)).sort();
  const rows = names.map(async name => {
    const entry = await lstat(join(directory, name));
    return entry.isSymbolicLink() ? `${name} -> ${await readlink(join(directory, name))}` : name;
  });
  return (await Promise.all(rows)).map(row => row.replaceAll(files, 'FILES')).sort();
}

describe('the files of a volume', () => {
  test('lie as the kubelet has them, and a removed key goes', async () => {
    const step = appFiles();
    objects.config('app', { 'app.conf': 'one', other: 'x' });
    assert.equal(await update(step), true);
    assert.deepEqual(
      await listing(step.path),
      ['..data -> FILES', 'FILES', 'app.conf -> ..data/app.conf', 'other -> ..data/other'].sort(),
    );
    assert.match(await readlink(join(step.path, '..data')), /^\.\.\d{4}(_\d\d){5}\.\w+$/);
    assert.equal(await modeOf(join(step.path, '..data/app.conf')), '644');

    objects.config('app', { 'app.conf': 'two' });
    assert.equal(await update(step), true);
    assert.deepEqual(
      await listing(step.path),
      ['..data -> FILES', 'FILES', 'app.conf -> ..data/app.conf'].sort(),
    );
    assert.equal(await readFile(join(step.path, 'app.conf'), 'utf8'), 'two');
  });

  test('are not touched if nothing has changed', async () => {
    const step = appFiles();
    objects.config('app', { a: 'one' });
    await update(step);
    const before = await stat(join(step.path, '..data'));
    assert.equal(await update(step), false);
    assert.equal((await stat(join(step.path, '..data'))).ino, before.ino);
    assert.equal(await volumeExecutors(room)['write-volume'].satisfied(step), true);
  });

  test('may be in directories, and have modes of their own', async () => {
    const items = [
      { key: 'a', path: 'etc/app/a', mode: 0o400 },
      { key: 'a', path: 'etc/b', mode: 0o755 },
    ];
    const step = appFiles({ sources: [{ kind: 'config-map', name: 'app', optional: false, items }] });
    objects.config('app', { a: 'one' });
    await update(step);
    assert.equal(await readlink(join(step.path, 'etc')), '..data/etc');
    assert.equal(await modeOf(join(step.path, 'etc/app/a')), '400');
    assert.equal(await modeOf(join(step.path, 'etc/b')), '755');
  });

  test('stay as they are when their object is gone', async () => {
    const step = appFiles();
    objects.config('app', { a: 'one' });
    await update(step);
    const gone = { host, objects: async () => new TestObjects() };
    await assert.rejects(updateVolume(step, gone, signal), { code: 'ERR_VOLUME_OBJECT' });
    assert.equal(await readFile(join(step.path, 'a'), 'utf8'), 'one');
  });

  test('are readable by the pod’s group, and changed for no other', async () => {
    const step = appFiles({ group: 2000, sources: [{ kind: 'text', path: 'd/t', mode: 0o600, text: 'x' }] });
    await update(step);
    const file = await stat(join(step.path, 'd/t'));
    assert.equal(file.gid, 2000);
    assert.equal(await modeOf(join(step.path, '..data/d/t')), '640');
    const directory = await stat(join(step.path, 'd'));
    assert.equal(directory.gid, 2000);
    assert.equal((directory.mode & 0o7777).toString(8), '2755');
    assert.equal(await update(step), false);
  });

  test('that are secret are not written where there is no tmpfs', async () => {
    const step = appFiles({ secret: true });
    await assert.rejects(update(step), { code: 'ERR_VOLUME_MEMORY' });
    await assert.rejects(lstat(step.path), { code: 'ENOENT' });
  });

  test('take the place of an empty directory that a subPath has made, and of nothing else', async () => {
    const step = appFiles();
    objects.config('app', {});
    await update(step);
    await mkdir(join(step.path, 'late'));
    await mkdir(join(step.path, 'full/x'), { recursive: true });
    objects.config('app', { late: 'here' });
    await update(step);
    assert.equal(await readFile(join(step.path, 'late'), 'utf8'), 'here');
    objects.config('app', { full: 'here' });
    await assert.rejects(update(step), { code: 'ERR_IN_THE_WAY' });
  });
});

/** Reads two files by one handle of the current directory, over and over, and tells of each pair. Old files go. */
const reader = `const { openSync, readFileSync, closeSync } = require('node:fs');
const { parentPort, workerData: path } = require('node:worker_threads');
const pairs = new Map();
let stop = false;
parentPort.on('message', () => { stop = true; });
const look = () => {
  for (let each = 0; each < 50; each++) {
    let directory;
    try {
      directory = openSync(path + '/..data', 'r');
      const [a, b] = ['a', 'b'].map(name => readFileSync('/proc/self/fd/' + directory + '/' + name, 'utf8'));
      pairs.set(a + ' ' + b, (pairs.get(a + ' ' + b) ?? 0) + 1);
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    } finally { if (directory !== undefined) closeSync(directory); }
  }
  if (stop) parentPort.postMessage(pairs); else setImmediate(look);
};
parentPort.postMessage('ready');
look();`;

test('a reader sees all files of one state or all of the next, never some of each', async () => {
  const step = appFiles();
  const write = (state: string) => update((objects.config('app', { a: state, b: state }), step));
  await write('0');
  const worker = new Worker(reader, { eval: true, workerData: step.path });
  try {
    await once(worker, 'message');
    for (let state = 1; state <= 300; state++) {
      await write(String(state % 10));
      await pause(1);
    }
    worker.postMessage('stop', []);
    const [pairs] = (await once(worker, 'message')) as [Map<string, number>];
    assert.ok(pairs.size > 5, 'it has seen states come and go');
    for (const pair of pairs.keys()) assert.match(pair, /^(\d) \1$/);
  } finally {
    await worker.terminate();
  }
});

/** Writes two states in turn until it is killed. */
const writer = (
  path: string,
) => `import { writeAtomically } from '${import.meta.dirname}/../../src/pod/volumes/content/atomic.ts';
const state = text => new Map(['a', 'b', 'd/' + text].map(name => [name, { content: Buffer.from(text), mode: 0o644, uid: 0 }]));
for (let n = 0; ; n++) {
  writeAtomically('${path}', state(n % 2 ? 'odd' : 'even'), { group: undefined, now: Date.now() });
  if (n === 0) console.log('ready');
}`;

test('a writer that is killed leaves one whole state, and the next puts in order what else it left', async t => {
  const step = appFiles();
  let leftovers = 0;
  for (let round = 0; round < 25; round++) {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', writer(step.path)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    await pause(Math.random() * 10);
    const ended = once(child, 'close');
    child.kill('SIGKILL');
    await ended;

    const directory = openSync(join(step.path, '..data'), 'r');
    const [a, b] = ['a', 'b'].map(name => readFileSync(`/proc/self/fd/${directory}/${name}`, 'utf8'));
    closeSync(directory);
    assert.match(`${a} ${b}`, /^(odd odd|even even)$/);
    if ((await readdir(step.path)).length !== 5) leftovers++;
    objects.config('app', { a: 'next' });
    await update(step);
    assert.deepEqual(await listing(step.path), ['..data -> FILES', 'FILES', 'a -> ..data/a'].sort());
  }
  t.diagnostic(`${leftovers} of 25 kills left something beside the state`);
});

describe('fsGroup', () => {
  const makeVolume = async () => {
    const path = await mkdtemp(join(work, 'group-'));
    await mkdir(join(path, 'd/e'), { recursive: true });
    await writeFile(join(path, 'd/file'), '', { mode: 0o600 });
    await writeFile(join(path, 'd/tool'), '', { mode: 0o755 });
    return path;
  };

  test('may read and write all of the volume, and what is made in it is the group’s', async () => {
    const path = await makeVolume();
    await giveToGroup(path, 2000, signal);
    assert.equal(await modeOf(path), '2770');
    assert.equal(await modeOf(join(path, 'd/e')), '2775');
    assert.equal(await modeOf(join(path, 'd/file')), '660');
    assert.equal(await modeOf(join(path, 'd/tool')), '775');
    await mkdir(join(path, 'd/new'));
    for (const name of ['', 'd', 'd/e', 'd/file', 'd/new'])
      assert.equal((await stat(join(path, name))).gid, 2000);
  });

  test('is told by the volume’s directory, which is changed last', async () => {
    const path = await makeVolume();
    const executor = volumeExecutors(room)['own-volume'];
    const step = { do: 'own-volume', path, group: 2000, when: 'on-mismatch' } as const;
    const abort = new AbortController();
    abort.abort(new Error('killed'));
    await assert.rejects(executor.apply(step, abort.signal), { message: 'killed' });
    assert.equal(await executor.satisfied(step), false);
    await executor.apply(step, signal);
    assert.equal(await executor.satisfied(step), true);
    await chown(join(path, 'd/file'), 0, 0);
    assert.equal(await executor.satisfied(step), true);
    assert.equal(await executor.satisfied({ ...step, when: 'always' }), false);
  });

  test('gets nothing outside of the volume, whatever a container does to its directories meanwhile', async () => {
    const outside = await mkdtemp(join(work, 'outside-'));
    for (let each = 0; each < 20; each++) await writeFile(join(outside, `f${each}`), '', { mode: 0o600 });
    const path = await makeVolume();
    for (let each = 0; each < 20; each++) await writeFile(join(path, 'd/e', `f${each}`), '');
    await symlink(outside, join(path, 'link'));
    {
      await using _container = await swap(join(path, 'd/e'), outside);
      for (let round = 0; round < 300; round++) await giveToGroup(path, 2000 + (round % 2), signal);
    }
    for (const name of ['', ...(await readdir(outside))]) {
      const { gid, mode } = await stat(join(outside, name));
      assert.equal(gid, 0, name);
      assert.equal(mode & 0o070, 0, name);
    }
  });
});

describe('a path of the host', () => {
  const check = async (path: string, type: string) => {
    const step: CheckHostPath = { do: 'check-host-path', volume: 'h', path, type };
    const executor = volumeExecutors(room)['check-host-path'];
    if (await executor.satisfied(step)) return 'there';
    await executor.apply(step, signal);
    assert.equal(await executor.satisfied(step), true);
    return 'made';
  };

  test('is what its type says, or the pod is told that it is not', async () => {
    const at = (name: string) => join(work, `host-${name}`);
    await mkdir(at('directory'));
    await writeFile(at('file'), '');
    await symlink(at('file'), at('link'));
    await using server = createServer().listen(at('socket'));
    await once(server, 'listening');
    const rows = [
      ['directory', '', 'there'],
      ['file', '', 'there'],
      ['directory', 'Directory', 'there'],
      ['directory', 'DirectoryOrCreate', 'there'],
      ['file', 'File', 'there'],
      ['link', 'File', 'there'],
      ['socket', 'Socket', 'there'],
      ['file', 'Directory', 'ERR_HOST_PATH'],
      ['directory', 'FileOrCreate', 'ERR_HOST_PATH'],
      ['file', 'DirectoryOrCreate', 'ERR_HOST_PATH'],
      ['file', 'Socket', 'ERR_HOST_PATH'],
      ['none', 'Directory', 'ERR_HOST_PATH'],
      ['none', 'File', 'ERR_HOST_PATH'],
      ['none', 'BlockDevice', 'ERR_HOST_PATH'],
      ['none/file', 'FileOrCreate', 'ERR_HOST_PATH'],
      ['new/a/b', '', 'made'],
      ['new/c', 'DirectoryOrCreate', 'made'],
      ['new/file', 'FileOrCreate', 'made'],
    ] as const;
    for (const [name, type, expected] of rows) {
      const found = await check(at(name), type).catch((error: { code: string }) => error.code);
      assert.equal(found, expected, `${name} as ${type}`);
    }
    assert.equal(await check('/dev/null', 'CharDevice'), 'there');
    await assert.rejects(check('/dev/null', 'BlockDevice'), { code: 'ERR_HOST_PATH' });
    assert.equal(await modeOf(at('new/c')), '755');
    assert.equal(await modeOf(at('new/file')), '644');
  });
});

test('what a volume holds is counted without going where its links lead', async () => {
  const path = await mkdtemp(join(work, 'usage-'));
  await writeFile(join(path, 'file'), Buffer.alloc(100_000, 1));
  await symlink('/usr', join(path, 'usr'));
  const usage = await usageOf([path, join(work, 'none')], host.children, signal);
  const bytes = usage.get(path) ?? 0;
  assert.ok(bytes >= 100_000 && bytes < 200_000, String(bytes));
  assert.equal(usage.get(join(work, 'none')), undefined);
});

test('a text is read of a volume, and nothing that a link outside of it leads to', async () => {
  const path = await mkdtemp(join(work, 'text-'));
  await writeFile(join(path, 'env'), 'A=1\n');
  await symlink('env', join(path, 'inner'));
  await symlink('/etc/passwd', join(path, 'outer'));
  await writeFile(join(path, 'large'), Buffer.alloc(70_000));
  assert.equal(textInVolume(path, 'inner'), 'A=1\n');
  for (const each of ['outer', 'none', '../x', 'large', '.'])
    assert.equal(textInVolume(path, each), undefined, each);
});
