import type { Files } from '../host/files.ts';
import { appsDirectory, persistentUnits } from '../names.ts';
import { readContainerNetwork } from './container-file.ts';
import { natOf, onBridge } from './nat.ts';
import type { NetworkedMachine } from './spec.ts';

/** Who is on spawnlet's own bridge, running or not: whose addresses and ports are not free. */

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
