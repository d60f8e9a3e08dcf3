import { type ImageIndex, nameAnnotation, type Row, rootAnnotation } from './image-index.ts';
import { layerKeys } from './layer-keys.ts';
import { keyOf, type LayerKey, type LayerStore } from './layer-store.ts';
import type { Digest } from './manifest.ts';

/** What must stay, though no name of the store leads to it: what apps run from. */
export interface InUse {
  /** By their digests, the names of what runs from them. */
  readonly manifests: ReadonlyMap<string, readonly string[]>;
  readonly layers: ReadonlySet<LayerKey>;
}

/** Asked while nobody else changes the store. */
export type FindInUse = () => Promise<InUse>;

export const nothingInUse: FindInUse = async () => ({ manifests: new Map(), layers: new Set() });

/** What was taken away. */
export interface Removed {
  readonly names: readonly string[];
  /** Manifests of images that are gone. */
  readonly images: readonly Digest[];
  readonly layers: number;
  /** Bytes of the files of these layers. */
  readonly bytes: number;
}

/** What {@link sweep} has set aside, to be discarded without the store's lock. */
export interface Swept {
  readonly removed: Removed;
  /** Directories of layers. */
  readonly directories: readonly string[];
}

/**
 * Mark and sweep: `choose` says which rows stay; all that these and what is in use do not need goes.
 * The caller holds the store's lock.
 */
export async function sweep(
  index: ImageIndex,
  store: LayerStore,
  inUse: InUse,
  choose: (rows: Row[]) => Promise<Row[]>,
): Promise<Swept> {
  const before = await index.rows();
  const after = await choose(before);
  if (after.length !== before.length) await index.write(after);
  const blobs = new Set<string>();
  const keys = new Set<LayerKey>(inUse.layers);
  for (const row of after) {
    blobs.add(keyOf(row.digest)).add(keyOf(row.annotations[rootAnnotation]));
    const image = await index.read(row);
    if (!image) continue;
    blobs.add(keyOf(image.manifest.config.digest));
    for (const { own, chain } of await layerKeys(image.config.diffIds)) keys.add(own).add(chain);
  }
  const directories: string[] = [];
  let bytes = 0;
  let layers = 0;
  for (const key of await store.keys()) {
    if (keys.has(key)) continue;
    layers++;
    bytes += (await store.find(key))?.size ?? 0;
    const directory = await store.withdraw(key);
    if (directory) directories.push(directory);
  }
  directories.push(...(await store.withdrawRemains()));
  await index.keepBlobs(blobs);
  const gone = before.filter(row => !after.includes(row));
  const kept = new Set(after.map(row => row.digest));
  const names = gone.flatMap(row => row.annotations[nameAnnotation] ?? []);
  const images = [...new Set(gone.map(row => row.digest))].filter(digest => !kept.has(digest));
  return { removed: { names, images, layers, bytes }, directories };
}
