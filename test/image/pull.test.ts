import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ended } from '../../src/host/child.ts';
import { SpawnletError } from '../../src/host/error.ts';
import { type Host, realHost } from '../../src/host/host.ts';
import { nothingInUse } from '../../src/image/garbage.ts';
import { layerKeys } from '../../src/image/layer-keys.ts';
import type { Digest } from '../../src/image/manifest.ts';
import { type LayerProgress, pull } from '../../src/image/pull.ts';
import { openStore, type Store } from '../../src/image/store.ts';
import { archive, directory, file, hardlink, opaque } from '../harness/hostile-tar.ts';
import { memorySource } from '../harness/image-source.ts';
import { makeImage, makeIndex, type TestImage, writeLayout } from '../harness/images.ts';
import { temporaryDirectory } from '../harness/unpacked.ts';

const signal = new AbortController().signal;
const refused = (code: string) => (error: unknown) => error instanceof SpawnletError && error.code === code;

interface Bench extends AsyncDisposable {
  readonly path: string;
  readonly store: Store;
  readonly host: Host;
  pull(name: string, image: TestImage, options?: Parameters<typeof memorySource>[2]): ReturnType<typeof pull>;
}

async function bench(): Promise<Bench> {
  const tmp = await temporaryDirectory();
  const host = realHost(join(tmp.path, 'lock'), 'test');
  const store = await openStore(join(tmp.path, 'store'), host);
  return {
    path: join(tmp.path, 'store'),
    store,
    host,
    pull: (name, image, options) => pull(store, memorySource(name, image, options), host, {}, signal),
    [Symbol.asyncDispose]: () => tmp[Symbol.asyncDispose](),
  };
}

const files = (path: string) => (existsSync(path) ? readdirSync(path).sort() : []);
const one = makeImage({ layers: [archive(file('a', 'one')), archive(file('b', 'two'))] });
const two = makeImage({ layers: [archive(file('a', 'one')), archive(file('c', 'three'))] });

describe('a pull', () => {
  it('makes the image visible with its layers, once', async () => {
    await using b = await bench();
    const log: string[] = [];
    const image = await b.pull('localhost/one:1', one, { log });
    assert.deepEqual(image.names, ['localhost/one:1']);
    assert.equal(image.layers.length, 2);
    assert.equal(
      readFileSync(join(b.store.layers.path(b.store.overlay(image)[0] ?? ''), 'a'), 'utf8'),
      'one',
    );
    assert.equal(log.length, 4);
    log.length = 0;
    assert.deepEqual((await b.pull('localhost/one:1', one, { log })).id, image.id);
    assert.deepEqual(log, ['document root']);
  });

  it('fetches no layer that another image has', async () => {
    await using b = await bench();
    await b.pull('localhost/one:1', one);
    const log: string[] = [];
    await b.pull('localhost/two:1', two, { log });
    assert.equal(log.filter(line => line.startsWith('blob')).length, 2);
    assert.equal(files(join(b.path, 'l')).length, 3);
  });

  it('leaves nothing to see when a layer is not what the image says, and works when it is', async () => {
    await using b = await bench();
    const last = [...one.blobs.keys()].at(-2) as Digest;
    const blob = (digest: Digest, bytes: Buffer) => (digest === last ? Buffer.from(bytes).fill(1, 9) : bytes);
    await assert.rejects(b.pull('localhost/one:1', one, { blob }), SpawnletError);
    assert.deepEqual(await b.store.images(), []);
    assert.ok(files(join(b.path, 'l')).every(name => !name.startsWith('tmp-')));
    assert.deepEqual(files(join(b.path, 'leases')), []);
    assert.equal((await b.pull('localhost/one:1', one)).layers.length, 2);
  });

  it('that is ended takes its work away', async () => {
    await using b = await bench();
    const controller = new AbortController();
    const blob = (_digest: Digest, bytes: Buffer) =>
      bytes.length < 600 && bytes[0] === 0x7b
        ? bytes
        : new Readable({
            read() {
              setImmediate(() => controller.abort(new Error('enough')));
            },
          });
    await assert.rejects(
      pull(b.store, memorySource('x', one, { blob }), b.host, {}, controller.signal),
      /enough/,
    );
    assert.deepEqual(files(join(b.path, 'l')), []);
  });

  it('tells its progress in order', async () => {
    await using b = await bench();
    const events: LayerProgress[] = [];
    await pull(b.store, memorySource('x', one), b.host, { progress: event => events.push(event) }, signal);
    for (const digest of new Set(events.map(event => event.layer))) {
      const states = events.filter(event => event.layer === digest).map(event => event.state);
      assert.deepEqual([...new Set(states)], ['waiting', 'pulling', 'done']);
    }
  });

  it('of images whose layers link into lower ones, in turned order, never waits for itself (CVE-2021-20291)', {
    timeout: 30_000,
  }, async () => {
    await using b = await bench();
    const base = archive(file('a'), file('b'));
    const x = archive(file('from-x'), hardlink('x', 'a'));
    const y = archive(file('from-y'), hardlink('y', 'b'));
    const images = [makeImage({ layers: [base, x, y] }), makeImage({ layers: [base, y, x] })];
    // Each pull gets the lock of its lower layer only after the other has it as its upper one.
    const taken = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const pulls = images.map((image, index) => {
      const lowerLock = `layer-${image.diffIds[1]?.slice(7)}`;
      const upperLock = `layer-${image.diffIds[2]?.slice(7)}`;
      const { locks } = b.host;
      const wait: typeof locks.wait = async (name, signal) => {
        if (name === lowerLock) await taken[1 - index]?.promise;
        const lock = await locks.wait(name, signal);
        if (name === upperLock) taken[index]?.resolve();
        return lock;
      };
      const host = { ...b.host, locks: { ...locks, wait } };
      return pull(b.store, memorySource(`i${index}`, image), host, {}, signal);
    });
    assert.deepEqual(
      (await Promise.all(pulls)).map(image => image.layers.length),
      [3, 3],
    );
  });

  it('keeps layers with copies of lower ones by chain, others by diffID', async () => {
    await using b = await bench();
    const link = archive(hardlink('h', 'f'));
    const image = await b.pull('x', makeImage({ layers: [archive(file('f', 'first')), link] }));
    const other = await b.pull('y', makeImage({ layers: [archive(file('f', 'second')), link] }));
    const text = (of: typeof image) =>
      readFileSync(join(b.store.layers.path(of.layers[1]?.directory ?? ''), 'h'), 'utf8');
    assert.deepEqual([text(image), text(other)], ['first', 'second']);
    const keys = await layerKeys(image.config.diffIds);
    assert.deepEqual(
      image.layers.map(layer => layer.key),
      [keys[0]?.own, keys[1]?.chain],
    );
  });

  it('gives overlayfs no layer twice, and nothing below one that hides all', async () => {
    await using b = await bench();
    const a = archive(file('a'));
    const c = archive(file('c'));
    const twice = await b.pull('twice', makeImage({ layers: [a, c, a] }));
    assert.deepEqual(b.store.overlay(twice), [twice.layers[1]?.directory, twice.layers[0]?.directory]);
    const hidden = await b.pull('hidden', makeImage({ layers: [a, archive(opaque(''), file('z')), c] }));
    assert.deepEqual(
      b.store.overlay(hidden),
      hidden.layers.slice(1).map(layer => layer.directory),
    );
  });

  it('takes the manifest of an index that fits the platform', async () => {
    await using b = await bench();
    const arm = makeImage({
      layers: [archive(file('arm'))],
      platform: { os: 'linux', architecture: 's390x' },
    });
    const index = makeIndex([arm, one]);
    const image = await b.pull('multi', index);
    assert.equal(image.manifest, one.root.digest);
    assert.equal(image.root, index.root.digest);
    const platform = { os: 'linux', architecture: 's390x' };
    const other = await pull(b.store, memorySource('multi', index), b.host, { platform }, signal);
    assert.equal(other.manifest, arm.root.digest);
  });
});

describe('the store', () => {
  it('lets nobody but root pass, also where it was open before (CVE-2024-25621)', async () => {
    await using tmp = await temporaryDirectory();
    const path = join(tmp.path, 'store');
    mkdirSync(path);
    chmodSync(path, 0o755);
    await openStore(path, realHost(join(tmp.path, 'lock'), 'test'));
    assert.equal(lstatSync(path).mode & 0o7777, 0o700);
    await openStore(join(tmp.path, 'new'), realHost(join(tmp.path, 'lock'), 'test'));
    assert.equal(lstatSync(join(tmp.path, 'new')).mode & 0o7777, 0o700);
  });

  it('finds images by name, digest and the start of the ID', async () => {
    await using b = await bench();
    const image = await b.pull('localhost/one:1', one);
    for (const what of [
      'localhost/one:1',
      image.id,
      image.manifest,
      image.id.slice(7),
      image.id.slice(7, 12),
    ])
      assert.equal((await b.store.get(what)).id, image.id, what);
    for (const what of ['localhost/one', 'ab', '', '../../etc/passwd', `sha256:${'0'.repeat(64)}`])
      await assert.rejects(b.store.get(what), refused('ERR_IMAGE_NOT_FOUND'), what);
  });

  it('refuses digests that are paths, wherever they stand (CVE-2024-3727)', async () => {
    await using b = await bench();
    const bad = 'sha256:../../../../tmp/x' as Digest;
    const [[digest, document] = []] = [...one.documents];
    const text = document?.bytes.toString() ?? '';
    for (const old of [...text.matchAll(/sha256:[0-9a-f]{64}/g)].map(match => match[0])) {
      const bytes = Buffer.from(text.replace(old, bad));
      const documents = new Map([[digest as Digest, { mediaType: document?.mediaType ?? '', bytes }]]);
      await assert.rejects(b.pull('x', { ...one, documents }), refused('ERR_IMAGE_INVALID'));
    }
    const config = makeImage({ layers: [] });
    assert.ok(config.documents.size === 1);
  });

  it('gives another short name to a layer whose first digits are taken', async () => {
    await using b = await bench();
    const { layers } = b.store;
    const facts = { diffId: 'sha256:0' as Digest, entries: 0, size: 0, opaque: [] };
    const names: string[] = [];
    for (const key of ['a'.repeat(64), `${'a'.repeat(63)}b`, `${'a'.repeat(12)}${'c'.repeat(52)}`])
      names.push((await layers.publish(await layers.makeWork(), key, facts)).directory);
    assert.deepEqual(names, ['a'.repeat(12), 'a'.repeat(13), `${'a'.repeat(12)}c`]);
  });

  it('removes what only the removed image needs, and refuses what is in use', async () => {
    await using b = await bench();
    const image = await b.pull('one', one);
    await b.pull('also', one);
    await b.pull('two', two);
    const inUse = async () => ({
      manifests: new Map([[image.manifest, ['web', 'pod/db']]]),
      layers: new Set<string>(),
    });
    assert.deepEqual((await b.store.remove(['also'], inUse, signal)).images, []);
    await assert.rejects(b.store.remove(['one'], inUse, signal), {
      code: 'ERR_IMAGE_IN_USE',
      message: 'image one is in use: pod/db, web',
    });
    const removed = await b.store.remove(['one'], nothingInUse, signal);
    assert.deepEqual([removed.names, removed.images, removed.layers], [['one'], [image.manifest], 1]);
    assert.equal(files(join(b.path, 'l')).length, 2);
    assert.equal((await b.store.get('two')).layers.length, 2);
    await b.store.remove(['two'], nothingInUse, signal);
    for (const left of ['l', 'layers', 'blobs/sha256']) assert.deepEqual(files(join(b.path, left)), []);
  });

  it('keeps an image that lost its name until it is pruned, and layers that an app runs from', async () => {
    await using b = await bench();
    const old = await b.pull('app', one);
    await b.pull('app', two);
    assert.deepEqual(
      (await b.store.images()).map(image => image.names),
      [['app'], []],
    );
    const keep = async () => ({
      manifests: new Map<string, string[]>(),
      layers: new Set(old.layers.map(layer => layer.key)),
    });
    const pruned = await b.store.prune({ all: false }, keep, signal);
    assert.deepEqual([pruned.images, pruned.layers], [[old.manifest], 0]);
    assert.equal((await b.store.prune({ all: false }, nothingInUse, signal)).layers, 1);
    assert.equal((await b.store.prune({ all: true }, nothingInUse, signal)).layers, 2);
    assert.deepEqual(await b.store.images(), []);
  });

  it('keeps an image that a run has found until its container is there, and tells a run that came too late', async () => {
    await using b = await bench();
    const image = await b.pull('app', one);
    const keys = image.layers.map(layer => layer.key);
    const lease = await b.store.hold(image.manifest, keys, signal);
    await assert.rejects(b.store.remove(['app'], nothingInUse, signal), refused('ERR_IMAGE_IN_USE'));
    assert.deepEqual((await b.store.prune({ all: true }, nothingInUse, signal)).layers, 0);
    await lease[Symbol.asyncDispose]();
    await b.store.remove(['app'], nothingInUse, signal);
    await assert.rejects(b.store.hold(image.manifest, keys, signal), refused('ERR_IMAGE_NOT_FOUND'));
  });

  it('is pruned beside a pull without taking its layers away', async () => {
    await using b = await bench();
    let go = () => {};
    const wait = new Promise<void>(resolve => {
      go = resolve;
    });
    const layers = [...one.blobs.keys()].slice(0, 2);
    const blob = (digest: Digest, bytes: Buffer) =>
      digest === layers[1]
        ? Readable.from(
            (async function* () {
              await wait;
              yield bytes;
            })(),
          )
        : bytes;
    const pulling = pull(
      b.store,
      memorySource('slow', one, { blob }),
      b.host,
      { progress: event => event.state === 'done' && event.layer === layers[0] && prune() },
      signal,
    );
    const prune = () => void b.store.prune({ all: true }, nothingInUse, signal).then(go, go);
    assert.equal((await pulling).layers.length, 2);
  });

  it('is an OCI image layout', async () => {
    await using b = await bench();
    await b.pull('localhost/one:1', one);
    assert.deepEqual(JSON.parse(readFileSync(join(b.path, 'oci-layout'), 'utf8')), {
      imageLayoutVersion: '1.0.0',
    });
    const index = JSON.parse(readFileSync(join(b.path, 'index.json'), 'utf8'));
    assert.equal(index.manifests[0].annotations['org.opencontainers.image.ref.name'], 'localhost/one:1');
    assert.ok(existsSync(join(b.path, 'blobs/sha256', one.root.digest.slice(7))));
  });
});

describe('processes that pull at the same time', { timeout: 120_000 }, () => {
  const program = fileURLToPath(new URL('../harness/pull-layout.ts', import.meta.url));
  const start = (root: string): ChildProcess =>
    spawn(process.execPath, [program, join(root, 'layout'), join(root, 'store'), join(root, 'lock')], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });

  async function prepare(root: string): Promise<void> {
    const layers = Array.from({ length: 3 }, (_, layer) =>
      archive(
        directory(`d${layer}`),
        ...Array.from({ length: 400 }, (_, index) =>
          file(`d${layer}/${index}`, `${layer}`.repeat(index * 7)),
        ),
      ),
    );
    await writeLayout(join(root, 'layout'), { t: makeImage({ layers }) });
  }

  async function whole(root: string): Promise<void> {
    const host = realHost(join(root, 'lock'), 'test');
    const store = await openStore(join(root, 'store'), host);
    await store.prune({ all: false }, nothingInUse, signal);
    const [image] = await store.images();
    assert.equal(image?.layers.length, 3);
    assert.deepEqual(files(join(root, 'store/l')), image?.layers.map(layer => layer.directory).sort());
    for (const layer of image?.layers ?? [])
      assert.equal(
        files(join(store.layers.path(layer.directory), files(store.layers.path(layer.directory))[0] ?? ''))
          .length,
        400,
      );
    assert.deepEqual(files(join(root, 'store/leases')), []);
  }

  it('make it once and are all right', async () => {
    await using tmp = await temporaryDirectory();
    await prepare(tmp.path);
    const codes = await Promise.all(Array.from({ length: 4 }, () => ended(start(tmp.path))));
    assert.deepEqual(codes, [0, 0, 0, 0]);
    await whole(tmp.path);
  });

  it('and are killed at any instant leave what the next one finishes', async () => {
    await using tmp = await temporaryDirectory();
    await prepare(tmp.path);
    for (let round = 0; round < 12; round++) {
      const child = start(tmp.path);
      const end = ended(child);
      const timer = setTimeout(() => child.kill('SIGKILL'), 80 + randomInt(350));
      await end;
      clearTimeout(timer);
      if (round % 4 === 3) {
        const store = await openStore(join(tmp.path, 'store'), realHost(join(tmp.path, 'lock'), 'test'));
        await store.prune({ all: true }, nothingInUse, signal);
        assert.deepEqual(files(join(tmp.path, 'store/l')), []);
      }
    }
    assert.equal(await ended(start(tmp.path)), 0);
    await whole(tmp.path);
    assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), new RegExp(tmp.path));
  });
});

it('a hostile layer in `l/` that no description names is set aside when its name is needed', async () => {
  await using b = await bench();
  const [key] = await layerKeys(one.diffIds);
  const path = b.store.layers.path(key?.own.slice(0, 12) ?? '');
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'left'), 'over');
  const image = await b.pull('one', one);
  assert.deepEqual(files(b.store.layers.path(image.layers[0]?.directory ?? '')), ['a']);
});
