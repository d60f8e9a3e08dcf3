import { availableParallelism, hostname, networkInterfaces, totalmem } from 'node:os';
import { persistentUnits } from '../names.ts';
import { defaultRange, type Range } from '../network/cni/default.ts';
import { markOf, type NameServer, nameServerText } from '../network/name-server.ts';
import { bridgeSteps, cniBridge, namesDirectory } from '../network/nat-bridge.ts';
import { addressOf, hostAddress } from '../network/subnet.ts';
import type { Node, PodStep, WorkerDependencies } from '../pod/worker/dependencies.ts';

/** RFC 1918, and what carriers share: nobody outside reaches them. */
const isPrivate = (address: string) =>
  /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd])/i.test(
    address,
  );

/** Addresses by which others reach this host, IPv4 first. */
function addresses(): { readonly own: string[]; readonly external: string | undefined } {
  const all = Object.entries(networkInterfaces())
    .filter(([name]) => !name.startsWith('spawnlet'))
    .flatMap(([, its = []]) => its)
    .filter(({ internal, scopeid }) => !internal && !scopeid);
  const of = (family: string) => all.filter(each => each.family === family).map(({ address }) => address);
  const [four, six] = [of('IPv4'), of('IPv6')];
  return {
    own: [...four.slice(0, 1), ...six.slice(0, 1)],
    external: [...four, ...six].find(address => !isPrivate(address)),
  };
}

/** Answers for names of pods, and passes on all other questions. */
const nameServerOf = ({ clusterDomain }: Pick<NodeSettings, 'clusterDomain'>): NameServer => ({
  of: cniBridge,
  unit: 'spawnlet-pod-dns.service',
  users: 'pods',
  runtime: 'spawnlet/pod-dns',
  domains: [clusterDomain, 'pod'],
});

/** What whoever starts the agent has decided of its node; what is undefined is as the host has it. */
export interface NodeSettings {
  /** Processes that each pod may have. */
  readonly podPidsLimit?: number;
  /** Where pods get their addresses from; the bridge takes it up when it is made. */
  readonly range?: Range;
  /** Name servers for pods, instead of the one that knows their names. */
  readonly clusterDNS: readonly string[];
  readonly clusterDomain: string;
  /** The file that the host's name servers are in. */
  readonly resolvConf?: string;
}

/** What the network of pods needs of the host, before the first pod. */
export function networkSetUp({ range = defaultRange, ...settings }: NodeSettings): PodStep[] {
  const nameServer = nameServerOf(settings);
  return [
    ...bridgeSteps(cniBridge, range),
    {
      do: 'write-file',
      path: `${persistentUnits}/${nameServer.unit}`,
      content: nameServerText(nameServer),
      mode: 0o644,
    },
    { do: 'start-unit', name: cniBridge.unit },
  ];
}

/**
 * The node with who answers for names of pods. Where nobody can, for want of dnsmasq or because port 53 is another's, it is the node as it
 * was: pods ask the name servers of the host and do not find each other.
 *
 * @param told why it could not be started
 */
export async function withNames(
  { node, host, perform }: Pick<WorkerDependencies, 'node' | 'host' | 'perform'>,
  { range = defaultRange, ...settings }: NodeSettings,
  told: (error: unknown) => void,
  signal: AbortSignal,
): Promise<Node> {
  if (settings.clusterDNS.length > 0) return node;
  const nameServer = nameServerOf(settings);
  try {
    await perform([{ do: 'start-unit', name: nameServer.unit }], signal);
  } catch (error) {
    signal.throwIfAborted();
    told(error);
    return node;
  }
  if (!(await host.files.look(markOf(nameServer)))) return node;
  const address = addressOf(hostAddress(range, 1).v4);
  return { ...node, dns: { ...node.dns, servers: [address] }, names: namesDirectory(cniBridge) };
}

/** This host as a node without a cluster. */
export function standaloneNode({ podPidsLimit, clusterDNS, clusterDomain, resolvConf }: NodeSettings): Node {
  const { own, external } = addresses();
  return {
    name: hostname(),
    addresses: own,
    ...(external !== undefined && { externalAddress: external }),
    memory: totalmem(),
    cpu: availableParallelism() * 1000,
    dns: { servers: clusterDNS, domain: clusterDomain },
    ...(resolvConf !== undefined && { resolvConf }),
    ...(podPidsLimit !== undefined && { podPidsLimit }),
  };
}
