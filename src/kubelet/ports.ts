import type { Host } from '../host/host.ts';
import { onBridge } from '../network/nat.ts';
import { observeListeners } from '../network/observe.ts';
import { type Listener, refusePorts } from '../network/ports.ts';
import type { NetworkedMachine } from '../network/spec.ts';
import { portHolders } from '../network/taken.ts';
import type { Pod } from '../pod/api/kubernetes.ts';
import { hostPorts } from '../pod/worker/sandbox.ts';

const asNeighbour = (pod: Pod): NetworkedMachine => ({
  name: `${pod.metadata?.namespace}/${pod.metadata?.name}`,
  what: 'pod',
  network: onBridge('eth0', [], hostPorts(pod)),
});

/**
 * Refuses ports of the host that pods ask for and that something else has, or another of the pods.
 *
 * @param own pods that are to come
 * @param all pods that are to be, these among them
 * @throws ERR_PORT_TAKEN
 */
export function refuseTakenPorts(
  own: readonly Pod[],
  all: readonly Pod[],
  {
    holders,
    listening,
  }: { readonly holders: readonly NetworkedMachine[]; readonly listening: readonly Listener[] },
): void {
  const machines = [...holders, ...all.map(asNeighbour)];
  for (const pod of own) refusePorts({ ports: hostPorts(pod) }, asNeighbour(pod), { machines, listening });
}

/** {@link refuseTakenPorts} on this host, as it is now. */
export async function refuseTakenPortsOf(
  { files, children }: Pick<Host, 'files' | 'children'>,
  own: readonly Pod[],
  all: readonly Pod[],
  signal: AbortSignal,
): Promise<void> {
  if (!own.some(pod => hostPorts(pod).length > 0)) return;
  const [holders, listening] = await Promise.all([portHolders(files), observeListeners(children, signal)]);
  refuseTakenPorts(own, all, { holders, listening });
}
