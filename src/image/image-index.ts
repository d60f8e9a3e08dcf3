import { join } from 'node:path';
import type { Files } from '../host/files.ts';
import { parseConfig, parseManifest } from './document.ts';
import { keyOf } from './layer-store.ts';
import type { Digest, ImageConfig, Manifest, Platform } from './manifest.ts';
import { readStored } from './stored-file.ts';

/** An image in the store's `index.json`: a descriptor of the OCI image layout. */
export interface Row {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly platform: Platform;
  readonly annotations: { readonly [rootAnnotation]: Digest; readonly [nameAnnotation]?: string };
}

export const nameAnnotation = 'org.opencontainers.image.ref.name';
export const rootAnnotation = 'spawnlet.io/root';
const indexType = 'application/vnd.oci.image.index.v1+json';

/** What the blobs of a row say. */
export interface Documents {
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  readonly configBytes: Buffer;
}

/** The OCI image layout of a store: `index.json`, and manifests, indexes and configs in `blobs/`. */
export class ImageIndex {
  readonly directory: string;
  readonly #files: Files;

  constructor(directory: string, files: Files) {
    this.directory = directory;
    this.#files = files;
  }

  async rows(): Promise<Row[]> {
    const path = join(this.directory, 'index.json');
    const text = await this.#files.read(path);
    return text === undefined ? [] : readStored<{ manifests: Row[] }>(path, text).manifests;
  }

  /** The caller holds the store's lock. */
  async write(rows: readonly Row[]): Promise<void> {
    const index = { schemaVersion: 2, mediaType: indexType, manifests: rows };
    await this.#files.write(
      join(this.directory, 'oci-layout'),
      `${JSON.stringify({ imageLayoutVersion: '1.0.0' })}\n`,
      0o600,
    );
    await this.#files.write(
      join(this.directory, 'index.json'),
      `${JSON.stringify(index, null, 2)}\n`,
      0o600,
      'durable',
    );
  }

  /** Undefined if a blob is missing. */
  async read(row: Row): Promise<Documents | undefined> {
    const { readFile } = await import('node:fs/promises');
    try {
      const bytes = await readFile(this.#blob(row.digest));
      const manifest = parseManifest({ mediaType: row.mediaType, digest: row.digest, bytes });
      const configBytes = await readFile(this.#blob(manifest.config.digest));
      return { manifest, config: parseConfig(configBytes), configBytes };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async writeBlobs(blobs: readonly { readonly digest: Digest; readonly bytes: Buffer }[]): Promise<void> {
    await this.#files.makeDirectory(join(this.directory, 'blobs'), 0o700);
    await this.#files.makeDirectory(join(this.directory, 'blobs/sha256'), 0o700);
    for (const { digest, bytes } of blobs)
      await this.#files.write(this.#blob(digest), bytes, 0o600, 'durable');
  }

  /** Takes away the blobs whose names are not in `names`. */
  async keepBlobs(names: ReadonlySet<string>): Promise<void> {
    for (const name of await this.#files.list(join(this.directory, 'blobs/sha256')))
      if (!names.has(name)) await this.#files.remove(join(this.directory, 'blobs/sha256', name));
  }

  /** Digests are parsed, so this stays inside of `blobs`. */
  #blob(digest: Digest): string {
    return join(this.directory, 'blobs/sha256', keyOf(digest));
  }
}

/** An image that loses its last name stays without one until it is pruned, as in docker and podman. */
export function nameRow(rows: readonly Row[], name: string, row: Row): Row[] {
  const others = rows.filter(other => other.annotations[nameAnnotation] !== name);
  const lost = rows.filter(
    other => other.annotations[nameAnnotation] === name && other.digest !== row.digest,
  );
  const dangling = lost
    .filter(({ digest }) => !others.some(other => other.digest === digest))
    .map(other => ({ ...other, annotations: { [rootAnnotation]: other.annotations[rootAnnotation] } }));
  // A manifest that has a name again needs no row without one.
  const kept = others.filter(
    other => other.digest !== row.digest || other.annotations[nameAnnotation] !== undefined,
  );
  return [...kept, ...dangling, row];
}
