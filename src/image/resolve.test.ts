import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeImage, makeIndex, type TestImage } from '../../test/harness/images.ts';
import { mediaTypes } from './document.ts';
import type { Digest, Platform } from './manifest.ts';
import { choosePlatform, formatPlatform, normalizePlatform } from './platform.ts';
import { parseConfigOf, resolveManifest } from './resolve.ts';
import type { Source } from './source.ts';

const platform = (text: string): Platform => {
  const [os = '', architecture = '', variant] = text.split('/');
  return { os, architecture, ...(variant !== undefined && { variant }) };
};
const imageFor = (text: string): TestImage =>
  makeImage({ layers: [[{ path: 'platform', content: text }]], platform: platform(text) });
const signal = new AbortController().signal;

/** A source that has these documents, under whatever digest it is told. */
function sourceOf(image: TestImage, lies: Readonly<Record<string, string>> = {}): Source {
  return {
    name: 'test',
    async document(digest) {
      const key = digest ?? image.root.digest;
      const found = image.documents.get((lies[key] ?? key) as Digest);
      if (!found) throw new Error(`no ${key}`);
      return { ...found, digest: key };
    },
    blob: () => Promise.reject(new Error('no blobs here')),
    async [Symbol.asyncDispose]() {},
  };
}

const chosen = (wanted: string, ...available: string[]) => {
  const index = { mediaType: mediaTypes.ociIndex, manifests: available.map(text => imageFor(text).root) };
  const { platform: found } = choosePlatform(index, platform(wanted));
  return found && formatPlatform(normalizePlatform(found));
};

describe('the platform of an index', () => {
  for (const [wanted, available, found] of [
    ['linux/amd64', ['linux/arm64', 'linux/amd64'], 'linux/amd64'],
    ['linux/amd64', ['linux/x86_64'], 'linux/amd64'],
    ['linux/amd64', ['linux/amd64/v2', 'linux/amd64/v1'], 'linux/amd64'],
    ['linux/amd64/v3', ['linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4'], 'linux/amd64/v2'],
    ['linux/amd64', ['linux/386'], 'linux/386'],
    ['linux/arm64', ['linux/arm/v7', 'linux/arm64/v8'], 'linux/arm64'],
    ['linux/arm64/v8', ['linux/arm64'], 'linux/arm64'],
    ['linux/arm64', ['linux/arm/v6', 'linux/arm/v7'], 'linux/arm/v7'],
    ['linux/arm', ['linux/arm/v5', 'linux/arm/v6'], 'linux/arm/v6'],
    ['linux/arm/v6', ['linux/arm/v7', 'linux/arm/v5'], 'linux/arm/v5'],
    ['linux/riscv64', ['linux/amd64', 'linux/riscv64'], 'linux/riscv64'],
  ] as const)
    it(`for ${wanted} of ${available.join(', ')} is ${found}`, () => {
      assert.equal(chosen(wanted, ...available), found);
    });

  for (const [wanted, available] of [
    ['linux/arm/v6', ['linux/arm/v7']],
    ['linux/amd64', ['linux/amd64/v3']],
    ['linux/amd64', ['windows/amd64']],
    ['linux/arm', ['linux/arm64']],
  ] as const)
    it(`for ${wanted} is not among ${available.join(', ')}`, () => {
      assert.throws(() => chosen(wanted, ...available), { code: 'ERR_PLATFORM' });
    });

  it('that is missing is told with those that are there, attestations left out', () => {
    assert.throws(() => chosen('linux/s390x', 'linux/amd64', 'unknown/unknown', 'linux/arm64/v8'), {
      code: 'ERR_PLATFORM',
      hint: 'it is made for linux/amd64, linux/arm64',
    });
  });
});

describe('the manifest of a platform', () => {
  it('is found in an index in an index', async () => {
    const wanted = imageFor('linux/arm64');
    const index = makeIndex([makeIndex([imageFor('linux/amd64')]), makeIndex([wanted])]);
    const found = await resolveManifest(sourceOf(index), platform('linux/arm64'), signal);
    assert.equal(found.document.digest, wanted.root.digest);
    assert.equal(found.root.digest, index.root.digest);
  });

  it('that no index has is told with all platforms of all indexes', async () => {
    const index = makeIndex([makeIndex([imageFor('linux/amd64')]), makeIndex([imageFor('linux/arm64')])]);
    await assert.rejects(resolveManifest(sourceOf(index), platform('linux/s390x'), signal), {
      code: 'ERR_PLATFORM',
      hint: /linux\/amd64, linux\/arm64/,
    });
  });

  it('is not looked for in an index that contains itself', async () => {
    const inner = makeIndex([imageFor('linux/amd64')]);
    // The size must be the one that the index lists, or that is what is refused.
    const size = makeIndex([inner]).root.size;
    const outer = makeIndex([{ ...inner, root: { ...inner.root, size } }]);
    assert.equal(outer.root.size, size);
    // A source that lies about digests: the inner index is answered with the outer one.
    const source = sourceOf(outer, { [inner.root.digest]: outer.root.digest });
    await assert.rejects(resolveManifest(source, platform('linux/arm64'), signal), {
      code: 'ERR_IMAGE_INVALID',
      message: /contains itself/,
    });
  });

  it('is not looked for more than four indexes deep', async () => {
    let image = imageFor('linux/amd64');
    for (let depth = 0; depth < 5; depth += 1) image = makeIndex([image]);
    await assert.rejects(resolveManifest(sourceOf(image), platform('linux/amd64'), signal), {
      message: /nested more than 4 deep/,
    });
  });

  it('is not looked for in hundreds of documents', async () => {
    const image = makeIndex(
      Array.from({ length: 40 }, (_, index) => makeIndex([imageFor(`linux/amd64/v${index + 10}`)])),
    );
    await assert.rejects(resolveManifest(sourceOf(image), platform('linux/amd64'), signal), {
      message: /more than 32 documents/,
    });
  });

  it('CVE-2021-41190: that an index lists as another type is refused', async () => {
    const image = imageFor('linux/amd64');
    const index = makeIndex([{ ...image, root: { ...image.root, mediaType: mediaTypes.ociIndex } }]);
    await assert.rejects(resolveManifest(sourceOf(index), platform('linux/amd64'), signal), {
      code: 'ERR_IMAGE_INVALID',
      message: /lists sha256:.* as/,
    });
  });

  it('has a config for the same layers and a platform that runs here', async () => {
    const image = imageFor('linux/amd64');
    const { manifest } = await resolveManifest(sourceOf(image), platform('linux/amd64'), signal);
    const bytes = image.blobs.get(manifest.config.digest) ?? Buffer.alloc(0);
    assert.deepEqual(parseConfigOf(manifest, bytes, platform('linux/amd64')).diffIds, image.diffIds);
    assert.throws(() => parseConfigOf(manifest, bytes, platform('linux/arm64')), { code: 'ERR_PLATFORM' });
    assert.throws(() => parseConfigOf({ ...manifest, layers: [] }, bytes, platform('linux/amd64')), {
      code: 'ERR_IMAGE_INVALID',
    });
  });
});
