import { type Children, check } from '../host/child.ts';
import type { Host } from '../host/host.ts';
import type { BridgeFacts } from './bridge.ts';
import type { LineFacts } from './lines.ts';
import { natUnitPath, recordedSubnets } from './nat.ts';
import { type Listener, parseListeners } from './ports.ts';
import type { Interface, Link, NetworkedMachine } from './spec.ts';
import { chooseSubnets, type Subnets } from './subnet.ts';

/** What of the host the network of machines depends on. */
export interface NetworkFacts extends LineFacts {
  readonly links: readonly Link[];
  /** Interfaces that default routes of the host lead through. */
  readonly uplinks: readonly string[];
  /** Bridges of Open vSwitch. */
  readonly openVSwitch: 'missing' | readonly string[];
  readonly networkd: 'active' | 'inactive';
  readonly nft: 'there' | 'missing';
  /** What the kernel can make; probed where an interface asks for it, else false. */
  readonly kinds: { readonly macvlan: boolean; readonly ipvlan: boolean };
  /** Name servers of the host that are to be reached from elsewhere. */
  readonly dns: readonly string[];
  /** Of the host; empty where no port is to be published. */
  readonly listening: readonly Listener[];
  /** All machines, as they are kept. */
  readonly machines: readonly NetworkedMachine[];
}

interface LinkJson {
  readonly ifname: string;
  readonly master?: string;
  readonly linkinfo?: { readonly info_kind?: string };
}

interface RouteJson {
  readonly dst: string;
  readonly dev?: string;
}

interface AddressJson {
  readonly ifname?: string;
  /** Empty objects stand for addresses that a filter has left out. */
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number }[];
}

async function json<T>(children: Children, argv: readonly string[], signal: AbortSignal): Promise<T[]> {
  const text = (await check(children, argv, { signal })).toString().trim();
  return text === '' ? [] : (JSON.parse(text) as T[]);
}

/** Links of the host. */
export async function observeLinks(children: Children, signal: AbortSignal): Promise<Link[]> {
  const links = await json<LinkJson>(children, ['ip', '-json', '-details', 'link', 'show'], signal);
  return links.map(({ ifname, master, linkinfo }) => ({ name: ifname, kind: linkinfo?.info_kind, master }));
}

const isLoopback = (address: string) => address.startsWith('127.') || address === '::1';

/** Name servers of a resolv.conf(5), but those that only the host itself reaches. */
export function nameServers(text: string): string[] {
  const servers = text.split('\n').flatMap(line => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? []);
  return servers.filter(server => !isLoopback(server) && !server.includes('%'));
}

async function observeRoutes(children: Children, signal: AbortSignal): Promise<RouteJson[]> {
  const families = ['-4', '-6'].map(family =>
    json<RouteJson>(children, ['ip', '-json', family, 'route', 'show'], signal),
  );
  return (await Promise.all(families)).flat();
}

/** Sockets of the host that take connections or datagrams. */
export async function observeListeners(children: Children, signal: AbortSignal): Promise<Listener[]> {
  return parseListeners((await check(children, ['ss', '-Hlntup'], { signal })).toString());
}

/** Networks that were chosen before; undefined if there is no bridge yet. */
const recorded = async (files: Host['files']) => recordedSubnets((await files.read(natUnitPath)) ?? '');

const chosen = (routes: readonly RouteJson[], hostId: string) =>
  chooseSubnets(
    routes.map(({ dst }) => dst).filter(dst => dst !== 'default'),
    hostId,
  );

/**
 * Networks of the bridge with NAT: those that were chosen, or could be now.
 *
 * @param hostId /etc/machine-id
 */
export async function observeSubnets(
  { files, children }: Pick<Host, 'files' | 'children'>,
  hostId: string,
  signal: AbortSignal,
): Promise<Subnets> {
  return (await recorded(files)) ?? chosen(await observeRoutes(children, signal), hostId);
}

const succeeds = async (children: Children, argv: readonly string[], signal: AbortSignal) =>
  (await children.capture(argv, { signal })).code === 0;

/** Tries a kind of link in a network namespace that is gone with the child: a module that can be loaded, is. */
function kernelHas(children: Children, kind: 'macvlan' | 'ipvlan', signal: AbortSignal): Promise<boolean> {
  const script = `ip link add p0 type veth peer name p1 && ip link add v0 link p0 type ${kind}`;
  return succeeds(children, ['unshare', '--net', 'sh', '-c', script], signal);
}

async function openVSwitch(children: Children, signal: AbortSignal): Promise<'missing' | string[]> {
  const there = await succeeds(children, ['sh', '-c', 'command -v ovs-vsctl'], signal);
  if (!there) return 'missing';
  const shown = await children.capture(['ovs-vsctl', '--timeout=5', 'list-br'], { signal });
  return shown.code === 0 ? shown.stdout.toString().split('\n').filter(Boolean) : [];
}

/**
 * Looks at the host, as far as `interfaces` ask for it.
 *
 * @param machines all that are kept; their addresses and ports are theirs
 */
export async function observeNetwork(
  { files, children }: Pick<Host, 'files' | 'children'>,
  interfaces: readonly Interface[],
  machines: readonly NetworkedMachine[],
  signal: AbortSignal,
): Promise<NetworkFacts> {
  const asks = (...kinds: Interface['kind'][]) => interfaces.some(({ kind }) => kinds.includes(kind));
  const nat = asks('nat');
  const publishes = interfaces.some(one => one.kind === 'nat' && one.ports.length > 0);
  const routes = asks('nat', 'physical') ? await observeRoutes(children, signal) : [];
  const [version, links, switches, nft, networkd, macvlan, ipvlan, sockets] = await Promise.all([
    check(children, ['systemctl', '--version'], { signal }),
    observeLinks(children, signal),
    asks('ovs', 'bridge') ? openVSwitch(children, signal) : ('missing' as const),
    nat && succeeds(children, ['sh', '-c', 'command -v nft'], signal),
    asks('zone') && succeeds(children, ['systemctl', 'is-active', '--quiet', 'systemd-networkd'], signal),
    asks('macvlan') && kernelHas(children, 'macvlan', signal),
    asks('ipvlan') && kernelHas(children, 'ipvlan', signal),
    publishes ? observeListeners(children, signal) : [],
  ]);
  const hostId = ((await files.read('/etc/machine-id')) ?? '').trim();
  const resolver =
    (await files.read('/run/systemd/resolve/resolv.conf')) ?? (await files.read('/etc/resolv.conf')) ?? '';
  return {
    systemd: Number(/^systemd (\d+)/.exec(version.toString())?.[1] ?? 0),
    udev: (await files.look('/run/udev/control')) !== undefined,
    hostId,
    nat: (await recorded(files)) ?? chosen(routes, hostId),
    links,
    uplinks: [...new Set(routes.flatMap(({ dst, dev }) => (dst === 'default' && dev ? dev : [])))],
    openVSwitch: switches,
    networkd: networkd ? 'active' : 'inactive',
    nft: nft ? 'there' : 'missing',
    kinds: { macvlan, ipvlan },
    dns: nameServers(resolver),
    listening: sockets,
    machines,
  };
}

/** Looks at what a bridge of the host depends on. */
export async function observeBridges(
  { files, children }: Pick<Host, 'files' | 'children'>,
  signal: AbortSignal,
): Promise<BridgeFacts> {
  const directory = '/etc/network/interfaces.d';
  const [links, addresses, active, ifup, names] = await Promise.all([
    observeLinks(children, signal),
    json<AddressJson>(children, ['ip', '-json', 'address', 'show', 'scope', 'global'], signal),
    children.capture(['systemctl', 'is-active', 'NetworkManager', 'systemd-networkd'], { signal }),
    succeeds(children, ['sh', '-c', 'command -v ifup'], signal),
    files.list(directory),
  ]);
  const paths = ['/etc/network/interfaces', ...names.map(name => `${directory}/${name}`)];
  const stanzas = await Promise.all(paths.map(async path => (await files.read(path)) ?? ''));
  const [networkManager, networkd] = active.stdout.toString().split('\n');
  return {
    manager:
      networkManager === 'active'
        ? 'networkmanager'
        : networkd === 'active'
          ? 'networkd'
          : ifup
            ? 'ifupdown'
            : 'none',
    links,
    addresses: Object.fromEntries(
      addresses.flatMap(({ ifname, addr_info: its = [] }) =>
        ifname === undefined
          ? []
          : [
              [
                ifname,
                its.flatMap(({ local, prefixlen }) => (local === undefined ? [] : `${local}/${prefixlen}`)),
              ],
            ],
      ),
    ),
    stanzas: stanzas.flatMap(text =>
      Array.from(text.matchAll(/^\s*iface\s+(\S+)/gm), match => match[1] ?? ''),
    ),
  };
}
