import { SpawnletError } from '../host/error.ts';
import { bridgeLines, dnsMark, leavePath } from './container-bridge.ts';
import type { ContainerNetwork } from './container-file.ts';
import { refuseAddresses } from './decide.ts';
import { linkName } from './names.ts';
import { onBridge } from './nat.ts';
import { machineBridge, namesDirectory, nft, portsDirectory } from './nat-bridge.ts';
import { type Listener, portsText, refusePorts, withHostPorts } from './ports.ts';
import type { Assignment, NetworkedMachine, PublishedPort } from './spec.ts';
import { addressOf, allocate, hostAddress, isWithin, type Subnets } from './subnet.ts';

/** What is asked for. */
export interface ContainerAttachment {
  readonly name: string;
  /** IPv4 addresses and IPv6 addresses that it is to have, one of each at most. */
  readonly addresses: readonly string[];
  /** Where the host's port is not said, one is chosen. */
  readonly ports: readonly (Omit<PublishedPort, 'hostPort'> & { readonly hostPort?: number })[];
}

/** What of the host it depends on. */
export interface ContainerFacts {
  readonly subnets: Subnets;
  /** All machines and containers on the bridge. */
  readonly neighbours: readonly NetworkedMachine[];
  /** Of the host; empty where no port is to be published. */
  readonly listening: readonly Listener[];
}

const refused = (message: string, hint: string) => new SpawnletError('ERR_NETWORK', message, { hint });

/** The asked addresses with their prefix, and the lowest free ones for the rest. */
function addressesFor(
  { addresses }: ContainerAttachment,
  { subnets }: ContainerFacts,
  others: readonly NetworkedMachine[],
): readonly string[] {
  const bridge = hostAddress(subnets, 1);
  const taken = others.flatMap(({ network }) =>
    network.kind === 'private'
      ? network.interfaces.flatMap(one => (one.addresses === 'dhcp' ? [] : one.addresses.map(addressOf)))
      : [],
  );
  const asked = addresses.map(address => {
    const subnet = address.includes(':') ? subnets.v6 : subnets.v4;
    const own = [bridge.v4, bridge.v6].map(addressOf).includes(addressOf(address));
    if (!isWithin(address, subnet) || own || addressOf(address) === addressOf(subnet))
      throw refused(`${address} is no address for a container`, `one of ${subnet}, but the bridge's own`);
    return `${addressOf(address)}${subnet.slice(subnet.indexOf('/'))}`;
  });
  const [v4, v6] = asked.length === 2 ? [] : allocate(subnets, [...taken, ...asked.map(addressOf)]);
  const isV6 = (address: string) => address.includes(':');
  return [asked.find(one => !isV6(one)) ?? v4, asked.find(isV6) ?? v6].filter(one => one !== undefined);
}

/**
 * Decides a container's addresses and ports. What it has already, `before`, it keeps where nothing else is asked for.
 *
 * @throws ERR_NETWORK, ERR_ADDRESS_TAKEN, ERR_NETWORK_FULL, ERR_PORT_TAKEN
 */
export function decideContainer(
  asked: ContainerAttachment,
  facts: ContainerFacts,
  before?: ContainerNetwork,
): ContainerNetwork {
  const self = { name: asked.name, what: 'container' } as const;
  const others = facts.neighbours.filter(({ name, what }) => what !== self.what || name !== self.name);
  if (before) return before;
  const addresses = addressesFor(asked, facts, others);
  const ports = withHostPorts(asked.ports, { machines: others, listening: facts.listening });
  const network = onBridge('eth0', addresses, ports);
  refusePorts({ ports }, self, { machines: others, listening: facts.listening });
  if (network.kind === 'private') for (const one of network.interfaces) refuseAddresses(one, others);
  return { version: 1, addresses, ports };
}

/** Where a container's packets go first: the bridge's addresses. */
export const gatewaysOf = (subnets: Subnets): readonly string[] => {
  const { v4, v6 } = hostAddress(subnets, 1);
  return [v4, v6].map(addressOf);
};

/** How the scripts beside a bundle connect the container, and what its unit says. */
export interface ConnectionText {
  readonly connect: string;
  readonly disconnect: string;
  readonly unit: readonly Assignment[];
}

export interface Connected {
  readonly name: string;
  readonly network: ContainerNetwork;
  readonly gateways: readonly string[];
  readonly mac: string;
  /** Names beside its own that others find it by. */
  readonly names: readonly string[];
  /** `given`: its resolv.conf is written when it is made; else it is that of the bridge, at each start. */
  readonly resolver: 'bridge' | 'given';
}

const ip = '/usr/sbin/ip';

/**
 * Name servers of a start: who answers on the bridge, or else those of the host that are reached from elsewhere. The search
 * list is the host's.
 */
const resolver = (gateway: string) => `  local key value from=/etc/resolv.conf
  [ -e ${dnsMark} ] || [ ! -e /run/systemd/resolve/resolv.conf ] || from=/run/systemd/resolve/resolv.conf
  [ ! -e $from ] || while read -r key value || [ -n "$key" ]; do
    case $key in
      search | domain | options) echo "$key $value" ;;
      nameserver) [ -e ${dnsMark} ] || case $value in 127.* | ::1 | *%*) ;; *) echo "$key $value" ;; esac ;;
    esac
  done < $from > resolv.conf
  [ ! -e ${dnsMark} ] || echo "nameserver ${gateway}" >> resolv.conf
`;

/**
 * Text for the scripts of a container on the bridge. Its end of the link is made in its namespace, the mount point $netns. A
 * link of the same name is what a former run has left: the kernel takes links away a moment after their namespace.
 */
export function connectionText({
  name,
  network,
  gateways,
  mac,
  names,
  resolver: kind,
}: Connected): ConnectionText {
  const { bridge } = machineBridge;
  const link = linkName('container', name, 0);
  const own = network.addresses.map(addressOf);
  const [gateway = ''] = gateways;
  const inside = (v6: boolean) => [
    ...network.addresses
      .filter(address => address.includes(':') === v6)
      .map(address => `address add ${address} dev eth0${v6 ? ' nodad' : ''}`),
    ...(v6 ? [] : ['link set lo up', 'link set eth0 up']),
    ...gateways
      .filter(address => address.includes(':') === v6)
      .map(address => `route add default via ${address}`),
  ];
  const hosts = own.map(address => [address, name, ...names].join(' '));
  const ports = portsText(name, machineBridge.table, own, network.ports);
  const portsPath = `${portsDirectory(machineBridge)}/${name}.nft`;
  return {
    connect: `  local link='link add ${link} up master ${bridge} type veth peer name eth0 address ${mac} netns '$netns six=
  ${ip} -batch - <<< "$link" 2>/dev/null || {
    ${ip} link delete ${link} 2>/dev/null || :
    ${ip} -batch - <<< "$link"
  } || return
  [ ! -e /proc/sys/net/ipv6/conf/${bridge} ] || read -r six < /proc/sys/net/ipv6/conf/${bridge}/disable_ipv6
  [ "$six" != 0 ] && six= || six='
${inside(true).join('\n')}'
  nsenter --net=$netns ${ip} -batch - <<< '${inside(false).join('\n')}'"$six" || return
${kind === 'bridge' ? resolver(gateway) : ''}  [ -d ${namesDirectory(machineBridge)} ] || mkdir -p ${namesDirectory(machineBridge)} ${portsDirectory(machineBridge)}
  printf '%s\\n' ${hosts.map(line => `'${line}'`).join(' ')} > ${namesDirectory(machineBridge)}/${name} || return
${
  network.ports.length === 0
    ? ''
    : `  printf %s '${ports}' > ${portsPath} || return
  ${nft} -f ${portsPath}
`
}`,
    disconnect:
      network.ports.length === 0
        ? `rm -f ${namesDirectory(machineBridge)}/${name}\n`
        : `/bin/sh ${leavePath} ${name}\n`,
    unit: bridgeLines(name),
  };
}
