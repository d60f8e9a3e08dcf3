import { isIP, isIPv4 } from 'node:net';
import { SpawnletError } from '../host/error.ts';
import { calledBy, type Interface, isSame, type NetworkedMachine, type PublishedPort } from './spec.ts';

/** A socket of the host that takes connections or datagrams. */
export interface Listener {
  readonly protocol: 'tcp' | 'udp';
  /** `*`, `0.0.0.0` or `::` for all addresses. */
  readonly address: string;
  readonly port: number;
  /** The program, where the kernel tells it. */
  readonly owner: string | undefined;
}

/**
 * Reads what `ss --no-header --listening --numeric --tcp --udp --processes` prints:
 *
 *     tcp LISTEN 0 511 127.0.0.1:80 0.0.0.0:* users:(("nginx",pid=1,fd=6))
 */
export function parseListeners(text: string): Listener[] {
  return text.split('\n').flatMap(line => {
    const [protocol, , , , local = '', , users = ''] = line.trim().split(/\s+/);
    const at = local.lastIndexOf(':');
    const port = Number(local.slice(at + 1));
    if ((protocol !== 'tcp' && protocol !== 'udp') || at < 0 || !Number.isInteger(port)) return [];
    const address = local
      .slice(0, at)
      .replace(/^\[|\]$/g, '')
      .replace(/%.*$/, '');
    return { protocol, address, port, owner: /\(\("([^"]*)"/.exec(users)?.[1] };
  });
}

const wildcards = ['*', '0.0.0.0', '::'];
const isPort = (port: number) => Number.isInteger(port) && port >= 1 && port <= 65535;
/** `8080/tcp`, or with the address that it is bound to. */
export const nameOf = ({ protocol, address, hostPort }: PublishedPort) =>
  `${address === undefined ? '' : `${address.includes(':') ? `[${address}]` : address}:`}${hostPort}/${protocol}`;

/** Two of these cannot both be had: the same port of one address, or of all. */
function clash(one: PublishedPort, protocol: string, port: number, address: string | undefined): boolean {
  if (one.protocol !== protocol || one.hostPort !== port) return false;
  return one.address === undefined || address === undefined || one.address === address;
}

const taken = (port: PublishedPort, by: string) =>
  new SpawnletError('ERR_PORT_TAKEN', `port ${nameOf(port)} is ${by}'s`, {
    hint: 'publish another port of the host, or end what has it',
  });

/**
 * Refuses ports of an interface that something else has: another machine, itself twice, or a program of the host. The
 * kernel would not refuse them: translation comes before a socket is looked for.
 *
 * @throws ERR_PORT_TAKEN, ERR_NETWORK
 */
export function refusePorts(
  one: Pick<Extract<Interface, { kind: 'nat' }>, 'ports'>,
  machine: Pick<NetworkedMachine, 'name' | 'what'>,
  facts: { readonly machines: readonly NetworkedMachine[]; readonly listening: readonly Listener[] },
): void {
  const before: PublishedPort[] = [];
  for (const port of one.ports) {
    if (!isPort(port.hostPort) || !isPort(port.port))
      throw new SpawnletError('ERR_NETWORK', `${port.hostPort}:${port.port} are no ports`, {
        hint: '1 to 65535',
      });
    if (port.address !== undefined && (isIP(port.address) === 0 || port.address === '::1'))
      throw new SpawnletError('ERR_NETWORK', `no port can be published on ${port.address}`, {
        hint: 'an address of this host; of the loop-back 127.0.0.1 alone: the kernel translates none from ::1',
      });
    if (before.some(other => clash(port, other.protocol, other.hostPort, other.address)))
      throw taken(port, `another of the ${machine.what ?? 'machine'}`);
    before.push(port);
    for (const other of facts.machines) {
      const { network } = other;
      if (isSame(other, machine) || network.kind !== 'private') continue;
      const theirs = network.interfaces.flatMap(its => (its.kind === 'nat' ? its.ports : []));
      if (theirs.some(its => clash(port, its.protocol, its.hostPort, its.address)))
        throw taken(port, calledBy(other));
    }
    const listener = facts.listening.find(({ protocol, port: number, address }) =>
      clash(port, protocol, number, wildcards.includes(address) ? undefined : address),
    );
    if (listener) throw taken(port, listener.owner ?? 'a program of this host');
  }
}

/** The lowest port that nothing has, of those that the kernel gives to who asks for none. */
const firstFree = 32_768;

/**
 * Gives ports of the host to those that were asked for without one.
 *
 * @throws ERR_PORT_TAKEN if none is left
 */
export function withHostPorts(
  ports: readonly (Omit<PublishedPort, 'hostPort'> & { readonly hostPort?: number })[],
  facts: { readonly machines: readonly NetworkedMachine[]; readonly listening: readonly Listener[] },
): PublishedPort[] {
  const interfaces = facts.machines.flatMap(({ network }) =>
    network.kind === 'private' ? network.interfaces : [],
  );
  const used = new Set(
    [
      ...interfaces.flatMap(one => (one.kind === 'nat' ? one.ports : [])),
      ...ports,
      ...facts.listening.map(({ protocol, port }) => ({ protocol, hostPort: port })),
    ].map(({ protocol, hostPort }) => `${protocol} ${hostPort}`),
  );
  return ports.map(one => {
    if (one.hostPort !== undefined) return { ...one, hostPort: one.hostPort };
    for (let hostPort = firstFree; hostPort <= 65_535; hostPort++) {
      if (used.has(`${one.protocol} ${hostPort}`)) continue;
      used.add(`${one.protocol} ${hostPort}`);
      return { ...one, hostPort };
    }
    throw taken({ ...one, hostPort: firstFree }, 'something else');
  });
}

/** An element of the maps in the rules of a bridge: a port of the host, and where it leads. */
export interface PortElement {
  readonly map: `${'published' | 'bound'}${4 | 6}`;
  /** `{ tcp . 8080 : 10.0.0.2 . 80 }` */
  readonly element: string;
}

/**
 * Ports as elements of maps: a port of one address of the host is published in that address's family alone.
 *
 * @param addresses where they lead, without prefix lengths
 */
export function portElements(addresses: readonly string[], ports: readonly PublishedPort[]): PortElement[] {
  return ports.flatMap(({ protocol, address, hostPort, port }) =>
    addresses
      .filter(inner => address === undefined || isIPv4(address) === isIPv4(inner))
      .map((inner): PortElement => {
        const map = `${address === undefined ? 'published' : 'bound'}${isIPv4(inner) ? 4 : 6}` as const;
        const key = `${address === undefined ? '' : `${address} . `}${protocol} . ${hostPort}`;
        return { map, element: `{ ${key} : ${inner} . ${port} }` };
      }),
  );
}

/** A file for nft that publishes ports; the rules of the bridge are loaded with it. */
export const portsText = (
  what: string,
  table: string,
  addresses: readonly string[],
  ports: readonly PublishedPort[],
): string =>
  [
    `# Ports of ${what}.`,
    ...portElements(addresses, ports).map(
      ({ map, element }) => `add element inet ${table} ${map} ${element}`,
    ),
    '',
  ].join('\n');
