import type { Files } from '../host/files.ts';
import { appsDirectory, persistentUnits, podNetworkRecord, podsDirectory } from '../names.ts';
import type { PortMapping } from './cni/attachment.ts';
import { readRecord } from './cni/record.ts';
import { readContainerNetwork } from './container-file.ts';
import { natOf, onBridge, portsIn } from './nat.ts';
import { cniBridge, portsDirectory } from './nat-bridge.ts';
import type { NetworkedMachine, PublishedPort } from './spec.ts';

/** Who is on spawnlet's own bridge, running or not, and which pods have ports: whose addresses and ports are not free. */

export async function containersOnBridge(files: Files): Promise<NetworkedMachine[]> {
  const found = await Promise.all(
    (await files.list(appsDirectory)).map(async (name): Promise<NetworkedMachine[]> => {
      const network = await readContainerNetwork(files, `${appsDirectory}/${name}`);
      if (!network) return [];
      return [{ name, what: 'container', network: onBridge('eth0', network.addresses, network.ports) }];
    }),
  );
  return found.flat();
}

/** Machines on the bridge as the drop-ins of their units tell: those that were ejected too, and without reading a spec. */
export async function machinesOnBridge(files: Files): Promise<NetworkedMachine[]> {
  const found = await Promise.all(
    (await files.list(persistentUnits)).map(async (directory): Promise<NetworkedMachine[]> => {
      const name = /^systemd-nspawn@(.+)\.service\.d$/.exec(directory)?.[1];
      if (name === undefined) return [];
      const path = `${persistentUnits}/${directory}`;
      const dropIns = (await files.list(path)).filter(file => file.endsWith('.conf'));
      const texts = await Promise.all(dropIns.map(file => files.read(`${path}/${file}`)));
      return texts.flatMap(text => natOf(name, text ?? ''));
    }),
  );
  return found.flat();
}

/** Containers and machines: they keep their ports while they do not run, too. */
export async function portHolders(files: Files): Promise<NetworkedMachine[]> {
  const [machines, containers] = await Promise.all([machinesOnBridge(files), containersOnBridge(files)]);
  return [...machines, ...containers];
}

/**
 * Pods as `NAMESPACE/NAME` with the ports of the host that they have now, from spawnlet's own bridge or from the plugins of
 * another network.
 *
 * @param except UID of a pod that is left out
 */
export async function podsWithPorts(files: Files, except?: string): Promise<NetworkedMachine[]> {
  const uids = (await files.list(podsDirectory)).filter(uid => uid !== except);
  const found = await Promise.all(
    uids.map(async (uid): Promise<NetworkedMachine[]> => {
      const record = await readRecord(files, podNetworkRecord(uid));
      if (!record) return [];
      const { args, capabilities } = record.attachment;
      const file = await files.read(`${portsDirectory(cniBridge)}/${uid}.nft`);
      const ports = [...portsIn((file ?? '').split('\n')), ...mapped(capabilities.portMappings ?? [])];
      if (ports.length === 0) return [];
      const name = `${args['K8S_POD_NAMESPACE']}/${args['K8S_POD_NAME']}`;
      return [{ name, what: 'pod', network: onBridge('eth0', [], ports) }];
    }),
  );
  return found.flat();
}

const mapped = (ports: readonly PortMapping[]): PublishedPort[] =>
  ports.flatMap(({ protocol, hostPort, containerPort, hostIP }) =>
    protocol === 'sctp'
      ? []
      : [{ protocol, hostPort, port: containerPort, ...(hostIP !== undefined && { address: hostIP }) }],
  );
