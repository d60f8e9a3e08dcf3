import { posix } from 'node:path';
import {
  asArray,
  asObject,
  asSet,
  asString,
  asStrings,
  asTable,
  type Fields,
  field,
  invalid,
  parseObject,
  unsupported,
} from './fields.ts';
import type { Descriptor, Digest, ImageConfig, Index, Manifest, Platform } from './manifest.ts';
import { isDigest } from './reference.ts';
import type { Document } from './source.ts';

/** Manifests, indexes and configs are read whole; this is the most that is read, in bytes. */
export const maxDocumentSize = 4 * 1024 * 1024;
/** Docker stacks 125 at most, overlayfs takes 500; each costs a lookup per path. */
export const maxLayers = 128;
const maxManifests = 1024;

export const mediaTypes = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
} as const;

/** What a document says it is, by the media type it was found under. */
export function kindOf(mediaType: string): 'manifest' | 'index' {
  switch (mediaType) {
    case mediaTypes.ociManifest:
    case mediaTypes.dockerManifest:
      return 'manifest';
    case mediaTypes.ociIndex:
    case mediaTypes.dockerIndex:
      return 'index';
    default:
      if (mediaType.startsWith('application/vnd.docker.distribution.manifest.v1+'))
        throw unsupported(
          'the image is in Docker schema 1, which registries gave up in 2017',
          'push it again with a current docker, podman or buildah',
        );
      throw unsupported(
        `${JSON.stringify(mediaType)} is neither an image manifest nor an index`,
        'the reference names something that is not an image, or a proxy answered for the registry',
      );
  }
}

/** The only digests are sha256 in lower-case hex, so a digest can stand in a path. Throws `ERR_IMAGE_INVALID`. */
export function parseDigest(value: unknown, where: string): Digest {
  const text = asString(value, where);
  if (!isDigest(text)) throw invalid(where, 'is not sha256: and 64 lower-case hex digits');
  return text;
}

/** Parses an index of OCI, or a manifest list of Docker. */
export function parseIndex(document: Document): Index {
  const fields = parseDocument(document, 'index');
  const manifests = asArray(field(fields, 'manifests'), '.manifests', maxManifests);
  return {
    mediaType: document.mediaType,
    manifests: manifests.map((item, index) => parseDescriptor(item, `.manifests[${index}]`)),
  };
}

/** Parses an image manifest of OCI or Docker: its config is that of an image, and its layers can be unpacked. */
export function parseManifest(document: Document): Manifest {
  const fields = parseDocument(document, 'manifest');
  const config = parseDescriptor(field(fields, 'config'), '.config');
  if (config.mediaType !== mediaTypes.ociConfig && config.mediaType !== mediaTypes.dockerConfig)
    throw unsupported(
      `this is not a container image: its config is ${JSON.stringify(config.mediaType)}`,
      'registries also hold charts, signatures and other artifacts; name an image',
    );
  if (config.size > maxDocumentSize) throw invalid('.config.size', `is over ${maxDocumentSize} bytes`);
  const layers = asArray(field(fields, 'layers'), '.layers', maxLayers).map((item, index) =>
    parseDescriptor(item, `.layers[${index}]`),
  );
  for (const layer of layers) compressionOf(layer.mediaType);
  return { mediaType: document.mediaType, config, layers };
}

/** How a layer is compressed, by its media type. */
export function compressionOf(mediaType: string): 'none' | 'gzip' | 'zstd' {
  switch (mediaType) {
    case mediaTypes.ociLayer:
    case mediaTypes.dockerLayer:
      return 'none';
    case `${mediaTypes.ociLayer}+gzip`:
    case `${mediaTypes.dockerLayer}.gzip`:
      return 'gzip';
    case `${mediaTypes.ociLayer}+zstd`:
    case `${mediaTypes.dockerLayer}.zstd`:
      return 'zstd';
    default:
      if (/nondistributable|foreign/.test(mediaType))
        throw unsupported(
          'a layer of this image is not in the registry: it is a foreign layer, as Windows images have',
          'use an image for linux',
        );
      throw unsupported(
        `layers of type ${JSON.stringify(mediaType)} are not supported`,
        'a layer is a tar archive, plain or compressed by gzip or zstd',
      );
  }
}

/**
 * The fields of a document of this kind. A document is what its media type says and nothing else: one that can be
 * read both as a manifest and as an index is refused, whatever it claims (CVE-2021-41190).
 */
function parseDocument(document: Document, kind: 'manifest' | 'index'): Fields {
  if (kindOf(document.mediaType) !== kind)
    throw invalid('the document', `is ${JSON.stringify(document.mediaType)} where an ${kind} was expected`);
  if (document.bytes.length > maxDocumentSize)
    throw invalid('the document', `is over ${maxDocumentSize} bytes`);
  const fields = parseObject(document.bytes, `the ${kind}`);
  if (field(fields, 'schemaVersion') !== 2) throw invalid('.schemaVersion', 'is not 2');
  const declared = field(fields, 'mediaType');
  if (declared !== undefined && declared !== document.mediaType)
    throw invalid('.mediaType', `is not ${document.mediaType}, as which the document was served`);
  // Go's JSON takes field names in any case: what another tool would read counts as there.
  const names = new Set(Object.keys(fields).map(name => name.toLowerCase()));
  const foreign = kind === 'manifest' ? ['manifests'] : ['config', 'layers'];
  for (const name of [...foreign, 'fslayers'])
    if (names.has(name)) throw invalid(`.${name}`, `has no place in an ${kind}`);
  return fields;
}

function parseDescriptor(value: unknown, where: string): Descriptor {
  const fields = asObject(value, where);
  const size = field(fields, 'size');
  if (!Number.isSafeInteger(size) || (size as number) < 0)
    throw invalid(`${where}.size`, 'is not a number of bytes');
  const platform = field(fields, 'platform');
  const annotations = field(fields, 'annotations');
  return {
    mediaType: asString(field(fields, 'mediaType'), `${where}.mediaType`),
    digest: parseDigest(field(fields, 'digest'), `${where}.digest`),
    size: size as number,
    ...(platform !== undefined && {
      platform: parsePlatform(asObject(platform, `${where}.platform`), `${where}.platform`),
    }),
    ...(annotations !== undefined && { annotations: asTable(annotations, `${where}.annotations`) }),
  };
}

function parsePlatform(fields: Fields, where: string): Platform {
  const variant = field(fields, 'variant') ?? '';
  return {
    os: asString(field(fields, 'os') ?? '', `${where}.os`),
    architecture: asString(field(fields, 'architecture') ?? '', `${where}.architecture`),
    ...(variant !== '' && { variant: asString(variant, `${where}.variant`) }),
  };
}

/** Parses the config of an image. Every string is checked for what must not be in it; none is trusted. */
export function parseConfig(bytes: Buffer): ImageConfig {
  if (bytes.length > maxDocumentSize) throw invalid('the config', `is over ${maxDocumentSize} bytes`);
  const root = parseObject(bytes, 'the config');
  const rootfs = asObject(field(root, 'rootfs'), '.rootfs');
  if (field(rootfs, 'type') !== 'layers') throw invalid('.rootfs.type', 'is not "layers"');
  const diffIds = asArray(field(rootfs, 'diff_ids') ?? [], '.rootfs.diff_ids', maxLayers);
  const config = asObject(field(root, 'config') ?? {}, '.config');
  const created = field(root, 'created');
  const stopSignal = field(config, 'StopSignal') ?? '';
  return {
    platform: parsePlatform(root, ''),
    diffIds: diffIds.map((id, index) => parseDigest(id, `.rootfs.diff_ids[${index}]`)),
    ...(created !== undefined && { created: asString(created, '.created') }),
    entrypoint: asStrings(field(config, 'Entrypoint'), '.config.Entrypoint', 'text'),
    cmd: asStrings(field(config, 'Cmd'), '.config.Cmd', 'text'),
    env: asStrings(field(config, 'Env'), '.config.Env', 'text').map((entry, index) => {
      if (!/^[^=\n]+=/.test(entry)) throw invalid(`.config.Env[${index}]`, 'is not NAME=value');
      return entry;
    }),
    user: parseUser(field(config, 'User') ?? ''),
    workingDir: parsePath(field(config, 'WorkingDir') || '/', '.config.WorkingDir'),
    ...(stopSignal !== '' && { stopSignal: parseSignal(stopSignal) }),
    volumes: asSet(field(config, 'Volumes'), '.config.Volumes').map(path => {
      const volume = parsePath(path, '.config.Volumes');
      if (volume === '/') throw invalid('.config.Volumes', 'names the root');
      return volume;
    }),
    labels: asTable(field(config, 'Labels'), '.config.Labels'),
    exposedPorts: asSet(field(config, 'ExposedPorts'), '.config.ExposedPorts').map(port => {
      if (!/^\d{1,5}(-\d{1,5})?(\/(tcp|udp|sctp))?$/.test(port))
        throw invalid('.config.ExposedPorts', `has ${JSON.stringify(port)}, which is not a port`);
      return port;
    }),
    ...parseHealthcheck(field(config, 'Healthcheck')),
  };
}

const nanosecondsOfMillisecond = 1e6;

function parseHealthcheck(value: unknown): Pick<ImageConfig, 'healthcheck'> {
  if (value === undefined) return {};
  const where = '.config.Healthcheck';
  const fields = asObject(value, where);
  const number = (name: string) => {
    const given = field(fields, name) ?? 0;
    if (typeof given !== 'number' || !Number.isFinite(given) || given < 0)
      throw invalid(`${where}.${name}`, 'is no number of at least 0');
    return given;
  };
  const time = (name: string) => Math.ceil(number(name) / nanosecondsOfMillisecond);
  return {
    healthcheck: {
      test: asStrings(field(fields, 'Test'), `${where}.Test`, 'text'),
      interval: time('Interval'),
      timeout: time('Timeout'),
      startPeriod: time('StartPeriod'),
      retries: Math.floor(number('Retries')),
    },
  };
}

function parseUser(value: unknown): string {
  const user = asString(value, '.config.User');
  if (user.length > 256 || user.split(':').length > 2) throw invalid('.config.User', 'is not USER[:GROUP]');
  return user;
}

function parseSignal(value: unknown): string {
  const name = asString(value, '.config.StopSignal');
  if (!/^[A-Za-z0-9+-]{1,16}$/.test(name)) throw invalid('.config.StopSignal', 'is not a signal');
  return name;
}

/** An absolute path of the image, without the `..` that would lead out of its root when joined (CVE-2022-23648). */
function parsePath(value: unknown, where: string): string {
  const path = asString(value, where);
  if (!path.startsWith('/')) throw invalid(where, `has ${JSON.stringify(path)}, which is not absolute`);
  if (path.split('/').includes('..')) throw invalid(where, `has ${JSON.stringify(path)}, which holds ".."`);
  return posix.normalize(path).replace(/(?<=.)\/$/, '');
}
