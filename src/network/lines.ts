import type { HostStep } from '../host/step.ts';
import { execLine } from '../systemd/escape.ts';
import { linkName, natBridge, natUnit, stableMac } from './names.ts';
import { natSteps, portLines } from './nat.ts';
import type { Assignment, Interface, InterfaceKind, Network, NetworkedMachine } from './spec.ts';
import { addressOf, type Subnets } from './subnet.ts';

/** Steps on the host that come before a machine starts: files alone. */
export type NetworkStep = HostStep;

/** An interface as the machine finds it. */
export interface InnerInterface {
  /** Its name inside. systemd before 254 gives an interface that was moved in no other name than it has on the host. */
  readonly name: string;
  /** The address that it has when the machine boots; undefined if systemd-nspawn makes one up. */
  readonly mac?: string;
  readonly interface: Interface;
}

/** What a machine's network needs in its files. */
export interface NetworkLines {
  /** `[Network]` of the `.nspawn` file. */
  readonly nspawn: readonly Assignment[];
  /** `[Unit]` of the drop-in. */
  readonly unit: readonly Assignment[];
  /** `[Service]` of the drop-in. */
  readonly service: readonly Assignment[];
  readonly hostSteps: readonly NetworkStep[];
  readonly interfaces: readonly InnerInterface[];
  /** Static addresses of all interfaces, without prefix lengths, IPv4 first. */
  readonly addresses: readonly string[];
}

/** What the lines depend on beside the machine itself. */
export interface LineFacts {
  /** Major version of the host's systemd. */
  readonly systemd: number;
  /** Whether udev runs on the host: without it no link has a device unit. */
  readonly udev: boolean;
  /** /etc/machine-id of the host. */
  readonly hostId: string;
  /** Networks of spawnlet's own bridge; needed by `nat` interfaces alone. */
  readonly nat: Subnets;
}

const ip = '/usr/sbin/ip';
const ovs = '/usr/bin/ovs-vsctl';

/** From this version on an interface can be given another name inside: `Interface=HOST:INNER`, `MACVLAN=` alike. */
const namesInside = 254;
/** From this version on the veth of systemd-nspawn can be given a hardware address. */
const macOfVeth = 255;

interface Part {
  readonly inner: InnerInterface;
  readonly nspawn?: readonly Assignment[];
  readonly unit?: readonly Assignment[];
  readonly service?: readonly Assignment[];
  readonly hostSteps?: readonly NetworkStep[];
}

type Of<K extends InterfaceKind['kind']> = Extract<Interface, { kind: K }>;

/** What has to be there before the machine starts. */
function waitsFor(link: string, facts: LineFacts): Assignment[] {
  if (!facts.udev) return [];
  const device = `sys-subsystem-net-devices-${escaped(link)}.device`;
  return [
    ['Requires', device],
    ['After', device],
  ];
}

/** As systemd-escape writes a link's name in that of its device unit. */
const escaped = (link: string) =>
  link.replaceAll(/[^A-Za-z0-9:_.]/g, char => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);

/** The bridge that an interface of the host's side is a port of; undefined for those that have none. */
function bridgeOf(one: Interface): string | undefined {
  if (one.kind === 'nat') return natBridge;
  return one.kind === 'bridge' ? one.bridge : undefined;
}

const afterNat: readonly Assignment[] = [
  ['Requires', natUnit],
  ['After', natUnit],
];

/** The veth that systemd-nspawn makes itself: there can be one, and its name inside is host0. */
function stockVeth(one: Of<'nat' | 'bridge' | 'zone'>, facts: LineFacts): Part {
  const mac = facts.systemd >= macOfVeth ? one.mac : undefined;
  const setting: Assignment = one.kind === 'zone' ? ['Zone', one.zone] : ['Bridge', bridgeOf(one) ?? ''];
  return {
    inner: { name: 'host0', interface: one, ...(mac !== undefined && { mac }) },
    nspawn: [setting],
    unit: one.kind === 'bridge' ? waitsFor(one.bridge, facts) : [],
    service: mac === undefined ? [] : [['Environment', `SYSTEMD_NSPAWN_NETWORK_MAC=${mac}`]],
  };
}

const before = (...argv: readonly string[]): Assignment => ['ExecStartPre', execLine(argv)];
/** A failure is no failure: the machine's end may have taken the link with it. */
const afterwards = (...argv: readonly string[]): Assignment => ['ExecStopPost', execLine(argv, '-')];

/** A veth that the unit makes before systemd-nspawn moves its inner end into the machine. */
function ownVeth(one: Of<'nat' | 'bridge' | 'ovs'>, machine: string, index: number, facts: LineFacts): Part {
  const [outer, peer] = [linkName('outer', machine, index), linkName('inner', machine, index)];
  const mac = one.mac ?? stableMac(facts.hostId, machine, index);
  const named = facts.systemd >= namesInside;
  const bridge = bridgeOf(one);
  const join = ['link', 'set', outer, ...(bridge === undefined ? [] : ['master', bridge]), 'up'];
  return {
    inner: { name: named ? one.name : peer, mac, interface: one },
    nspawn: [['Interface', named ? `${peer}:${one.name}` : peer]],
    unit:
      one.kind === 'ovs'
        ? [['After', 'openvswitch-switch.service openvswitch.service']]
        : one.kind === 'bridge'
          ? waitsFor(one.bridge, facts)
          : [],
    service: [
      before(ip, 'link', 'add', outer, 'type', 'veth', 'peer', 'name', peer, 'address', mac),
      ...(one.kind === 'ovs' ? [before(...portOf(one, outer))] : []),
      before(ip, ...join),
      ...(one.kind === 'ovs' ? [afterwards(ovs, '--if-exists', 'del-port', one.bridge, outer)] : []),
      afterwards(ip, 'link', 'delete', outer),
    ],
  };
}

const portOf = (one: Of<'ovs'>, port: string) => [
  ovs,
  '--may-exist',
  'add-port',
  one.bridge,
  port,
  ...(one.vlan === undefined ? [] : [`tag=${one.vlan}`]),
];

/** `PARENT`, or `PARENT:NAME` where that can be said. */
function moved(key: string, link: string, plain: string, one: Interface, facts: LineFacts): Part {
  const named = facts.systemd >= namesInside && one.name !== plain;
  return {
    inner: { name: named ? one.name : plain, interface: one },
    nspawn: [[key, named ? `${link}:${one.name}` : link]],
    unit: waitsFor(link, facts),
  };
}

/** As systemd-nspawn names a macvlan or ipvlan inside; where that is longer than a name can be, `decide.ts` refuses it. */
export const vlanName = (kind: 'macvlan' | 'ipvlan', parent: string): string =>
  `${kind === 'macvlan' ? 'mv' : 'iv'}-${parent}`;

function partOf(one: Interface, machine: string, index: number, isStock: boolean, facts: LineFacts): Part {
  switch (one.kind) {
    case 'zone':
      return stockVeth(one, facts);
    case 'bridge':
      return isStock ? stockVeth(one, facts) : ownVeth(one, machine, index, facts);
    case 'nat': {
      const part = isStock ? stockVeth(one, facts) : ownVeth(one, machine, index, facts);
      return {
        ...part,
        unit: afterNat,
        service: [...(part.service ?? []), ...portLines(one)],
        hostSteps: natSteps(facts.nat),
      };
    }
    case 'ovs':
      return ownVeth(one, machine, index, facts);
    case 'macvlan':
      return moved('MACVLAN', one.parent, vlanName('macvlan', one.parent), one, facts);
    case 'ipvlan':
      return moved('IPVLAN', one.parent, vlanName('ipvlan', one.parent), one, facts);
    case 'physical':
      return moved('Interface', one.interface, one.interface, one, facts);
  }
}

/** The interface that becomes the veth of systemd-nspawn's own; a zone can be no other. */
function stockOf(interfaces: readonly Interface[]): Interface | undefined {
  const zone = interfaces.find(({ kind }) => kind === 'zone');
  const veth = (one: Interface) => (one.kind === 'nat' || one.kind === 'bridge') && one.name === 'host0';
  return zone ?? interfaces.find(veth);
}

const none: NetworkLines = {
  nspawn: [],
  unit: [],
  service: [],
  hostSteps: [],
  interfaces: [],
  addresses: [],
};

/**
 * What the network of a machine needs in its `.nspawn` file, in the drop-in of its unit and on the host. Modelled on
 * systemd.nspawn(5): what the file can say stands there. Pure, and refuses nothing: {@link decideNetwork} of
 * `decide.ts` comes before it, when a machine is made or changed.
 */
export function networkLines(machine: NetworkedMachine, facts: LineFacts): NetworkLines {
  const { network } = machine;
  if (network.kind !== 'private')
    return {
      ...none,
      nspawn: [
        ['Private', network.kind === 'none' ? 'yes' : 'no'],
        ['VirtualEthernet', 'no'],
      ],
    };
  const stock = stockOf(network.interfaces);
  const parts = network.interfaces.map((one, index) =>
    partOf(one, machine.name, index, one === stock, facts),
  );
  const off: Assignment[] = stock ? [] : [['VirtualEthernet', 'no']];
  return {
    nspawn: [['Private', 'yes'], ...off, ...parts.flatMap(part => part.nspawn ?? [])],
    unit: distinct(parts.flatMap(part => part.unit ?? [])),
    service: parts.flatMap(part => part.service ?? []),
    hostSteps: parts.find(part => part.hostSteps)?.hostSteps ?? [],
    interfaces: parts.map(part => part.inner),
    addresses: addressesOf(network),
  };
}

function distinct(lines: readonly Assignment[]): Assignment[] {
  const seen = new Set<string>();
  return lines.filter(([key, value]) => {
    const line = `${key}=${value}`;
    return !seen.has(line) && Boolean(seen.add(line));
  });
}

/** Static addresses of a network as {@link addressOf} has them, IPv4 first. */
export function addressesOf(network: Network): string[] {
  const interfaces = network.kind === 'private' ? network.interfaces : [];
  const all = interfaces.flatMap(({ addresses }) => (addresses === 'dhcp' ? [] : addresses));
  const own = all.map(addressOf);
  return [...own.filter(address => !address.includes(':')), ...own.filter(address => address.includes(':'))];
}
