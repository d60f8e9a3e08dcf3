import { SpawnletError } from '../host/error.ts';
import { kindOf, parseConfig, parseIndex, parseManifest } from './document.ts';
import { invalid } from './fields.ts';
import type { Digest, ImageConfig, Manifest, Platform } from './manifest.ts';
import { candidates, platformMissing, rankOf } from './platform.ts';
import type { Document, Source } from './source.ts';

/** The manifest of one platform, and the documents that led to it. */
export interface Resolved {
  /** What the reference names: the outermost index, or the manifest itself. Its digest is the image's in `name@digest`. */
  readonly root: Document;
  readonly document: Document;
  readonly manifest: Manifest;
}

/** An index in an index is common for an `oci:` layout; more than these are nobody's image. */
const maxDepth = 4;
const maxDocuments = 32;

/**
 * Finds the manifest of the wanted platform, through nested indexes. Throws `ERR_PLATFORM`, naming the platforms there
 * are; `ERR_IMAGE_INVALID` for indexes that go in circles, too deep, or to what is not of the type they say.
 */
export async function resolveManifest(
  source: Source,
  wanted: Platform,
  signal: AbortSignal,
): Promise<Resolved> {
  const root = await source.document(undefined, signal);
  const seen: (Platform | undefined)[] = [];
  let fetched = 0;

  async function walk(
    document: Document,
    above: readonly Digest[],
  ): Promise<Omit<Resolved, 'root'> | undefined> {
    if (kindOf(document.mediaType) === 'manifest') return { document, manifest: parseManifest(document) };
    const path = [...above, document.digest];
    if (path.length > maxDepth) throw invalid('the index', `is nested more than ${maxDepth} deep`);
    const index = parseIndex(document);
    seen.push(...index.manifests.map(descriptor => descriptor.platform));
    for (const descriptor of candidates(index, wanted)) {
      if (path.includes(descriptor.digest)) throw invalid('the index', 'contains itself');
      if (++fetched > maxDocuments)
        throw invalid('the index', `leads to more than ${maxDocuments} documents`);
      const next = await source.document(descriptor.digest, signal);
      if (next.mediaType !== descriptor.mediaType)
        throw invalid(
          'the index',
          `lists ${descriptor.digest} as ${descriptor.mediaType}, but it is ${next.mediaType}`,
        );
      if (next.bytes.length !== descriptor.size)
        throw invalid('the index', `lists ${descriptor.digest} with a size it does not have`);
      const found = await walk(next, path);
      if (found) return found;
    }
    return undefined;
  }

  const found = await walk(root, []);
  if (!found) throw platformMissing(wanted, seen);
  return { root, ...found };
}

/** Parses the config of a manifest and checks that the two belong together and to the wanted platform. */
export function parseConfigOf(manifest: Manifest, bytes: Buffer, wanted: Platform): ImageConfig {
  const config = parseConfig(bytes);
  if (config.diffIds.length !== manifest.layers.length)
    throw invalid('the config', `has ${config.diffIds.length} diff_ids for ${manifest.layers.length} layers`);
  if (config.platform.os === '' || config.platform.architecture === '')
    throw new SpawnletError('ERR_IMAGE_INVALID', 'the image does not say which platform it is made for');
  if (rankOf(config.platform, wanted) === undefined) throw platformMissing(wanted, [config.platform]);
  return config;
}
