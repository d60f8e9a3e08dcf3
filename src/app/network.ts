import type { Connection } from '../engine/container.ts';
import type { Plan } from '../host/apply.ts';
import { programMissing } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { HostStep } from '../host/step.ts';
import type { ImageConfig } from '../image/manifest.ts';
import {
  type ContainerAttachment,
  type ContainerFacts,
  connectionText,
  decideContainer,
  gatewaysOf,
} from '../network/container.ts';
import { containerBridgeSteps } from '../network/container-bridge.ts';
import { type ContainerNetwork, readContainerNetwork } from '../network/container-file.ts';
import { stableMac } from '../network/names.ts';
import { natRemoval } from '../network/nat.ts';
import { observeListeners, observeSubnets } from '../network/observe.ts';
import type { NetworkedMachine } from '../network/spec.ts';
import { containersOnBridge, machinesOnBridge, podsWithPorts, portHolders } from '../network/taken.ts';
import { exposedPorts, type RunRequest } from './request.ts';
import { directoryOf } from './spec.ts';

/** The network of a container on spawnlet's own bridge. */
export interface Bridged {
  readonly kind: 'bridged';
  readonly asked: ContainerAttachment;
  readonly facts: ContainerFacts;
  readonly network: ContainerNetwork;
  readonly gateways: readonly string[];
  readonly hostId: string;
}

export type DecidedNetwork = { readonly kind: 'host' | 'none' } | Bridged;

/** Who is on the bridge; with the pods that have ports, where some are to be published. */
async function neighboursOf({ files }: Host, publishes: boolean): Promise<NetworkedMachine[]> {
  const [holders, pods] = await Promise.all([portHolders(files), publishes ? podsWithPorts(files) : []]);
  return [...holders, ...pods];
}

/** What of the host is in the way of a port, and who else is on the bridge. */
async function observe(
  host: Host,
  hostId: string,
  publishes: boolean,
  signal: AbortSignal,
): Promise<ContainerFacts> {
  const { children } = host;
  const [subnets, listening, neighbours] = await Promise.all([
    observeSubnets(host, hostId, signal),
    publishes ? observeListeners(children, signal) : [],
    neighboursOf(host, publishes),
  ]);
  return { subnets, listening, neighbours };
}

/**
 * Decides on a container's network. One that is there keeps what it has.
 *
 * @throws ERR_PROGRAM_MISSING without nft, and what `decideContainer` throws
 */
export async function networkOf(
  host: Host,
  request: RunRequest,
  config: Pick<ImageConfig, 'exposedPorts'>,
  signal: AbortSignal,
): Promise<DecidedNetwork> {
  if (request.network !== 'bridge') return { kind: request.network };
  const { files } = host;
  if (!(await files.look('/usr/sbin/nft'))) throw withoutNft();
  const flags = request.attachment ?? { ports: [], publish: 'listed', addresses: [], dns: [] };
  const listed = new Set(flags.ports.map(({ protocol, port }) => `${protocol} ${port}`));
  const exposed = flags.publish === 'all' ? exposedPorts(config.exposedPorts) : [];
  const more = exposed.filter(({ protocol, port }) => !listed.has(`${protocol} ${port}`));
  const asked: ContainerAttachment = {
    name: request.name,
    addresses: flags.addresses,
    ports: [...flags.ports, ...more],
  };
  const before = await readContainerNetwork(files, directoryOf(request.name));
  const hostId = ((await files.read('/etc/machine-id')) ?? '').trim();
  const facts = await observe(host, hostId, asked.ports.length > 0 && !before, signal);
  const network = decideContainer(asked, facts, before);
  return { kind: 'bridged', asked, facts, network, gateways: gatewaysOf(facts.subnets), hostId };
}

/** The same when nobody else may take an address or a port any more: what was decided, unless it is no longer free. */
export async function decidedAgain(host: Host, before: Bridged): Promise<Bridged> {
  const neighbours = await neighboursOf(host, before.asked.ports.length > 0);
  const facts = { ...before.facts, neighbours };
  if (JSON.stringify(facts.neighbours) === JSON.stringify(before.facts.neighbours)) return before;
  return { ...before, facts, network: decideContainer(before.asked, facts) };
}

function withoutNft(): SpawnletError {
  const { message, code, hint } = programMissing('nft');
  return new SpawnletError(code, `the bridge of containers needs nft: ${message}`, {
    hint: `${hint}; or --network host`,
  });
}

/** What the engine is told. */
export function connectionOf(request: RunRequest, decided: DecidedNetwork): 'host' | 'none' | Connection {
  if (decided.kind !== 'bridged') return decided.kind;
  const { name, hostname } = request;
  return connectionText({
    name,
    network: decided.network,
    gateways: decided.gateways,
    mac: stableMac(decided.hostId, `container ${name}`, 0),
    names: hostname === undefined || hostname === name ? [] : [hostname],
    resolver: (request.attachment?.dns.length ?? 0) > 0 ? 'given' : 'bridge',
  });
}

/** Files of the bridge, which containers and machines share: they are made before a container, and outlast it. */
export const planBridge = ({ facts }: Bridged): Plan<HostStep> => ({
  title: 'make the bridge of containers',
  ifInterrupted: 'finish',
  steps: containerBridgeSteps(facts.subnets),
});

/** What takes the bridge away when nobody is on it but this container. */
export async function bridgeRemoval(
  { files }: Pick<Host, 'files'>,
  name: string,
): Promise<ReturnType<typeof natRemoval>> {
  const [machines, containers] = await Promise.all([machinesOnBridge(files), containersOnBridge(files)]);
  return natRemoval([...machines, ...containers.filter(other => other.name !== name)]);
}

export { lockNetwork } from '../network/nat.ts';
