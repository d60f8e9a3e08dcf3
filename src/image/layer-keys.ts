import { keyOf, type LayerKey } from './layer-store.ts';
import type { Digest } from './manifest.ts';

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
