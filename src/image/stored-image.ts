import { type ImageIndex, nameAnnotation, type Row, rootAnnotation } from './image-index.ts';
import { layerKeys } from './layer-keys.ts';
import { keyOf, type Layer, type LayerStore } from './layer-store.ts';
import type { Digest, ImageConfig } from './manifest.ts';

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

/** The image of these rows, which are those of one manifest. Undefined if a blob or a layer of it is missing. */
export async function loadImage(
  index: ImageIndex,
  store: LayerStore,
  rows: readonly Row[],
): Promise<StoredImage | undefined> {
  const [row] = rows;
  const found = row && (await index.read(row));
  if (!row || !found) return undefined;
  const layers: Layer[] = [];
  for (const [at, diffId] of found.config.diffIds.entries()) {
    const layer = (await store.find(keyOf(diffId))) ?? (await chained(store, found.config, at));
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
async function chained(store: LayerStore, config: ImageConfig, at: number): Promise<Layer | undefined> {
  const key = (await layerKeys(config.diffIds))[at]?.chain;
  return key === undefined ? undefined : store.find(key);
}
