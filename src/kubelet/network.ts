import type { Files } from '../host/files.ts';
import { defaultNetwork, defaultRange } from '../network/cni/default.ts';
import { networkOf } from '../network/cni/directory.ts';
import { bridgeSteps, cniBridge } from '../network/nat-bridge.ts';
import type { PodNetwork, PodStep } from '../pod/worker/dependencies.ts';

/** The name of the network that pods have where the administrator has put no other. */
const podNetwork = 'spawnlet-pods';

export interface NetworkOptions {
  readonly files: Pick<Files, 'list' | 'read'>;
  /** Where the administrator's network is, if there is one. */
  readonly directory: string;
  perform(steps: readonly PodStep[], signal: AbortSignal): Promise<void>;
  /** Told which network pods get from now on. */
  said(line: string): void;
}

/**
 * The network of pods: each gets what the directory has when it begins, so that one that the administrator puts there is that
 * of the next pod. Without one there is a bridge of spawnlet's own, which is set up for the first pod.
 */
export function podNetworks(options: NetworkOptions, signal: AbortSignal): () => Promise<PodNetwork> {
  let setUp: Promise<void> | undefined;
  let last = '';
  return async () => {
    const own = await networkOf(options.files, options.directory);
    const told = own ? `network ${own.network.name} of ${own.file}` : `network ${podNetwork}`;
    if (told !== last) options.said(`pods get the ${told}`);
    last = told;
    if (own) return { list: own.network, publishes: 'plugins' };
    setUp ??= options
      .perform([...bridgeSteps(cniBridge, defaultRange), { do: 'start-unit', name: cniBridge.unit }], signal)
      .catch((error: unknown) => {
        setUp = undefined;
        throw error;
      });
    await setUp;
    return { list: defaultNetwork(podNetwork, cniBridge.bridge, defaultRange), publishes: 'bridge' };
  };
}
