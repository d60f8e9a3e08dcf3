import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { mediaTypes } from '../../src/image/document.ts';
import type { Digest, Platform } from '../../src/image/manifest.ts';
import { hostPlatform } from '../../src/image/platform.ts';
import { makeTar, type TarEntry } from './tar.ts';

export type Compression = 'none' | 'gzip' | 'zstd';

/** The fields of an image's config that tests set, by their names in the config. */
export interface ConfigFields {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly User?: string;
  readonly WorkingDir?: string;
  readonly StopSignal?: string;
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Healthcheck?: Readonly<Record<string, unknown>>;
}

export interface ImageRecipe {
  /** Lowest first: entries, or a finished tar archive. */
  readonly layers: readonly (readonly TarEntry[] | Buffer)[];
  readonly config?: ConfigFields;
  /** `gzip` if not given. */
  readonly compression?: Compression;
  /** Docker's media types instead of OCI's. */
  readonly docker?: boolean;
  /** This machine's if not given. */
  readonly platform?: Platform;
}

export interface TestDescriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An image in memory: everything it consists of, by digest. */
export interface TestImage {
  /** The manifest, or the index. */
  readonly root: TestDescriptor;
  /** Manifests and indexes. */
  readonly documents: ReadonlyMap<Digest, { readonly mediaType: string; readonly bytes: Buffer }>;
  /** Configs and layers. */
  readonly blobs: ReadonlyMap<Digest, Buffer>;
  /** Digests of the layers uncompressed, of an image that is no index. */
  readonly diffIds: readonly Digest[];
}

export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Any value as a document: also one that is not valid. */
export function describe(mediaType: string, value: unknown): { descriptor: TestDescriptor; bytes: Buffer } {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value));
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes };
}

/** Builds an image of one platform. The same recipe gives the same digests. */
export function makeImage(recipe: ImageRecipe): TestImage {
  const { docker = false, compression = 'gzip', platform = hostPlatform() } = recipe;
  const blobs = new Map<Digest, Buffer>();
  const put = (mediaType: string, value: unknown): TestDescriptor => {
    const { descriptor, bytes } = describe(mediaType, value);
    blobs.set(descriptor.digest, bytes);
    return descriptor;
  };
  const diffIds: Digest[] = [];
  const layers = recipe.layers.map(content => {
    const tar = Buffer.isBuffer(content) ? content : makeTar(content);
    diffIds.push(digestOf(tar));
    return put(layerType(docker, compression), compress(tar, compression));
  });
  const config = put(docker ? mediaTypes.dockerConfig : mediaTypes.ociConfig, {
    created: '2024-01-01T00:00:00Z',
    ...platform,
    config: recipe.config ?? {},
    rootfs: { type: 'layers', diff_ids: diffIds },
    history: diffIds.map(() => ({ created_by: 'test' })),
  });
  const mediaType = docker ? mediaTypes.dockerManifest : mediaTypes.ociManifest;
  const { descriptor, bytes } = describe(mediaType, { schemaVersion: 2, mediaType, config, layers });
  return {
    root: { ...descriptor, platform },
    documents: new Map([[descriptor.digest, { mediaType, bytes }]]),
    blobs,
    diffIds,
  };
}

/** An index of images or of further indexes. */
export function makeIndex(images: readonly TestImage[], options: { docker?: boolean } = {}): TestImage {
  const mediaType = options.docker ? mediaTypes.dockerIndex : mediaTypes.ociIndex;
  const manifests = images.map(image => image.root);
  const { descriptor, bytes } = describe(mediaType, { schemaVersion: 2, mediaType, manifests });
  return {
    root: descriptor,
    documents: new Map([
      ...images.flatMap(image => [...image.documents]),
      [descriptor.digest, { mediaType, bytes }],
    ]),
    blobs: new Map(images.flatMap(image => [...image.blobs])),
    diffIds: [],
  };
}

function layerType(docker: boolean, compression: Compression): string {
  const base = docker ? mediaTypes.dockerLayer : mediaTypes.ociLayer;
  return compression === 'none' ? base : `${base}${docker ? '.' : '+'}${compression}`;
}

function compress(tar: Buffer, compression: Compression): Buffer {
  switch (compression) {
    case 'none':
      return tar;
    case 'gzip':
      return gzipSync(tar, { level: 1 });
    case 'zstd':
      return zstdCompressSync(tar);
  }
}

/** The files of an OCI image layout: names and contents, `index.json` first. `tags` names the images in it. */
export function layoutFiles(tags: Readonly<Record<string, TestImage>>): Map<string, Buffer> {
  const manifests = Object.entries(tags).map(([tag, image]) => ({
    ...image.root,
    ...(tag !== '' && { annotations: { 'org.opencontainers.image.ref.name': tag } }),
  }));
  const files = new Map<string, Buffer>([
    ['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')],
    [
      'index.json',
      Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests })),
    ],
  ]);
  for (const image of Object.values(tags)) {
    for (const [digest, { bytes }] of image.documents) files.set(blobName(digest), bytes);
    for (const [digest, bytes] of image.blobs) files.set(blobName(digest), bytes);
  }
  return files;
}

function blobName(digest: Digest): string {
  return `blobs/${digest.replace(':', '/')}`;
}

/** Writes an OCI image layout. */
export async function writeLayout(
  directory: string,
  tags: Readonly<Record<string, TestImage>>,
): Promise<void> {
  await mkdir(join(directory, 'blobs/sha256'), { recursive: true });
  for (const [name, content] of layoutFiles(tags)) await writeFile(join(directory, name), content);
}

/** An OCI archive: a layout as a tar. */
export function layoutArchive(tags: Readonly<Record<string, TestImage>>): Buffer {
  return makeTar([...layoutFiles(tags)].map(([path, content]) => ({ path, content })));
}

/** What `docker save` wrote until version 25: layers as directories, or as links to a layer that came before. */
export function dockerArchive(images: Readonly<Record<string, TestImage>>): Buffer {
  const entries: TarEntry[] = [];
  const firstOf = new Map<Digest, string>();
  const manifest = Object.entries(images).map(([tag, image]) => {
    const [document] = image.documents.values();
    const parsed = JSON.parse(document?.bytes.toString() ?? '') as {
      config: TestDescriptor;
      layers: TestDescriptor[];
    };
    const config = `${parsed.config.digest.slice(7)}.json`;
    entries.push({ path: config, content: image.blobs.get(parsed.config.digest) ?? '' });
    const layers = parsed.layers.map((layer, index) => {
      const directory = digestOf(Buffer.from(`${tag} ${index}`)).slice(7);
      const path = `${directory}/layer.tar`;
      const first = firstOf.get(layer.digest);
      entries.push({ path: directory, directory: true });
      entries.push(
        first
          ? { path, symlink: `../${first}` }
          : { path, content: image.blobs.get(layer.digest) ?? Buffer.alloc(0) },
      );
      firstOf.set(layer.digest, first ?? path);
      return path;
    });
    return { Config: config, RepoTags: tag === '' ? null : [tag], Layers: layers };
  });
  entries.push({ path: 'manifest.json', content: JSON.stringify(manifest) });
  return makeTar(entries);
}

/** A root file system of Debian's static busybox: one program and a link for each thing that it can do. */
export async function busyboxLayer(): Promise<TarEntry[]> {
  const applets =
    'sh ls cat echo env id sleep true false test stat mount ps kill touch mkdir rm ln chmod chown head tail ' +
    'wc tr sed grep awk dd tar seq printf printenv pwd hostname ip nc wget httpd md5sum sha256sum od ' +
    'readlink mknod trap ulimit nproc free uname date sync stty tty cut sort uniq find xargs yes timeout';
  const directories = [
    'bin',
    'dev',
    'etc',
    'proc',
    'root',
    'run',
    'sys',
    'tmp',
    'usr',
    'usr/bin',
    'var',
    'home',
  ];
  return [
    ...directories.map(path => ({
      path,
      directory: true as const,
      ...(path === 'tmp' && { mode: 0o1777 }),
    })),
    { path: 'bin/busybox', content: await readFile('/bin/busybox'), mode: 0o755 },
    ...applets
      .split(' ')
      .filter(name => !['trap', 'ulimit'].includes(name))
      .map(name => ({ path: `bin/${name}`, symlink: 'busybox' })),
    {
      path: 'etc/passwd',
      content:
        'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\napp:x:1000:1001::/home:/bin/sh\n',
    },
    { path: 'etc/group', content: 'root:x:0:\nnogroup:x:65534:\napp:x:1001:\nextra:x:2000:app\n' },
  ];
}

/** An image with a shell, from the package busybox-static of this machine. */
export async function busyboxImage(
  config: ConfigFields = {},
  recipe: Omit<ImageRecipe, 'layers' | 'config'> = {},
): Promise<TestImage> {
  return makeImage({
    ...recipe,
    layers: [await busyboxLayer()],
    config: {
      Cmd: ['sh'],
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      ...config,
    },
  });
}

/** An image from scratch: one static program, nothing else; no shell, no passwd, no directory to mount on. */
export async function scratchImage(config: ConfigFields = {}): Promise<TestImage> {
  return makeImage({
    layers: [[{ path: 'app', content: await readFile('/bin/busybox'), mode: 0o755 }]],
    config: { Entrypoint: ['/app'], ...config },
  });
}
