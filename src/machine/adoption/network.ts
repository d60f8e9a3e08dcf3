import { vlanName } from '../../network/lines.ts';
import { natBridge } from '../../network/names.ts';
import type { Addressing, Interface, Network, PublishedPort } from '../spec.ts';

/** `[Network]` of a machine that spawnlet has not made, gathered line by line. */
export interface GivenNetwork {
  isPrivate: boolean;
  veth: boolean;
  bridge?: string;
  zone?: string;
  mac?: string;
  readonly interfaces: { key: 'Interface' | 'MACVLAN' | 'IPVLAN'; link: string; name?: string }[];
  readonly ports: PublishedPort[];
}

/** Addresses stay as the machine itself sets them. */
const unaddressed: Addressing = { addresses: [], gateways: [], dns: [] };

/** `[PROTOCOL:]HOSTPORT[:PORT]`; undefined for what is none. */
export function givenPort(value: string): PublishedPort | undefined {
  const match = /^(?:(tcp|udp):)?(\d{1,5})(?::(\d{1,5}))?$/.exec(value);
  const hostPort = Number(match?.[2]);
  const port = Number(match?.[3] ?? hostPort);
  const isPort = (each: number) => each >= 1 && each <= 65_535;
  if (!match || !isPort(hostPort) || !isPort(port)) return undefined;
  return { protocol: match[1] === 'udp' ? 'udp' : 'tcp', hostPort, port };
}

/** `LINK[:NAME]`; undefined for what is none. */
export function givenLink(value: string): { link: string; name?: string } | undefined {
  const match = /^([^\s:/]{1,15})(?::([^\s:/]{1,15}))?$/.exec(value);
  const [, link = '', name] = match ?? [];
  return match ? { link, ...(name !== undefined && { name }) } : undefined;
}

function vethOf({ veth, bridge, zone, mac, ports }: GivenNetwork): Interface[] {
  const rest = { ...unaddressed, name: 'host0', ...(mac !== undefined && { mac }) };
  if (zone !== undefined) return [{ kind: 'zone', zone, ...rest }];
  if (bridge !== undefined && bridge !== natBridge) return [{ kind: 'bridge', bridge, ...rest }];
  return veth || bridge !== undefined ? [{ kind: 'nat', ports, ...rest }] : [];
}

/** Published ports are there for `nat` alone. */
export const publishes = (given: GivenNetwork): boolean => vethOf(given)[0]?.kind === 'nat';

/** The network that these lines make. systemd-nspawn has a veth first, then what is moved in. */
export function adoptedNetwork(given: GivenNetwork): Network {
  const moved = given.interfaces.map(({ key, link, name }): Interface => {
    if (key === 'Interface') return { kind: 'physical', interface: link, ...unaddressed, name: name ?? link };
    const kind = key === 'MACVLAN' ? 'macvlan' : 'ipvlan';
    return { kind, parent: link, ...unaddressed, name: name ?? vlanName(kind, link) };
  });
  const interfaces = [...vethOf(given), ...moved];
  if (interfaces.length > 0) return { kind: 'private', interfaces };
  return { kind: given.isPrivate ? 'none' : 'host' };
}
