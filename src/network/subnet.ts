import { BlockList, isIP, isIPv4, SocketAddress } from 'node:net';
import { sha256 } from '../host/digest.ts';
import { SpawnletError } from '../host/error.ts';

/** Networks of a bridge, as CIDR. The bridge has the first address of each. */
export interface Range {
  readonly v4: string;
  /** Undefined: nobody on it has IPv6 beyond the link. */
  readonly v6?: string;
}

/** Networks of spawnlet's own bridge. */
export interface Subnets extends Range {
  readonly v6: string;
}

/** A CIDR taken apart. */
export interface Cidr {
  readonly address: string;
  readonly prefix: number;
}

/** Reads `10.0.0.2/24`, `fd00::2/64`; undefined if it is none. */
export function parseCidr(text: string): Cidr | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const [, address = '', digits = ''] = match ?? [];
  const family = isIP(address);
  const prefix = Number(digits);
  if (family === 0 || prefix > (family === 4 ? 32 : 128) || address.includes('%')) return undefined;
  return { address, prefix };
}

/**
 * The address of a CIDR as the kernel's tools show it, RFC 5952: `fd00:0123::2/64` is `fd00:123::2`. Only so can two be
 * compared, or one be found in what nft lists.
 */
export function addressOf(cidr: string): string {
  const address = cidr.replace(/\/.*$/, '');
  return isIP(address) === 6 ? new SocketAddress({ address, family: 'ipv6' }).address : address;
}

/** Private networks that Docker, podman, Kubernetes and home routers do not use by themselves. */
const candidates = [
  '10.153.0.0/22',
  '10.187.0.0/22',
  '10.221.0.0/22',
  '10.139.0.0/22',
  '172.30.216.0/22',
  '192.168.216.0/22',
];

/** Hosts of a network of 22 bits that a machine can have: the bridge is 1, the last is for broadcast. */
const lastHost = 1022;

/** ip(8) leaves the length out where a route leads to one host. */
const routeOf = (text: string) => parseCidr(text.includes('/') ? text : `${text}/${isIPv4(text) ? 32 : 128}`);

function overlap(one: string, other: string): boolean {
  const [a, b] = [routeOf(one), routeOf(other)];
  if (!a || !b || isIP(a.address) !== isIP(b.address)) return false;
  const [wide, narrow] = a.prefix <= b.prefix ? [a, b] : [b, a];
  const list = new BlockList();
  const family = isIPv4(wide.address) ? 'ipv4' : 'ipv6';
  list.addSubnet(wide.address, wide.prefix, family);
  return list.check(narrow.address, family);
}

/** True if an address lies in a network. */
export const isWithin = (address: string, network: string): boolean => overlap(address, network);

/**
 * Networks for the bridge: the first of a list that no route of the host leads into, and a prefix of RFC 4193 that
 * follows from the host.
 *
 * @param routes CIDR, the default routes left out
 * @param hostId /etc/machine-id
 * @throws ERR_NETWORK_SUBNET if every one is taken
 */
export function chooseSubnets(routes: readonly string[], hostId: string): Subnets {
  const v4 = candidates.find(candidate => !routes.some(route => overlap(route, candidate)));
  if (v4 === undefined)
    throw new SpawnletError('ERR_NETWORK_SUBNET', `this host has routes into ${candidates.join(', ')}`, {
      hint: 'use a bridge of your own: --network bridge=NAME',
    });
  const digest = sha256(`spawnlet\n${hostId}`).toString('hex');
  return { v4, v6: `fd${digest.slice(0, 2)}:${digest.slice(2, 6)}:${digest.slice(6, 10)}::/64` };
}

/** The address of a host in both networks, with the prefix length. */
export function hostAddress(subnets: Subnets, host: number): Subnets;
export function hostAddress(range: Range, host: number): Range;
export function hostAddress(subnets: Range, host: number): Range {
  const [base, prefix] = subnets.v4.split('/');
  const [a, b, c, d] = (base ?? '').split('.').map(Number) as [number, number, number, number];
  const v4 = `${a}.${b}.${c + ((d + host) >> 8)}.${(d + host) & 255}/${prefix}`;
  if (subnets.v6 === undefined) return { v4 };
  const [v6, length] = subnets.v6.split('/');
  return { v4, v6: `${v6}${host.toString(16)}/${length}` };
}

/**
 * A hardware address of a bridge, made of its IPv4 address. One that is given none takes the lowest of its ports, another one as
 * they come and go, and those who know it by the former are not heard until they ask again.
 */
export const hardwareAddress = (v4: string): string =>
  [
    '02',
    '00',
    ...v4
      .replace(/\/.*$/, '')
      .split('.')
      .map(byte => Number(byte).toString(16).padStart(2, '0')),
  ].join(':');

/**
 * The lowest addresses of the bridge's networks that no machine has: one of each, with the same host number.
 *
 * @param taken addresses of other machines, as {@link addressOf} has them
 * @throws ERR_NETWORK_FULL
 */
export function allocate(subnets: Subnets, taken: Iterable<string>): readonly [v4: string, v6: string] {
  const used = new Set(taken);
  for (let host = 2; host <= lastHost; host++) {
    const { v4, v6 } = hostAddress(subnets, host);
    if (!used.has(addressOf(v4)) && !used.has(addressOf(v6))) return [v4, v6];
  }
  throw new SpawnletError(
    'ERR_NETWORK_FULL',
    `every address of ${subnets.v4} is a machine's or container's`,
    {
      hint: 'spawnlet machine ls and spawnlet ps -a show them; machines can have a bridge of their own: --network bridge=NAME',
    },
  );
}
