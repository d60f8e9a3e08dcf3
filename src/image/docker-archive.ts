import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SpawnletError } from '../host/error.ts';
import { maxDocumentSize, maxLayers, mediaTypes, parseConfig } from './document.ts';
import { asArray, asObject, asString, asStrings, field, invalid } from './fields.ts';
import type { Descriptor, Digest } from './manifest.ts';
import type { Member, Members } from './members.ts';
import { digestOf, listed } from './oci-layout.ts';
import { formatReference, localName, parseRegistryReference, type RegistryReference } from './reference.ts';
import type { Document, Source } from './source.ts';

/** One image of `manifest.json`, as `docker save` writes it. */
interface Saved {
  readonly config: string;
  readonly tags: readonly string[];
  readonly layers: readonly string[];
}

/**
 * An image in an archive of `docker save` or `podman save`. It has no manifest of the registries' form, so one is made
 * for it: the digest of a layer that is not compressed is its diffID. Without a name the archive must hold one image.
 */
export async function openDockerArchive(
  members: Members,
  path: string,
  image: RegistryReference | undefined,
  signal: AbortSignal,
): Promise<Source> {
  const saved = chooseImage(await readManifest(members, path, signal), path, image);
  const blobs = new Map<Digest, Member>();
  const configFile = await need(members, saved.config);
  const configBytes = await configFile.read(maxDocumentSize, signal);
  const config = put(mediaTypes.dockerConfig, digestOf(configBytes), configFile);
  const { diffIds } = parseConfig(configBytes);
  if (diffIds.length !== saved.layers.length)
    throw invalid('manifest.json', `lists ${saved.layers.length} layers for ${diffIds.length} diff_ids`);
  const layers: Descriptor[] = [];
  for (const [index, name] of saved.layers.entries()) {
    const file = await need(members, name);
    const type = await compressedType(file, signal);
    const diffId = diffIds[index];
    if (diffId === undefined) throw invalid('the config', 'lacks a diff_id');
    layers.push(
      type === undefined
        ? put(mediaTypes.dockerLayer, diffId, file)
        : put(type, await hashOf(file, signal), file),
    );
  }

  function put(mediaType: string, digest: Digest, file: Member): Descriptor {
    blobs.set(digest, file);
    return { mediaType, digest, size: file.size };
  }

  const mediaType = mediaTypes.dockerManifest;
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }));
  const root: Document = { mediaType, digest: digestOf(bytes), bytes };
  const [tag] = saved.tags;
  return {
    name: image
      ? formatReference(image)
      : ((tag === undefined ? undefined : canonical(tag)) ?? localName(path, undefined)),
    async document(digest) {
      if (digest === undefined || digest === root.digest) return root;
      throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `${path} holds no manifest ${digest}`);
    },
    async blob(descriptor, signal) {
      const file = blobs.get(descriptor.digest);
      if (!file) throw invalid('the archive', `has no blob ${descriptor.digest}`);
      return await file.stream(signal);
    },
    [Symbol.asyncDispose]: () => members[Symbol.asyncDispose](),
  };
}

async function readManifest(members: Members, path: string, signal: AbortSignal): Promise<Saved[]> {
  const file = await members.find('manifest.json');
  if (!file)
    throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `${path} is not an archive of docker save`, {
      hint: 'it has no manifest.json; an archive of an OCI layout is named oci-archive:FILE',
    });
  const bytes = await file.read(maxDocumentSize, signal);
  let list: unknown;
  try {
    list = JSON.parse(bytes.toString());
  } catch {
    throw invalid('manifest.json', 'is not JSON');
  }
  return asArray(list, 'manifest.json').map((item, index) => {
    const where = `manifest.json[${index}]`;
    const fields = asObject(item, where);
    const layers = asStrings(field(fields, 'Layers'), `${where}.Layers`);
    if (layers.length > maxLayers)
      throw invalid(`${where}.Layers`, `has ${layers.length} entries, more than ${maxLayers}`);
    return {
      config: asString(field(fields, 'Config'), `${where}.Config`),
      tags: asStrings(field(fields, 'RepoTags'), `${where}.RepoTags`),
      layers,
    };
  });
}

function chooseImage(images: readonly Saved[], path: string, image: RegistryReference | undefined): Saved {
  const tags = images.flatMap(saved => saved.tags);
  if (image) {
    const wanted = formatReference(image);
    const found = images.find(saved => saved.tags.some(tag => canonical(tag) === wanted));
    if (found) return found;
    throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `${path} holds no image ${wanted}`, {
      hint: tags.length > 0 ? `it holds ${listed(tags)}` : 'its images have no names',
    });
  }
  const [first] = images;
  if (!first) throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `${path} holds no image`);
  if (images.length === 1) return first;
  throw new SpawnletError('ERR_REFERENCE', `${path} holds more than one image`, {
    hint: tags.length > 0 ? `add a colon and one of ${listed(tags)}` : 'save the images with their names',
  });
}

/** A tag in the archive that is not a reference names nothing. */
function canonical(tag: string): string | undefined {
  try {
    return formatReference(parseRegistryReference(tag));
  } catch {
    return undefined;
  }
}

async function need(members: Members, name: string): Promise<Member> {
  const file = await members.find(posix.normalize(name));
  if (file) return file;
  throw invalid('the archive', `has no file ${JSON.stringify(name.slice(0, 200))}`);
}

/** The media type of a compressed layer, by its first bytes; undefined for a plain one. */
async function compressedType(file: Member, signal: AbortSignal): Promise<string | undefined> {
  const stream = await file.stream(signal);
  let magic = '';
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    magic = chunk.subarray(0, 4).toString('hex');
    break;
  }
  if (magic.startsWith('1f8b')) return `${mediaTypes.dockerLayer}.gzip`;
  return magic === '28b52ffd' ? `${mediaTypes.dockerLayer}.zstd` : undefined;
}

async function hashOf(file: Member, signal: AbortSignal): Promise<Digest> {
  const hash = createHash('sha256');
  await pipeline(await file.stream(signal), hash);
  return `sha256:${hash.digest('hex')}`;
}
