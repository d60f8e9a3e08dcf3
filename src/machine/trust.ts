import { SpawnletError } from '../host/error.ts';
import type { Interface } from '../network/spec.ts';
import type { MachineSpec, Mount } from './spec.ts';

const oneLine = (text: string) => JSON.stringify(text).slice(1, -1);

function ofMount(mount: Mount): string[] {
  if (mount.kind === 'bind') return [`bind ${mount.source} to ${mount.target}`];
  return mount.kind === 'overlay' ? [`overlay of ${mount.layers.join(', ')} on ${mount.target}`] : [];
}

function ofInterface(one: Interface): string[] {
  switch (one.kind) {
    case 'nat':
      return one.ports.map(({ hostPort, protocol }) => `port ${hostPort}/${protocol} of the host`);
    case 'bridge':
    case 'ovs':
      return [`bridge ${one.bridge}`];
    case 'macvlan':
    case 'ipvlan':
      return [`${one.kind} on ${one.parent}`];
    case 'physical':
      return [`interface ${one.interface}`];
    case 'zone':
      return [];
  }
}

function ofNetwork({ network }: MachineSpec): string[] {
  if (network.kind === 'host') return ["the host's network"];
  return network.kind === 'private' ? network.interfaces.flatMap(ofInterface) : [];
}

/** What a machine is given of the host it runs on, a line for each: nothing for one that has only what all machines have. */
export function hostAccess(spec: MachineSpec): string[] {
  const { privateUsers: users } = spec;
  return [
    ...spec.mounts.flatMap(ofMount),
    ...spec.credentials.map(({ id, path }) => `credential ${id} from ${path}`),
    ...spec.devices.map(({ path, access }) => `device ${path} (${access})`),
    ...spec.profiles.filter(name => name !== 'default').map(name => `profile ${name}`),
    ...spec.capabilities.map(name => `capability ${name}`),
    ...ofNetwork(spec),
    ...(users?.kind === 'no' ? ['no user namespace'] : []),
    ...(users?.kind === 'range' ? [`users ${users.base}:${users.count} of the host`] : []),
  ].map(oneLine);
}

/** Refuses a spec of somebody else's that would be given something of this host: `ERR_MACHINE_TRUST`. */
export function refuseHostAccess(spec: MachineSpec, file: string): void {
  const asked = hostAccess(spec);
  if (asked.length === 0) return;
  throw new SpawnletError(
    'ERR_MACHINE_TRUST',
    `the machine in ${file} would be given of this host: ${asked.join('; ')}`,
    { hint: 'if you trust who made it: --trust' },
  );
}
