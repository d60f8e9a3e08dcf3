import { isIP } from 'node:net';
import { programMissing } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import { addressesOf, vlanName } from './lines.ts';
import { maxLinkName } from './names.ts';
import type { NetworkFacts } from './observe.ts';
import { refusePorts } from './ports.ts';
import {
  type Addressing,
  calledBy,
  type Interface,
  isSame,
  type Network,
  type NetworkedMachine,
} from './spec.ts';
import { addressOf, allocate, hostAddress, parseCidr } from './subnet.ts';

/** Names that ip(8), nft(8), systemd and ovs-vsctl(8) all take. */
const linkPattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/;
/** The first byte of the address of one station is even. */
const macPattern = /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i;

const refused = (message: string, hint: string) => new SpawnletError('ERR_NETWORK', message, { hint });

const missing = (message: string, hint: string) => new SpawnletError('ERR_NO_LINK', message, { hint });

/** @throws ERR_NETWORK */
export function checkName(what: string, name: string): void {
  if (!linkPattern.test(name) || name === 'lo')
    throw refused(
      `${JSON.stringify(name)} is no name of ${what}`,
      `letters, digits, '.', '_' and '-', ${maxLinkName} at most`,
    );
}

/**
 * Addresses, gateways and name servers that are some.
 *
 * @param name of the interface or bridge that they are for
 * @throws ERR_NETWORK
 */
export function checkAddressing(name: string, one: Addressing): void {
  const addresses = one.addresses === 'dhcp' ? [] : one.addresses;
  for (const address of addresses)
    if (!parseCidr(address))
      throw refused(`${name}: ${JSON.stringify(address)} is no address`, 'write 10.0.0.2/24 or fd00::2/64');
  for (const address of [...one.gateways, ...one.dns])
    if (isIP(address) === 0 || address.includes('%'))
      throw refused(`${name}: ${JSON.stringify(address)} is no address`, 'write 10.0.0.1 or fd00::1');
}

/** @throws ERR_NETWORK */
export function refuseLoneGateway(name: string, one: Addressing): void {
  if (one.addresses.length === 0 && one.gateways.length > 0)
    throw refused(`${name} has a gateway and no address`, 'give it a static address too');
}

type Of<K extends Interface['kind']> = Extract<Interface, { kind: K }>;

function checkBridge({ bridge }: Of<'bridge'>, facts: NetworkFacts): void {
  checkName('a bridge', bridge);
  const link = facts.links.find(({ name }) => name === bridge);
  if (link?.kind === 'bridge') return;
  if (facts.openVSwitch !== 'missing' && facts.openVSwitch.includes(bridge))
    throw refused(`${bridge} is a bridge of Open vSwitch`, `--network ovs=${bridge}`);
  if (link) throw refused(`${bridge} is no bridge`, `--network macvlan=${bridge} shares an interface`);
  throw missing(`this host has no bridge ${bridge}`, `spawnlet network create ${bridge}`);
}

function checkOvs({ bridge, vlan }: Of<'ovs'>, facts: NetworkFacts): void {
  checkName('a bridge', bridge);
  if (vlan !== undefined && !(Number.isInteger(vlan) && vlan >= 1 && vlan <= 4094))
    throw refused(`${vlan} is no VLAN`, '1 to 4094');
  if (facts.openVSwitch === 'missing') throw programMissing('ovs-vsctl');
  if (!facts.openVSwitch.includes(bridge))
    throw missing(`Open vSwitch has no bridge ${bridge}`, `ovs-vsctl add-br ${bridge}`);
}

function checkParent(one: Of<'macvlan' | 'ipvlan'>, facts: NetworkFacts): void {
  checkName('an interface', one.parent);
  if (!facts.links.some(({ name }) => name === one.parent))
    throw missing(`this host has no interface ${one.parent}`, 'ip link shows them');
  if (!facts.kinds[one.kind])
    throw new SpawnletError('ERR_NETWORK_KERNEL', `the kernel of this host has no ${one.kind}`, {
      hint: `modprobe ${one.kind}; or use a bridge: --network bridge=NAME`,
    });
  if (facts.systemd < 254 && vlanName(one.kind, one.parent).length > maxLinkName)
    throw refused(
      `${vlanName(one.kind, one.parent)} is too long for the interface's name inside`,
      `ip link property add dev ${one.parent} altname SHORT, or systemd 254`,
    );
}

function checkZone({ zone, name }: Of<'zone'>, facts: NetworkFacts): void {
  checkName('a zone', `vz-${zone}`);
  if (name !== 'host0')
    throw refused(`an interface of a zone is named host0, not ${name}`, 'leave its name out');
  if (facts.networkd === 'active') return;
  throw refused(
    'addresses of a zone are given by systemd-networkd, which does not run on this host',
    'systemctl enable --now systemd-networkd, or --network nat',
  );
}

function checkPhysical(one: Of<'physical'>, machine: string, facts: NetworkFacts): void {
  checkName('an interface', one.interface);
  const other = facts.machines.find(
    ({ name, network }) =>
      name !== machine &&
      network.kind === 'private' &&
      network.interfaces.some(its => its.kind === 'physical' && its.interface === one.interface),
  );
  if (other)
    throw refused(
      `${one.interface} is machine ${other.name}'s`,
      `--network macvlan=${one.interface} shares it`,
    );
  if (facts.uplinks.includes(one.interface))
    throw refused(
      `${one.interface} is what this host reaches its network by`,
      `--network macvlan=${one.interface} shares it`,
    );
  // It is not to be seen while the machine itself has it.
  const own = facts.machines.some(({ name }) => name === machine);
  if (!own && !facts.links.some(({ name }) => name === one.interface))
    throw missing(`this host has no interface ${one.interface}`, 'ip link shows them');
}

function checkInterface(one: Interface, machine: NetworkedMachine, facts: NetworkFacts): void {
  checkName('an interface', one.name);
  checkAddressing(one.name, one);
  if (one.kind !== 'nat') refuseLoneGateway(one.name, one);
  if (one.mac !== undefined && !macPattern.test(one.mac))
    throw refused(`${one.name}: ${one.mac} is no hardware address of one station`, 'write 02:00:00:00:00:01');
  switch (one.kind) {
    case 'nat':
      if (facts.nft === 'missing') throw programMissing('nft');
      return refusePorts(one, machine, facts);
    case 'bridge':
      return checkBridge(one, facts);
    case 'ovs':
      return checkOvs(one, facts);
    case 'macvlan':
    case 'ipvlan':
      return checkParent(one, facts);
    case 'zone':
      return checkZone(one, facts);
    case 'physical':
      return checkPhysical(one, machine.name, facts);
  }
}

/** Addresses of the bridge with NAT, where none are asked for. */
function withAddresses(one: Interface, facts: NetworkFacts, taken: Iterable<string>): Interface {
  if (one.kind !== 'nat' || one.addresses === 'dhcp' || one.addresses.length > 0) return one;
  const bridge = hostAddress(facts.nat, 1);
  const gateways = [bridge.v4, bridge.v6].map(addressOf);
  return {
    ...one,
    addresses: allocate(facts.nat, taken),
    gateways: one.gateways.length > 0 ? one.gateways : gateways,
    dns: one.dns.length > 0 ? one.dns : facts.dns,
  };
}

/**
 * The network of a machine, checked against the host and complete: `nat` interfaces have addresses, a gateway and name
 * servers. What comes out is kept with the machine, and decided again it is the same.
 *
 * @throws ERR_NETWORK what is asked for cannot be, ERR_NO_LINK a bridge or interface is not there, ERR_NETWORK_KERNEL,
 *   ERR_NETWORK_FULL, ERR_PORT_TAKEN, ERR_ADDRESS_TAKEN, ERR_PROGRAM_MISSING
 */
export function decideNetwork(machine: NetworkedMachine, facts: NetworkFacts): Network {
  const { network } = machine;
  if (network.kind !== 'private') return network;
  const names = new Set<string>();
  for (const one of network.interfaces) {
    if (names.has(one.name)) throw refused(`two interfaces are named ${one.name}`, 'give one another name');
    names.add(one.name);
    if (one.kind === 'nat' && one.addresses === 'dhcp')
      throw refused('nobody answers DHCP on the bridge with NAT', 'leave dhcp out: spawnlet gives addresses');
    checkInterface(one, machine, facts);
  }
  for (const kind of ['zone', 'nat'] as const)
    if (network.interfaces.filter(one => one.kind === kind).length > 1)
      throw refused(`a machine has one interface of kind ${kind}`, 'leave the others out');
  const others = facts.machines.filter(other => !isSame(other, machine));
  const taken = others.flatMap(other => addressesOf(other.network));
  const complete: Network = {
    kind: 'private',
    interfaces: network.interfaces.map(one => withAddresses(one, facts, taken)),
  };
  for (const one of complete.interfaces) refuseAddresses(one, others);
  return complete;
}

/** What two machines share in which the same address cannot be twice. */
function segmentOf(one: Interface): string | undefined {
  if (one.kind === 'nat') return 'nat';
  return one.kind === 'bridge' || one.kind === 'ovs' ? one.bridge : undefined;
}

/** @throws ERR_ADDRESS_TAKEN */
export function refuseAddresses(one: Interface, others: readonly NetworkedMachine[]): void {
  const segment = segmentOf(one);
  if (segment === undefined || one.addresses === 'dhcp') return;
  const own = one.addresses.map(addressOf);
  for (const other of others) {
    const { network } = other;
    if (network.kind !== 'private') continue;
    const shared = network.interfaces.filter(its => segmentOf(its) === segment);
    const theirs = addressesOf({ kind: 'private', interfaces: shared });
    const twice = own.find(address => theirs.includes(address));
    if (twice !== undefined)
      throw new SpawnletError('ERR_ADDRESS_TAKEN', `${twice} is ${calledBy(other)}'s`, {
        hint: 'give this one another address',
      });
  }
}

/**
 * The network that a copy of a machine can have beside it: addresses on the bridge with NAT are given anew, hardware
 * addresses and published ports stay with the original. Static addresses elsewhere are the user's to change.
 */
export function clonedNetwork(network: Network): Network {
  if (network.kind !== 'private') return network;
  const copy = (one: Interface): Interface => {
    const { mac: _mac, ...rest } = one;
    return rest.kind === 'nat' ? { ...rest, addresses: [], gateways: [], ports: [] } : rest;
  };
  return { kind: 'private', interfaces: network.interfaces.map(copy) };
}
