import { availableParallelism, hostname, networkInterfaces, totalmem } from 'node:os';
import { defaultNetwork, defaultRange, type Range } from '../network/cni/default.ts';
import { bridgeSteps, cniBridge } from '../network/nat-bridge.ts';
import type { Node, PodStep } from '../pod/worker/dependencies.ts';

/** The name of their network. */
const podNetwork = 'spawnlet-pods';

/** Addresses by which others reach this host, the first one IPv4 if there is any. */
function addresses(): string[] {
  const all = Object.entries(networkInterfaces())
    .filter(([name]) => !name.startsWith('spawnlet'))
    .flatMap(([, its = []]) => its)
    .filter(({ internal, scopeid }) => !internal && !scopeid);
  const of = (family: string) => all.filter(each => each.family === family).map(({ address }) => address);
  return [...of('IPv4').slice(0, 1), ...of('IPv6').slice(0, 1)];
}

/** What whoever starts the agent has decided of its node; what is undefined is as the host has it. */
export interface NodeSettings {
  /** Processes that each pod may have. */
  readonly podPidsLimit?: number;
  /** Where pods get their addresses from; the bridge takes it up when it is made. */
  readonly range?: Range;
}

/** What the network of pods needs of the host, before the first pod. */
export const networkSetUp = ({ range = defaultRange }: NodeSettings): PodStep[] => [
  ...bridgeSteps(cniBridge, range),
  { do: 'start-unit', name: cniBridge.unit },
];

/** This host as a node without a cluster. */
export function standaloneNode({ podPidsLimit, range = defaultRange }: NodeSettings): Node {
  return {
    name: hostname(),
    addresses: addresses(),
    memory: totalmem(),
    cpu: availableParallelism() * 1000,
    network: defaultNetwork(podNetwork, cniBridge.bridge, range),
    publishes: 'bridge',
    dns: { servers: [], domain: 'cluster.local' },
    ...(podPidsLimit !== undefined && { podPidsLimit }),
  };
}
