import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import { defaultNetwork, defaultRange } from '../network/cni/default.ts';
import { networkOf } from '../network/cni/directory.ts';
import { cniBridge } from '../network/nat-bridge.ts';
import type { PodNetwork } from '../pod/worker/dependencies.ts';
import type { NodeSettings } from './node.ts';

/** The network that pods have where the administrator has named no other, by the bridge that {@link networkSetUp} makes. */
export const bridgeNetwork = ({ range = defaultRange }: NodeSettings): PodNetwork => ({
  list: defaultNetwork('spawnlet-pods', cniBridge.bridge, range),
  publishes: 'bridge',
});

/**
 * The network of a directory: each pod gets what is there when it begins.
 *
 * @param said told which network pods get from now on
 * @returns what throws ERR_CNI_CONFIG where there is none, or one that is wrong
 */
export function networkIn(
  files: Pick<Files, 'list' | 'read'>,
  directory: string,
  said: (line: string) => void,
): () => Promise<PodNetwork> {
  let last = '';
  return async () => {
    const own = await networkOf(files, directory);
    if (!own)
      throw new SpawnletError('ERR_CNI_CONFIG', `there is no network in ${directory}`, {
        hint: 'put a .conflist there, or leave out --cni-conf-dir: then pods have a bridge of their own',
      });
    const told = `pods get the network ${own.network.name} of ${own.file}`;
    if (told !== last) said(told);
    last = told;
    return { list: own.network, publishes: 'plugins' };
  };
}
