import { isIPv4 } from 'node:net';
import type { Lock, Locks } from '../host/lock.ts';
import type { HostStep } from '../host/step.ts';
import { execLine } from '../systemd/escape.ts';
import type { SystemdStep } from '../systemd/executors.ts';
import { parseUnit, valuesOf } from '../systemd/unit-file.ts';
import { containerFiles, dnsUnit, lingerUnit } from './container-bridge.ts';
import { natUnit } from './names.ts';
import {
  bridgeFilesOf,
  bridgeSteps,
  machineBridge,
  nft,
  reloaderOf,
  unitPathOf,
  unpublishOf,
} from './nat-bridge.ts';
import { portElements } from './ports.ts';
import type { Assignment, Interface, Network, NetworkedMachine, PublishedPort } from './spec.ts';
import { addressOf, type Subnets } from './subnet.ts';

export const natUnitPath = unitPathOf(machineBridge);
const unpublishPath = unpublishOf(machineBridge);

/** Networks that were chosen when the unit was written; undefined if this is no such unit. */
export function recordedSubnets(unit: string): Subnets | undefined {
  const parsed = parseUnit(unit);
  const [v4, v6] = ['Subnet4', 'Subnet6'].map(key => valuesOf(parsed, 'X-Spawnlet', key).at(-1));
  return v4 !== undefined && v6 !== undefined ? { v4, v6 } : undefined;
}

/** Files of the bridge. The machines' units start it, so nothing is to be enabled. */
export const natSteps = (subnets: Subnets): HostStep[] => bridgeSteps(machineBridge, subnets);

const usesNat = ({ what, network }: NetworkedMachine) =>
  what !== 'pod' && network.kind === 'private' && network.interfaces.some(({ kind }) => kind === 'nat');

/**
 * What takes the bridge away when nobody is to be on it any more: steps of a plan that removes a machine or container, after
 * its unit is down. They have nothing to do where there is no bridge.
 *
 * @param others every machine and container that stays
 */
export function natRemoval(others: readonly NetworkedMachine[]): (HostStep | SystemdStep)[] {
  if (others.some(usesNat)) return [];
  return [
    ...[lingerUnit, dnsUnit, natUnit, reloaderOf(machineBridge)].map(
      (name): SystemdStep => ({ do: 'stop-unit', name }),
    ),
    ...[...containerFiles, ...bridgeFilesOf(machineBridge)].map((path): HostStep => ({ do: 'remove', path })),
  ];
}

/**
 * Held from the decision on a machine's network until the machine is kept, and while one is removed: two that are made at
 * once would be given one address, and the bridge be taken from a machine that is being made.
 */
export const lockNetwork = (locks: Locks, signal: AbortSignal): Promise<Lock> =>
  locks.wait('network', signal);

/** Lines that publish the ports of an interface while the machine runs. */
export function portLines(one: Extract<Interface, { kind: 'nat' }>): Assignment[] {
  const addresses = one.addresses === 'dhcp' ? [] : one.addresses.map(addressOf);
  const takeBack = execLine(['/bin/sh', unpublishPath, ...addresses], '-');
  const ports = portElements(addresses, one.ports).map(
    ({ map, element }): Assignment => [
      'ExecStartPre',
      execLine([nft, 'add', 'element', 'inet', machineBridge.table, map, element]),
    ],
  );
  return [['ExecStartPre', takeBack], ...ports, ['ExecStopPost', takeBack]];
}

/** `published4 "{ tcp . 8080 : 10.0.0.2 . 80 }"`, as {@link portLines} writes it. */
const elementPattern =
  /(?:published|bound)[46] "?\{ (?:([\da-f.:]+) \. )?(tcp|udp) \. (\d+) : \S+ \. (\d+) \}/;

/** Ports that a line of a unit publishes. */
function portOf(line: string): PublishedPort[] {
  const [, address, protocol, hostPort, port] = elementPattern.exec(line) ?? [];
  if (protocol !== 'tcp' && protocol !== 'udp') return [];
  return [
    { protocol, ...(address !== undefined && { address }), hostPort: Number(hostPort), port: Number(port) },
  ];
}

/** Whether a line of a unit takes back the ports of a machine, as {@link portLines} writes it. */
export const takesPortsBack = (line: string): boolean => line.startsWith(`-/bin/sh ${unpublishPath}`);

/** Ports that these lines of units or of files for nft publish. */
export const portsIn = (lines: readonly string[]): PublishedPort[] => distinctPorts(lines.flatMap(portOf));

const distinctPorts = (ports: readonly PublishedPort[]) => [
  ...new Map(ports.map(port => [JSON.stringify(port), port])).values(),
];

/**
 * What the drop-in of a unit tells of a machine without its spec: that it is on the bridge, its addresses and its ports.
 * Nothing for a unit that does not need the bridge.
 */
export function natOf(name: string, dropIn: string): NetworkedMachine[] {
  const unit = parseUnit(dropIn);
  const needed = ['Requires', 'Wants', 'BindsTo'].flatMap(key => valuesOf(unit, 'Unit', key));
  if (!needed.some(value => value.split(/\s+/).includes(natUnit))) return [];
  const begin = `-/bin/sh ${unpublishPath} `;
  const lines = valuesOf(unit, 'Service', 'ExecStopPost').filter(value => value.startsWith(begin));
  const addresses = lines.flatMap(line => line.slice(begin.length).split(' ').filter(Boolean));
  const prefixed = addresses.map(address => `${address}/${isIPv4(address) ? 32 : 128}`);
  const ports = portsIn(valuesOf(unit, 'Service', 'ExecStartPre'));
  return [{ name, network: onBridge('host0', prefixed, ports) }];
}

/** A network of one interface on the bridge. */
export const onBridge = (
  name: string,
  addresses: readonly string[],
  ports: readonly PublishedPort[],
): Network => ({
  kind: 'private',
  interfaces: [{ kind: 'nat', name, addresses, gateways: [], dns: [], ports }],
});
