import { join } from 'node:path';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { type FindInUse, type InUse, type Removed, sweep } from './garbage.ts';
import { ImageIndex, nameAnnotation, nameRow, type Row, rootAnnotation } from './image-index.ts';
import { type LayerKey, LayerStore } from './layer-store.ts';
import { type Lease, leasedKeys, takeLease } from './lease.ts';
import type { LayerView } from './lookup.ts';
import type { Digest, Platform } from './manifest.ts';
import { isDigest } from './reference.ts';
import type { Document } from './source.ts';
import { loadImage, type StoredImage } from './stored-image.ts';

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
  readonly #index: ImageIndex;

  constructor(directory: string, host: Host) {
    this.directory = directory;
    this.#host = host;
    this.layers = new LayerStore(directory, host);
    this.#index = new ImageIndex(directory, host.files);
  }

  /** All images, by name; images whose layers are not all there are left out. */
  async images(): Promise<StoredImage[]> {
    const rows = await this.#index.rows();
    const manifests = new Map<Digest, Row[]>();
    for (const row of rows) manifests.set(row.digest, [...(manifests.get(row.digest) ?? []), row]);
    const images: StoredImage[] = [];
    for (const group of manifests.values()) {
      const image = await loadImage(this.#index, this.layers, group);
      if (image) images.push(image);
    }
    return images.sort((a, b) => compare(a.names[0] ?? '~', b.names[0] ?? '~'));
  }

  /**
   * The image that `what` names: a canonical name, a digest (of its config, manifest or index), or the first digits of
   * its ID, three at least. Undefined if there is none; throws `ERR_IMAGE_AMBIGUOUS` if an ID's start is of several.
   */
  async find(what: string): Promise<StoredImage | undefined> {
    const rows = await this.#index.rows();
    const named = rows.find(row => row.annotations[nameAnnotation] === what);
    if (named) {
      const all = rows.filter(row => row.digest === named.digest);
      return loadImage(this.#index, this.layers, all);
    }
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
  async remove(what: readonly string[], inUse: FindInUse, signal: AbortSignal): Promise<Removed> {
    const gone: Row[] = [];
    return this.#sweep(inUse, signal, async (rows, { manifests }) => {
      for (const word of what) {
        const image = await this.get(word);
        const all = rows.filter(row => row.digest === image.manifest);
        const named = all.filter(row => row.annotations[nameAnnotation] === word);
        gone.push(...(named.length > 0 ? named : all));
        if (manifests.has(image.manifest) && all.every(row => gone.includes(row)))
          throw inUseBy(word, manifests.get(image.manifest) ?? []);
      }
      return rows.filter(row => !gone.includes(row));
    });
  }

  /**
   * Takes away images without a name, with `all` also named ones, unless in use; and layers and blobs that nothing
   * needs, among them what killed processes left.
   */
  prune(options: { readonly all: boolean }, inUse: FindInUse, signal: AbortSignal): Promise<Removed> {
    return this.#sweep(inUse, signal, async (rows, used) =>
      rows.filter(row => staysAfter(row, options, used)),
    );
  }

  /** Names of the images that {@link prune} would remove now, or the digests of those without one. */
  async prunable(
    options: { readonly all: boolean },
    inUse: FindInUse,
    signal: AbortSignal,
  ): Promise<string[]> {
    return this.exclusively(signal, async () => {
      const used = await this.#used(inUse);
      const gone = (await this.#index.rows()).filter(row => !staysAfter(row, options, used));
      return gone.map(row => row.annotations[nameAnnotation] ?? row.digest).sort(compare);
    });
  }

  /** What containers run from, and what is leased: leases first, as who holds one gives it up when what uses it is there. */
  async #used(inUse: FindInUse): Promise<InUse> {
    const leased = await leasedKeys(this.directory, this.#host);
    const { manifests, layers } = await inUse();
    const unnamed = [...leased].map(key => [key, []] as const);
    return { manifests: new Map([...unnamed, ...manifests]), layers: new Set([...layers, ...leased]) };
  }

  /** Takes away what killed processes left: layers and blobs that no image, lease or app needs, and halves of them. */
  async collect(inUse: FindInUse, signal: AbortSignal): Promise<void> {
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

  /**
   * Keeps an image from {@link remove} and {@link prune} until an app has been made of it.
   *
   * @throws ERR_IMAGE_NOT_FOUND if it was removed since it was found.
   */
  async hold(manifest: Digest, keys: readonly LayerKey[], signal: AbortSignal): Promise<Lease> {
    await using _lock = await this.#host.locks.wait(storeLock, signal);
    const named = (await this.#index.rows()).some(row => row.digest === manifest);
    const layers = await Promise.all(keys.map(key => this.layers.find(key)));
    if (named && layers.every(layer => layer !== undefined))
      return takeLease(this.directory, this.#host, [manifest, ...keys]);
    throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `image ${manifest} was removed meanwhile`, {
      hint: 'pull it again',
    });
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
    await this.exclusively(signal, async () => {
      await this.#index.writeBlobs([
        image.root,
        image.document,
        { digest: image.config, bytes: image.configBytes },
      ]);
      const { mediaType, digest, bytes } = image.document;
      const annotations = { [nameAnnotation]: name, [rootAnnotation]: image.root.digest };
      const row: Row = { mediaType, digest, size: bytes.length, platform, annotations };
      await this.#index.write(nameRow(await this.#index.rows(), name, row));
    });
    return this.get(name);
  }

  async #sweep(
    inUse: FindInUse,
    signal: AbortSignal,
    choose: (rows: Row[], used: InUse) => Promise<Row[]>,
  ): Promise<Removed> {
    const { removed, directories } = await this.exclusively(signal, async () => {
      const used = await this.#used(inUse);
      return sweep(this.#index, this.layers, used, rows => choose(rows, used));
    });
    for (const directory of directories) await this.layers.discard(directory);
    return removed;
  }
}

/** @param names of what runs from it; none while a container is being made */
function inUseBy(image: string, names: readonly string[]): SpawnletError {
  const by = names.length === 0 ? 'a container that is being made' : [...names].sort(compare).join(', ');
  return new SpawnletError('ERR_IMAGE_IN_USE', `image ${image} is in use: ${by}`, {
    hint: 'remove what uses it first: spawnlet rm, spawnlet pod rm',
  });
}

const staysAfter = (row: Row, { all }: { readonly all: boolean }, { manifests }: InUse): boolean =>
  manifests.has(row.digest) || (!all && row.annotations[nameAnnotation] !== undefined);

/** Opens the store, making its directory if there is none. Nobody but root may pass it: layers hold set-id files. */
export async function openStore(directory: string, host: Host): Promise<Store> {
  const entry = await host.files.look(directory);
  if (entry === undefined) await host.files.makeDirectory(directory, 0o700);
  else if (entry.kind !== 'directory')
    throw new SpawnletError('ERR_STORE', `${directory} is no directory`, { hint: 'move it away' });
  else if (entry.mode !== 0o700) await host.files.setMode(directory, 0o700);
  return new Store(directory, host);
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
