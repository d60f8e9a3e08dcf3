import { join } from 'node:path';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { parseConfig, parseManifest } from './document.ts';
import { keyOf, type Layer, type LayerKey, LayerStore } from './layer-store.ts';
import { type Lease, leasedKeys, takeLease } from './lease.ts';
import type { LayerView } from './lookup.ts';
import type { Digest, ImageConfig, Manifest, Platform } from './manifest.ts';
import { isDigest } from './reference.ts';
import type { Document } from './source.ts';

/** An image that is whole in the store. */
export interface StoredImage {
  /** Canonical names, sorted; none if another image has taken its last one. */
  readonly names: readonly string[];
  /** Digest of its config: what docker and podman call the image ID. */
  readonly id: Digest;
  /** Digest of its manifest, which is of one platform. */
  readonly manifest: Digest;
  /** What its name stood for where it came from: the digest of the index, or of the manifest. */
  readonly root: Digest;
  readonly config: ImageConfig;
  /** The config as it came, with what spawnlet does not act on. */
  readonly configBytes: Buffer;
  /** Lowest first, one for each of the manifest. */
  readonly layers: readonly Layer[];
  /** Bytes of the files of its layers; layers are shared with other images. */
  readonly size: number;
}

/** What must stay, though no name of the store leads to it: what apps run from. */
export interface InUse {
  readonly manifests: ReadonlySet<string>;
  readonly layers: ReadonlySet<LayerKey>;
}

export const nothingInUse: InUse = { manifests: new Set(), layers: new Set() };

/** What {@link Store.remove} and {@link Store.prune} took away. */
export interface Removed {
  readonly names: readonly string[];
  /** Manifests of images that are gone. */
  readonly images: readonly Digest[];
  readonly layers: number;
  /** Bytes of the files of these layers. */
  readonly bytes: number;
}

/** An image in the store's `index.json`: a descriptor of the OCI image layout. */
interface Row {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly platform: Platform;
  readonly annotations: { readonly [rootAnnotation]: Digest; readonly [nameAnnotation]?: string };
}

const nameAnnotation = 'org.opencontainers.image.ref.name';
const rootAnnotation = 'spawnlet.io/root';
const indexType = 'application/vnd.oci.image.index.v1+json';

/** Whoever changes `index.json`, publishes a layer or takes one away holds this; none of it takes long. */
const storeLock = 'image-store';

/**
 * Images by name: an OCI image layout (`index.json`, and manifests, indexes and configs in `blobs/`), with layers
 * unpacked beside it instead of as blobs.
 */
export class Store {
  readonly layers: LayerStore;
  readonly directory: string;
  readonly #host: Host;

  constructor(directory: string, host: Host) {
    this.directory = directory;
    this.#host = host;
    this.layers = new LayerStore(directory, host);
  }

  /** All images, by name; images whose layers are not all there are left out. */
  async images(): Promise<StoredImage[]> {
    const rows = await this.#rows();
    const manifests = new Map<Digest, Row[]>();
    for (const row of rows) manifests.set(row.digest, [...(manifests.get(row.digest) ?? []), row]);
    const images: StoredImage[] = [];
    for (const group of manifests.values()) {
      const image = await this.#load(group);
      if (image) images.push(image);
    }
    return images.sort((a, b) => compare(a.names[0] ?? '~', b.names[0] ?? '~'));
  }

  /**
   * The image that `what` names: a canonical name, a digest (of its config, manifest or index), or the first digits of
   * its ID, three at least. Undefined if there is none; throws `ERR_IMAGE_AMBIGUOUS` if an ID's start is of several.
   */
  async find(what: string): Promise<StoredImage | undefined> {
    const rows = await this.#rows();
    const named = rows.filter(row => row.annotations[nameAnnotation] === what);
    if (named[0]) return this.#load(rows.filter(row => row.digest === named[0]?.digest));
    const wanted = isDigest(what) ? what : /^[0-9a-f]{3,64}$/.test(what) ? `sha256:${what}` : undefined;
    if (wanted === undefined) return undefined;
    const images = await this.images();
    const whole = images.find(image => [image.id, image.manifest, image.root].includes(wanted as Digest));
    if (whole) return whole;
    const [first, second] = images.filter(image => image.id.startsWith(wanted));
    if (second)
      throw new SpawnletError(
        'ERR_IMAGE_AMBIGUOUS',
        `more than one image has an ID that begins with ${what}`,
        {
          hint: 'write more digits of it, or a name',
        },
      );
    return first;
  }

  /** {@link find}, or `ERR_IMAGE_NOT_FOUND`. */
  async get(what: string): Promise<StoredImage> {
    const image = await this.find(what);
    if (image) return image;
    throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `no image ${JSON.stringify(what)} in the store`, {
      hint: 'spawnlet image ls shows what there is, spawnlet image pull gets one',
    });
  }

  /**
   * The directories of an image for overlayfs, lowest first, relative to the directory `l/` of the store. A layer that
   * comes twice is there once, where it is topmost: overlayfs refuses a directory twice, and the lower one shows nothing
   * that the upper does not. What lies below a layer that hides all is left out.
   */
  overlay(image: StoredImage): string[] {
    const base = image.layers.findLastIndex(layer => layer.opaque.includes(''));
    const names = image.layers.slice(Math.max(base, 0)).map(layer => layer.directory);
    return names.filter((name, index) => names.lastIndexOf(name) === index);
  }

  /** The layers of an image as `resolveInLayers` and `readInLayers` take them, lowest first. */
  views(image: StoredImage): LayerView[] {
    return image.layers.map(layer => this.layers.view(layer));
  }

  /** Takes names or whole images away, and what only they needed. Throws `ERR_IMAGE_NOT_FOUND`, `ERR_IMAGE_IN_USE`. */
  async remove(what: readonly string[], inUse: InUse, signal: AbortSignal): Promise<Removed> {
    const gone: Row[] = [];
    return this.#sweep(inUse, signal, async rows => {
      for (const word of what) {
        const image = await this.get(word);
        const all = rows.filter(row => row.digest === image.manifest);
        const named = all.filter(row => row.annotations[nameAnnotation] === word);
        gone.push(...(named.length > 0 ? named : all));
        if (inUse.manifests.has(image.manifest) && all.every(row => gone.includes(row)))
          throw new SpawnletError('ERR_IMAGE_IN_USE', `a container uses image ${word}`, {
            hint: 'remove the container first: spawnlet ps -a shows it',
          });
      }
      return rows.filter(row => !gone.includes(row));
    });
  }

  /**
   * Takes away images without a name, with `all` also named ones, unless in use; and layers and blobs that nothing
   * needs, among them what killed processes left.
   */
  prune(options: { readonly all: boolean }, inUse: InUse, signal: AbortSignal): Promise<Removed> {
    return this.#sweep(inUse, signal, async rows =>
      rows.filter(
        row =>
          inUse.manifests.has(row.digest) || (!options.all && row.annotations[nameAnnotation] !== undefined),
      ),
    );
  }

  /** Takes away what killed processes left: layers and blobs that no image, lease or app needs, and halves of them. */
  async collect(inUse: InUse, signal: AbortSignal): Promise<void> {
    const { files } = this.#host;
    for (const name of ['', 'blobs/sha256', 'layers', 'leases'])
      await files.sweep(join(this.directory, name));
    await this.#sweep(inUse, signal, async rows => rows);
  }

  /** Keeps layers that a pull has found or made from {@link prune} until it has named its image. */
  async lease(keys: readonly LayerKey[], signal: AbortSignal): Promise<Lease> {
    await using _lock = await this.#host.locks.wait(storeLock, signal);
    return takeLease(this.directory, this.#host, keys);
  }

  /** Runs `work` while no other process changes the store. */
  async exclusively<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await using _lock = await this.#host.locks.wait(storeLock, signal);
    return work();
  }

  /** The image whose layers are all there becomes visible under its name. */
  async commit(
    name: string,
    image: {
      readonly root: Document;
      readonly document: Document;
      readonly configBytes: Buffer;
      readonly config: Digest;
    },
    platform: Platform,
    signal: AbortSignal,
  ): Promise<StoredImage> {
    const { files } = this.#host;
    await this.exclusively(signal, async () => {
      await files.makeDirectory(join(this.directory, 'blobs'), 0o700);
      await files.makeDirectory(join(this.directory, 'blobs/sha256'), 0o700);
      const blobs = [image.root, image.document, { digest: image.config, bytes: image.configBytes }];
      for (const { digest, bytes } of blobs) await files.write(this.#blob(digest), bytes, 0o600);
      const { mediaType, digest, bytes } = image.document;
      const annotations = { [nameAnnotation]: name, [rootAnnotation]: image.root.digest };
      const row: Row = { mediaType, digest, size: bytes.length, platform, annotations };
      await this.#write(nameRow(await this.#rows(), name, row));
    });
    return this.get(name);
  }

  async #rows(): Promise<Row[]> {
    const text = await this.#host.files.read(join(this.directory, 'index.json'));
    return text === undefined ? [] : (JSON.parse(text) as { manifests: Row[] }).manifests;
  }

  async #write(rows: readonly Row[]): Promise<void> {
    const index = { schemaVersion: 2, mediaType: indexType, manifests: rows };
    await this.#host.files.write(
      join(this.directory, 'oci-layout'),
      `${JSON.stringify({ imageLayoutVersion: '1.0.0' })}\n`,
      0o600,
    );
    await this.#host.files.write(
      join(this.directory, 'index.json'),
      `${JSON.stringify(index, null, 2)}\n`,
      0o600,
    );
  }

  /** Digests are parsed, so this stays inside of `blobs`. */
  #blob(digest: Digest): string {
    return join(this.directory, 'blobs/sha256', keyOf(digest));
  }

  async #read(
    row: Row,
  ): Promise<{ manifest: Manifest; config: ImageConfig; configBytes: Buffer } | undefined> {
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

  /** `rows` are those of one manifest. */
  async #load(rows: readonly Row[]): Promise<StoredImage | undefined> {
    const [row] = rows;
    const found = row && (await this.#read(row));
    if (!row || !found) return undefined;
    const layers: Layer[] = [];
    for (const [index, diffId] of found.config.diffIds.entries()) {
      const layer = (await this.layers.find(keyOf(diffId))) ?? (await this.#chained(found.config, index));
      if (!layer) return undefined;
      layers.push(layer);
    }
    return {
      names: rows.flatMap(({ annotations }) => annotations[nameAnnotation] ?? []).sort(),
      id: found.manifest.config.digest,
      manifest: row.digest,
      root: row.annotations[rootAnnotation],
      config: found.config,
      configBytes: found.configBytes,
      layers,
      size: layers.reduce((sum, layer) => sum + layer.size, 0),
    };
  }

  /** A layer that has links into lower ones is there under its chainID; that takes hashing, so it is looked for last. */
  async #chained(config: ImageConfig, index: number): Promise<Layer | undefined> {
    const key = (await layerKeys(config.diffIds))[index]?.chain;
    return key === undefined ? undefined : this.layers.find(key);
  }

  /** Mark and sweep: `choose` says which rows stay; all that these, leases and apps do not need goes. */
  async #sweep(inUse: InUse, signal: AbortSignal, choose: (rows: Row[]) => Promise<Row[]>): Promise<Removed> {
    const { files } = this.#host;
    const directories: string[] = [];
    let bytes = 0;
    let layers = 0;
    const { before, after } = await this.exclusively(signal, async () => {
      const before = await this.#rows();
      const after = await choose(before);
      if (after.length !== before.length) await this.#write(after);
      const blobs = new Set<string>();
      const keys = new Set<LayerKey>([...inUse.layers, ...(await leasedKeys(this.directory, this.#host))]);
      for (const row of after) {
        blobs.add(keyOf(row.digest)).add(keyOf(row.annotations[rootAnnotation]));
        const image = await this.#read(row);
        if (!image) continue;
        blobs.add(keyOf(image.manifest.config.digest));
        for (const { own, chain } of await layerKeys(image.config.diffIds)) keys.add(own).add(chain);
      }
      for (const key of await this.layers.keys()) {
        if (keys.has(key)) continue;
        layers++;
        bytes += (await this.layers.find(key))?.size ?? 0;
        const directory = await this.layers.withdraw(key);
        if (directory) directories.push(directory);
      }
      directories.push(...(await this.layers.withdrawRemains()));
      for (const name of await files.list(join(this.directory, 'blobs/sha256')))
        if (!blobs.has(name)) await files.remove(join(this.directory, 'blobs/sha256', name));
      return { before, after };
    });
    for (const directory of directories) await this.layers.discard(directory);
    const gone = before.filter(row => !after.includes(row));
    const kept = new Set(after.map(row => row.digest));
    return {
      names: gone.flatMap(row => row.annotations[nameAnnotation] ?? []),
      images: [...new Set(gone.map(row => row.digest))].filter(digest => !kept.has(digest)),
      layers,
      bytes,
    };
  }
}

/** Opens the store, making its directory if there is none. Nobody but root may pass it: layers hold set-id files. */
export async function openStore(directory: string, host: Host): Promise<Store> {
  const entry = await host.files.look(directory);
  if (entry === undefined) await host.files.makeDirectory(directory, 0o700);
  else if (entry.kind !== 'directory')
    throw new SpawnletError('ERR_STORE', `${directory} is no directory`, { hint: 'move it away' });
  else if (entry.mode !== 0o700) await host.files.setMode(directory, 0o700);
  return new Store(directory, host);
}

/** For each layer its diffID and its chainID (OCI image specification, config, "Layer ChainID"), as keys. */
export async function layerKeys(diffIds: readonly Digest[]): Promise<{ own: LayerKey; chain: LayerKey }[]> {
  const { createHash } = await import('node:crypto');
  let chain: string | undefined;
  return diffIds.map(diffId => {
    chain =
      chain === undefined
        ? diffId
        : `sha256:${createHash('sha256').update(`${chain} ${diffId}`).digest('hex')}`;
    return { own: keyOf(diffId), chain: keyOf(chain as Digest) };
  });
}

/** An image that loses its last name stays without one until it is pruned, as in docker and podman. */
function nameRow(rows: readonly Row[], name: string, row: Row): Row[] {
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

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
