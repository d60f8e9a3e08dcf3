import { createHash } from 'node:crypto';
import { SpawnletError } from '../host/error.ts';
import { kindOf, maxDocumentSize, mediaTypes, parseIndex } from './document.ts';
import { asString, field, invalid, parseObject } from './fields.ts';
import type { Descriptor, Digest, Index } from './manifest.ts';
import type { Member, Members } from './members.ts';
import { localName } from './reference.ts';
import type { Document, Source } from './source.ts';

const refName = 'org.opencontainers.image.ref.name';
const containerdName = 'io.containerd.image.name';

export function digestOf(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/**
 * An image in an OCI image layout (specification 1.1), which may be a directory or an archive. `path` is what the user
 * called it. Without a tag the layout must hold one image. Throws `ERR_IMAGE_NOT_FOUND`, `ERR_IMAGE_INVALID`.
 */
export async function openLayout(
  members: Members,
  path: string,
  tag: string | undefined,
  signal: AbortSignal,
): Promise<Source> {
  const marker = await members.find('oci-layout');
  if (!marker)
    throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `${path} is not an OCI image layout`, {
      hint: 'it has no file oci-layout; an archive of docker save is named docker-archive:FILE',
    });
  const layout = parseObject(await marker.read(4096, signal), 'oci-layout');
  const version = asString(field(layout, 'imageLayoutVersion'), '.imageLayoutVersion');
  if (!version.startsWith('1.')) throw invalid('.imageLayoutVersion', `is ${version}, not 1.0.0`);
  const bytes = await (await members.find('index.json'))?.read(maxDocumentSize, signal);
  if (!bytes) throw invalid('the layout', 'has no index.json');
  const top: Document = { mediaType: mediaTypes.ociIndex, digest: digestOf(bytes), bytes };
  const index = parseIndex(top);
  const chosen = chooseImage(index, path, tag);
  /** What the indexes read so far say that a digest is. */
  const types = new Map<Digest, string>();
  const learn = (descriptors: readonly Descriptor[]) => {
    for (const { digest, mediaType } of descriptors) types.set(digest, mediaType);
  };
  learn(index.manifests);

  async function blobOf(digest: Digest): Promise<Member> {
    const member = await members.find(`blobs/${digest.replace(':', '/')}`);
    if (member) return member;
    throw invalid('the layout', `has no blob ${digest}`);
  }

  async function document(wanted: Digest | undefined, signal: AbortSignal): Promise<Document> {
    if (wanted === undefined && chosen === undefined) return top;
    const digest = wanted ?? chosen?.digest;
    if (digest === undefined || digest === top.digest) return top;
    const bytes = await (await blobOf(digest)).read(maxDocumentSize, signal);
    const actual = digestOf(bytes);
    if (actual !== digest)
      throw new SpawnletError('ERR_DIGEST', `the blob ${digest} in ${path} has the digest ${actual}`, {
        hint: 'the layout is damaged; copy it again',
      });
    const mediaType = types.get(digest) ?? declaredType(bytes);
    const found: Document = { mediaType, digest, bytes };
    if (kindOf(mediaType) === 'index') learn(parseIndex(found).manifests);
    return found;
  }

  return {
    name: localName(path, chosen && nameOf(chosen)),
    document,
    async blob(descriptor, signal) {
      const member = await blobOf(descriptor.digest);
      if (member.size !== descriptor.size)
        throw invalid(
          `the blob ${descriptor.digest}`,
          `has ${member.size} bytes instead of ${descriptor.size}`,
        );
      return await member.stream(signal);
    },
    [Symbol.asyncDispose]: () => members[Symbol.asyncDispose](),
  };
}

function nameOf(descriptor: Descriptor): string | undefined {
  return descriptor.annotations?.[containerdName] ?? descriptor.annotations?.[refName];
}

/** The image with this tag. Undefined for index.json as a whole: an image of several platforms without a name. */
function chooseImage(index: Index, path: string, tag: string | undefined): Descriptor | undefined {
  const names = index.manifests.flatMap(({ annotations }) =>
    [annotations?.[refName], annotations?.[containerdName]].filter(name => name !== undefined),
  );
  if (tag !== undefined) {
    const found = index.manifests.find(
      ({ annotations }) => annotations?.[refName] === tag || annotations?.[containerdName] === tag,
    );
    if (found) return found;
    throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `${path} holds no image ${JSON.stringify(tag)}`, {
      hint: names.length > 0 ? `it holds ${listed(names)}` : 'its images have no names',
    });
  }
  if (index.manifests.length === 1) return index.manifests[0];
  if (index.manifests.length > 0 && names.length === 0) return undefined;
  if (index.manifests.length === 0) throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `${path} holds no image`);
  throw new SpawnletError('ERR_REFERENCE', `${path} holds more than one image`, {
    hint: `add a colon and one of ${listed(names)}`,
  });
}

/** Names for a hint: quoted, since they are the image's. */
export function listed(names: readonly string[]): string {
  const shown = [...new Set(names)].slice(0, 10).map(name => JSON.stringify(name.slice(0, 200)));
  return shown.join(', ') + (names.length > 10 ? ', …' : '');
}

/** What a document says it is itself, where no index told. */
function declaredType(bytes: Buffer): string {
  return asString(field(parseObject(bytes, 'the document'), 'mediaType') ?? '', '.mediaType');
}
