import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import {
  digestOf,
  dockerArchive,
  layoutArchive,
  layoutFiles,
  makeImage,
  makeIndex,
  type TestImage,
  writeLayout,
} from '../../test/harness/images.ts';
import { makeTar, type TarEntry, tarHeader } from '../../test/harness/tar.ts';
import { FakeChildren } from '../host/child.ts';
import { FakeClock } from '../host/clock.ts';
import { FakeFiles } from '../host/files.ts';
import { openArchive } from './archive.ts';
import { hostPlatform } from './platform.ts';
import { parseReference } from './reference.ts';
import { parseConfigOf, resolveManifest } from './resolve.ts';
import { openSource } from './source-of.ts';

const signal = new AbortController().signal;
const host = { files: new FakeFiles(), children: new FakeChildren(), clock: new FakeClock() };
const image = makeImage({ layers: [[{ path: 'a', content: 'x' }], [{ path: 'b', content: 'y' }]] });
const plain = makeImage({
  layers: [[{ path: 'a', content: 'x' }], [{ path: 'b', content: 'y' }], [{ path: 'a', content: 'x' }]],
  compression: 'none',
});
const other = makeImage({ layers: [[{ path: 'other', content: 'z' }]], compression: 'none' });

let directory: string;
let count = 0;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'spawnlet-archive-'));
});
after(() => rm(directory, { recursive: true, force: true }));

async function fileOf(content: Buffer): Promise<string> {
  count += 1;
  const path = join(directory, `${count}.tar`);
  await writeFile(path, content);
  return path;
}

const open = (reference: string) =>
  openSource(parseReference(reference), { host, env: {}, scratch: directory }, signal);

/** What a pull gets: the name, and the digests of the layers as they were read. */
async function pull(
  reference: string,
): Promise<{ name: string; layers: string[]; diffIds: readonly string[] }> {
  await using source = await open(reference);
  const { manifest } = await resolveManifest(source, hostPlatform(), signal);
  const read = async (descriptor: (typeof manifest)['config']) => {
    const chunks: Buffer[] = [];
    for await (const chunk of await source.blob(descriptor, signal)) chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    assert.equal(digestOf(bytes), descriptor.digest);
    assert.equal(bytes.length, descriptor.size);
    return bytes;
  };
  const config = parseConfigOf(manifest, await read(manifest.config), hostPlatform());
  const layers = [];
  for (const layer of manifest.layers) layers.push(digestOf(await read(layer)));
  return { name: source.name, layers, diffIds: config.diffIds };
}

describe('an OCI layout', () => {
  async function layout(tags: Readonly<Record<string, TestImage>>): Promise<string> {
    count += 1;
    const path = join(directory, `layout${count}`);
    await writeLayout(path, tags);
    return path;
  }

  it('with one image needs no tag', async () => {
    const path = await layout({ '': image });
    assert.deepEqual((await pull(`oci:${path}`)).diffIds, image.diffIds);
  });

  it('with several images gives the one of the tag, and names them to who gives none', async () => {
    const path = await layout({ '1.0': image, 'quay.io/x/y:2': other });
    assert.deepEqual((await pull(`oci:${path}:1.0`)).diffIds, image.diffIds);
    const full = await pull(`oci:${path}:quay.io/x/y:2`);
    assert.deepEqual([full.name, full.diffIds], ['quay.io/x/y:2', other.diffIds]);
    await assert.rejects(open(`oci:${path}`), { code: 'ERR_REFERENCE', hint: /"1\.0", "quay\.io/ });
    await assert.rejects(open(`oci:${path}:3`), { code: 'ERR_IMAGE_NOT_FOUND', hint: /"1\.0"/ });
  });

  it('with an index of platforms gives this machine’s image', async () => {
    const foreign = makeImage({ layers: [[]], platform: { os: 'linux', architecture: 's390x' } });
    const path = await layout({ multi: makeIndex([foreign, image]) });
    assert.deepEqual((await pull(`oci:${path}:multi`)).diffIds, image.diffIds);
  });

  it('that is another directory is refused', async () => {
    await assert.rejects(open(`oci:${directory}`), {
      code: 'ERR_IMAGE_NOT_FOUND',
      message: /not an OCI image layout/,
    });
  });

  it('with a manifest that is not what its digest says is refused', async () => {
    const path = await layout({ '': image });
    await writeFile(join(path, `blobs/${image.root.digest.replace(':', '/')}`), '{}');
    await assert.rejects(pull(`oci:${path}`), { code: 'ERR_DIGEST' });
  });

  it('without one of its blobs, or with one too long, is refused', async () => {
    const path = await layout({ '': image });
    const [digest = ''] = [...image.blobs.keys()];
    const blob = join(path, `blobs/${digest.replace(':', '/')}`);
    await writeFile(blob, Buffer.alloc(1_000_000));
    await assert.rejects(pull(`oci:${path}`), { code: 'ERR_IMAGE_INVALID', message: /bytes instead of/ });
    await rm(blob);
    await assert.rejects(pull(`oci:${path}`), { code: 'ERR_IMAGE_INVALID', message: /no blob/ });
  });

  it('CVE-2024-3727: with a digest that is a path reads no file elsewhere', async () => {
    const path = await layout({ '': image });
    const evil = { schemaVersion: 2, manifests: [{ ...image.root, digest: 'sha256:../../../secret' }] };
    await writeFile(join(directory, 'secret'), '{}');
    await writeFile(join(path, 'index.json'), JSON.stringify(evil));
    await assert.rejects(open(`oci:${path}`), { code: 'ERR_IMAGE_INVALID', message: /digest/ });
  });

  it('with a device in place of a file does not read it forever', async () => {
    const path = await layout({ '': image });
    await rm(join(path, 'index.json'));
    await symlink('/dev/zero', join(path, 'index.json'));
    await assert.rejects(open(`oci:${path}`), { code: 'ERR_IMAGE_INVALID', message: /no index\.json/ });
  });
});

describe('an archive of an OCI layout', () => {
  for (const [what, compress] of [
    ['plain', (bytes: Buffer) => bytes],
    ['in gzip', gzipSync],
    ['in zstd', zstdCompressSync],
  ] as const)
    it(`${what} is as good as the directory`, async () => {
      const path = await fileOf(compress(layoutArchive({ '': image })));
      const pulled = await pull(`oci-archive:${path}`);
      assert.deepEqual(pulled.diffIds, image.diffIds);
      assert.match(pulled.name, /^localhost\/\d+:latest$/);
    });

  it('leaves nothing of what it was decompressed to', async () => {
    const path = await fileOf(gzipSync(layoutArchive({ '': image })));
    await using source = await open(`oci-archive:${path}`);
    await source.document(undefined, signal);
    assert.deepEqual(
      (await readdir(directory)).filter(name => name.startsWith('spawnlet-archive-')),
      [],
    );
  });
});

describe('an archive of docker save', () => {
  it('with links for layers that come twice is read inside the archive', async () => {
    const path = await fileOf(dockerArchive({ 'my/app:1': plain }));
    const pulled = await pull(`docker-archive:${path}`);
    assert.equal(pulled.name, 'docker.io/my/app:1');
    assert.deepEqual(pulled.layers, plain.diffIds);
  });

  it('with compressed layers is read as well', async () => {
    const path = await fileOf(dockerArchive({ 'my/app:1': image }));
    assert.deepEqual((await pull(`docker-archive:${path}`)).diffIds, image.diffIds);
  });

  it('with several images gives the one that is named', async () => {
    const path = await fileOf(dockerArchive({ 'my/app:1': plain, 'other:2': other }));
    assert.deepEqual((await pull(`docker-archive:${path}:other:2`)).layers, other.diffIds);
    await assert.rejects(open(`docker-archive:${path}`), { code: 'ERR_REFERENCE', hint: /my\/app:1/ });
    await assert.rejects(open(`docker-archive:${path}:none`), { code: 'ERR_IMAGE_NOT_FOUND' });
  });

  it('without a name is called after its file', async () => {
    const path = await fileOf(dockerArchive({ '': other }));
    assert.match((await pull(`docker-archive:${path}`)).name, /^localhost\/\d+:latest$/);
  });

  const entriesFor = (config: string, layers: readonly string[], more: readonly TarEntry[]): Buffer => {
    const bytes = [...other.blobs.values()].find(blob => blob[0] === 0x7b) ?? Buffer.alloc(0);
    return makeTar([
      { path: 'config.json', content: bytes },
      ...more,
      {
        path: 'manifest.json',
        content: JSON.stringify([{ Config: config, RepoTags: null, Layers: layers }]),
      },
    ]);
  };
  for (const [what, why, config, layers, more] of [
    ['a config that is a path', /has no file/, '../../etc/passwd', ['l'], []],
    ['a layer that is a path', /has no file/, 'config.json', ['/etc/passwd'], []],
    [
      'a layer that links out of it',
      /link out/,
      'config.json',
      ['l'],
      [{ path: 'l', symlink: '/etc/passwd' }],
    ],
    [
      'a layer that climbs out',
      /link out/,
      'config.json',
      ['l'],
      [{ path: 'l', symlink: '../../etc/passwd' }],
    ],
    ['a layer that links to itself', /circles/, 'config.json', ['l'], [{ path: 'l', symlink: 'l' }]],
    ['a layer that is a directory', /has no file/, 'config.json', ['l'], [{ path: 'l', directory: true }]],
    ['a layer less than the config says', /0 layers for 1/, 'config.json', [], []],
    ['a layer that is not there', /has no file/, 'config.json', ['gone'], []],
  ] as const)
    it(`with ${what} is refused`, async () => {
      const path = await fileOf(entriesFor(config, layers, more));
      await assert.rejects(open(`docker-archive:${path}`), {
        code: /^ERR_(ARCHIVE|IMAGE_INVALID)$/,
        message: why,
      });
    });
});

describe('an archive', () => {
  for (const [what, content] of [
    ['that is empty', Buffer.alloc(0)],
    ['that is text', Buffer.alloc(4096, 'text ')],
    ['that is cut off in a member', makeTar([{ path: 'a', content: Buffer.alloc(5000) }]).subarray(0, 3000)],
    ['with a header that is cut off in gzip', gzipSync(layoutArchive({ '': image })).subarray(0, 300)],
    ['in bzip2', Buffer.from('BZh91AY&SY')],
    ['in xz', Buffer.from('fd377a585a000000', 'hex')],
    ['with a name that climbs', makeTar([{ path: '../../etc/cron.d/x', content: 'x' }])],
    [
      'with a member of 8 GiB in 1 KiB',
      Buffer.concat([tarHeader('a', '0', { size: 2 ** 33 - 1 }), Buffer.alloc(512)]),
    ],
    [
      'with a long name of 8 GiB',
      Buffer.concat([tarHeader('a', 'L', { size: 2 ** 33 - 1 }), Buffer.alloc(512)]),
    ],
    ['with a broken checksum', Buffer.concat([tarHeader('a', '0').fill('b', 0, 1), Buffer.alloc(1024)])],
  ] as const)
    it(`${what} is refused`, async () => {
      const path = await fileOf(content);
      await assert.rejects(openArchive(path, { scratch: directory }, signal), { code: 'ERR_ARCHIVE' });
    });

  it('with more members, longer headers or more data than is allowed is refused', async () => {
    const many = Array.from({ length: 20 }, (_, index) => ({ path: `${index}`, content: '' }));
    const limits = { entries: 10, header: 1024, size: 5000 };
    for (const content of [
      makeTar(many),
      gzipSync(makeTar([{ path: 'a', content: Buffer.alloc(100_000) }])),
      Buffer.concat([tarHeader('a', 'x', { size: 2048 }), Buffer.alloc(4096)]),
    ])
      await assert.rejects(openArchive(await fileOf(content), { scratch: directory, limits }, signal), {
        code: 'ERR_ARCHIVE',
      });
  });

  it('that is not there, is a directory or a FIFO is refused at once', async () => {
    await assert.rejects(openArchive(join(directory, 'none'), {}, signal), { code: 'ERR_IMAGE_NOT_FOUND' });
    await mkdir(join(directory, 'sub'));
    await assert.rejects(openArchive(join(directory, 'sub'), {}, signal), { code: 'ERR_ARCHIVE' });
    const { execFileSync } = await import('node:child_process');
    execFileSync('mkfifo', [join(directory, 'fifo')]);
    await assert.rejects(openArchive(join(directory, 'fifo'), {}, signal), { code: 'ERR_ARCHIVE' });
  });

  it('gives members with PAX and GNU names, and the last of two of one name', async () => {
    const long = `${'d/'.repeat(120)}file`;
    const record = `path=${long}\n`;
    const pax = Buffer.from(`${record.length + 4} ${record}`);
    const gnu = Buffer.from(`${'g/'.repeat(120)}file\0`);
    const block = (data: Buffer) => Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
    const archive = Buffer.concat([
      tarHeader('pax', 'x', { size: pax.length }),
      block(pax),
      tarHeader('short', '0', { size: 3 }),
      block(Buffer.from('pax')),
      tarHeader('././@LongLink', 'L', { size: gnu.length }),
      block(gnu),
      tarHeader('short', '0', { size: 3 }),
      block(Buffer.from('gnu')),
      makeTar([
        { path: './twice', content: 'first' },
        { path: 'twice', content: 'second' },
      ]),
    ]);
    await using members = await openArchive(await fileOf(archive), {}, signal);
    const text = async (name: string) => (await (await members.find(name))?.read(100, signal))?.toString();
    assert.equal(await text(long), 'pax');
    assert.equal(await text(`${'g/'.repeat(120)}file`), 'gnu');
    assert.equal(await text('twice'), 'second');
    assert.equal(await text('short'), undefined);
  });

  it('has a cap for documents: a huge index.json is not read', async () => {
    const files = layoutFiles({ '': image });
    files.set('index.json', Buffer.alloc(5 * 1024 * 1024, ' '));
    const path = await fileOf(makeTar([...files].map(([path, content]) => ({ path, content }))));
    await assert.rejects(open(`oci-archive:${path}`), {
      code: 'ERR_IMAGE_INVALID',
      message: /more than 4194304/,
    });
  });
});
