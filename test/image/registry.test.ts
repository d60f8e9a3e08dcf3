import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { FakeChildren } from '../../src/host/child.ts';
import { systemClock } from '../../src/host/clock.ts';
import { systemFiles } from '../../src/host/files.ts';
import { hostPlatform } from '../../src/image/platform.ts';
import { parseReference } from '../../src/image/reference.ts';
import { parseConfigOf, resolveManifest } from '../../src/image/resolve.ts';
import type { Source } from '../../src/image/source.ts';
import { openSource, type SourceOptions } from '../../src/image/source-of.ts';
import { makeCertificate } from '../harness/certificate.ts';
import { busyboxImage, digestOf, makeImage, makeIndex, type TestImage } from '../harness/images.ts';
import { startRegistry, type TestRegistry } from '../harness/registry.ts';

const signal = AbortSignal.timeout(600_000);
const host = { files: systemFiles, children: new FakeChildren(), clock: systemClock };
const login = { username: 'tester', password: 'pass:word "with" everything' };

function open(reference: string, options: Partial<SourceOptions> = {}): Promise<Source> {
  return openSource(parseReference(reference), { host, env: { HOME: '/nonexistent' }, ...options }, signal);
}

/** Reads an image as a pull does, each digest checked. */
async function fetchAll(source: Source): Promise<{ digest: string; layers: string[] }> {
  const { document, manifest } = await resolveManifest(source, hostPlatform(), signal);
  const chunks: Buffer[] = [];
  for await (const chunk of await source.blob(manifest.config, signal)) chunks.push(chunk as Buffer);
  const config = Buffer.concat(chunks);
  assert.equal(digestOf(config), manifest.config.digest);
  parseConfigOf(manifest, config, hostPlatform());
  const layers: string[] = [];
  for (const layer of manifest.layers) {
    const parts: Buffer[] = [];
    for await (const chunk of await source.blob(layer, signal)) parts.push(chunk as Buffer);
    layers.push(digestOf(Buffer.concat(parts)));
    assert.equal(layers.at(-1), layer.digest);
  }
  return { digest: document.digest, layers };
}

describe('an image in a registry', () => {
  let registry: TestRegistry;
  let busybox: TestImage;
  before(async () => {
    registry = await startRegistry();
    busybox = await busyboxImage();
    await registry.push('test/busybox:1', busybox);
  });
  after(() => registry[Symbol.asyncDispose]());

  it('is found by tag', async () => {
    await using source = await open(`${registry.host}/test/busybox:1`);
    assert.equal(source.name, `${registry.host}/test/busybox:1`);
    assert.equal((await fetchAll(source)).digest, busybox.root.digest);
  });

  it('is found by digest, and by digest where a tag stands too', async () => {
    const other = makeImage({ layers: [[{ path: 'other', content: 'x' }]] });
    await registry.push('test/busybox:other', other);
    for (const written of [`@${busybox.root.digest}`, `:other@${busybox.root.digest}`]) {
      await using source = await open(`${registry.host}/test/busybox${written}`);
      assert.equal((await fetchAll(source)).digest, busybox.root.digest);
    }
  });

  it('tells its digest without its manifest', async () => {
    await using source = await open(`${registry.host}/test/busybox:1`);
    assert.equal(await source.head?.(signal), busybox.root.digest);
  });

  it('is found in an index in an index', async () => {
    const foreign = makeImage({ layers: [[]], platform: { os: 'linux', architecture: 's390x' } });
    const index = makeIndex([makeIndex([foreign]), makeIndex([busybox])]);
    await using source = await open(await registry.push('test/nested:1', index));
    assert.equal((await fetchAll(source)).digest, busybox.root.digest);
  });

  it('in Docker schema 2, with a manifest list, is as good', async () => {
    const layers = [[{ path: 'a', content: 'x' }], [{ path: 'b', content: 'y' }]];
    const list = makeIndex([makeImage({ layers, docker: true })], { docker: true });
    await using source = await open(await registry.push('test/docker:1', list));
    assert.equal((await fetchAll(source)).layers.length, 2);
  });

  it('in zstd, and not compressed, is as good', async () => {
    for (const compression of ['zstd', 'none'] as const) {
      const image = makeImage({ layers: [[{ path: 'a', content: compression }]], compression });
      await using source = await open(await registry.push(`test/${compression}:1`, image));
      assert.equal((await fetchAll(source)).digest, image.root.digest);
    }
  });

  it('that is not there, by name, tag or digest, is ERR_IMAGE_NOT_FOUND', async () => {
    for (const name of ['test/missing:1', 'test/busybox:none', `test/busybox@sha256:${'0'.repeat(64)}`]) {
      await using source = await open(`${registry.host}/${name}`);
      await assert.rejects(source.document(undefined, signal), {
        code: 'ERR_IMAGE_NOT_FOUND',
        hint: new RegExp(registry.host),
      });
    }
  });

  it('for another platform is ERR_PLATFORM with the platforms there are', async () => {
    const image = makeImage({ layers: [[]], platform: { os: 'linux', architecture: 's390x' } });
    await using source = await open(await registry.push('test/s390x:1', makeIndex([image])));
    await assert.rejects(resolveManifest(source, hostPlatform(), signal), {
      code: 'ERR_PLATFORM',
      hint: 'it is made for linux/s390x',
    });
  });
});

it('no registry at an address is an error that says so, at once', async () => {
  await using source = await open('127.0.0.1:1/x');
  await assert.rejects(source.document(undefined, signal), {
    code: 'ERR_REGISTRY',
    hint: /nothing listens at 127\.0\.0\.1:1/,
  });
});

describe('a registry with passwords', () => {
  let registry: TestRegistry;
  let directory: string;
  before(async () => {
    registry = await startRegistry({ login });
    directory = await mkdtemp(join(tmpdir(), 'spawnlet-auth-'));
    await registry.push('private/x:1', makeImage({ layers: [[{ path: 'a', content: 'x' }]] }));
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  async function authFile(name: string, pair: string): Promise<NodeJS.ProcessEnv> {
    const path = join(directory, name);
    const auth = Buffer.from(pair).toString('base64');
    await writeFile(path, JSON.stringify({ auths: { [`${registry.host}/private`]: { auth } } }));
    return { REGISTRY_AUTH_FILE: path };
  }

  it('lets the user in whose password is in the file', async () => {
    const env = await authFile('good.json', `${login.username}:${login.password}`);
    await using source = await open(`${registry.host}/private/x:1`, { env });
    assert.equal((await fetchAll(source)).layers.length, 1);
  });

  it('lets nobody in with a wrong password or none, and the error tells where to put one', async () => {
    for (const env of [await authFile('bad.json', 'tester:wrong'), { HOME: directory }]) {
      await using source = await open(`${registry.host}/private/x:1`, { env });
      await assert.rejects(source.document(undefined, signal), {
        code: 'ERR_UNAUTHORIZED',
        hint: /podman login .*REGISTRY_AUTH_FILE/,
      });
    }
  });
});

describe('a registry with TLS and a certificate of its own', () => {
  let registry: TestRegistry;
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'spawnlet-tls-'));
    const { key, certificate } = makeCertificate(directory);
    registry = await startRegistry({ tls: { key, certificate } });
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  it('is refused, with what to do', async () => {
    await using source = await open(`${registry.host}/x`);
    await assert.rejects(source.document(undefined, signal), {
      code: 'ERR_REGISTRY',
      hint: /update-ca-certificates/,
    });
  });

  it('is taken if it is listed, by name or by network, or if nothing is to be verified', async () => {
    for (const options of [
      { insecure: [registry.host] },
      { insecure: ['127.0.0.0/8'] },
      { tlsVerify: false },
    ]) {
      await using source = await open(`${registry.host}/x`, options);
      await assert.rejects(source.document(undefined, signal), { code: 'ERR_IMAGE_NOT_FOUND' });
    }
  });
});
