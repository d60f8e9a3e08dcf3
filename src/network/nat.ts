import { isIPv4 } from 'node:net';
import type { Lock, Locks } from '../host/lock.ts';
import type { HostStep } from '../host/step.ts';
import { formatVersion, natDirectory, persistentUnits } from '../names.ts';
import { execLine } from '../systemd/escape.ts';
import type { SystemdStep } from '../systemd/executors.ts';
import { parseUnit, renderUnit, section, unitFile, valuesOf } from '../systemd/unit-file.ts';
import { natBridge, natUnit } from './names.ts';
import type { Assignment, Interface, NetworkedMachine } from './spec.ts';
import { addressOf, hostAddress, type Subnets } from './subnet.ts';

export const natUnitPath = `${persistentUnits}/${natUnit}`;
const rulesPath = `${natDirectory}/nat.nft`;
const scriptPath = `${natDirectory}/forwarding`;
const unpublishPath = `${natDirectory}/unpublish`;

const ip = '/usr/sbin/ip';
const nft = '/usr/sbin/nft';
const table = ['inet', 'spawnlet'] as const;

/**
 * Rules of the bridge, all in one table of its own. Loading it again replaces the rules and keeps what the maps hold.
 * A machine cannot reach the host's loop-back through its bridge, though route_localnet is set there for ports on
 * 127.0.0.1 (CVE-2020-8558): the guard sees packets before they are translated.
 */
const rules = ({ v4, v6 }: Subnets) => `#!/usr/sbin/nft -f
# NAT and published ports of machines on ${natBridge}; loaded by ${natUnit}.
table ${table.join(' ')} {
}
flush table ${table.join(' ')}
table ${table.join(' ')} {
  # Ports on all addresses of the host, and on one: added and removed by the machines' units.
  map published4 {
    type inet_proto . inet_service : ipv4_addr . inet_service
  }
  map published6 {
    type inet_proto . inet_service : ipv6_addr . inet_service
  }
  map bound4 {
    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
  }
  map bound6 {
    type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
  }
  chain guard {
    type filter hook prerouting priority raw
    iifname "${natBridge}" ip daddr 127.0.0.0/8 drop
  }
  chain published {
    dnat ip to ip daddr . meta l4proto . th dport map @bound4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @bound6
    fib daddr type local dnat ip to meta l4proto . th dport map @published4
    ip6 daddr != ::1 fib daddr type local dnat ip6 to meta l4proto . th dport map @published6
  }
  chain prerouting {
    type nat hook prerouting priority dstnat
    meta l4proto { tcp, udp } jump published
  }
  chain output {
    type nat hook output priority -100
    meta l4proto { tcp, udp } jump published
  }
  chain forward {
    type filter hook forward priority filter
    oifname "${natBridge}" iifname != "${natBridge}" ct state established,related accept
    oifname "${natBridge}" iifname != "${natBridge}" ct status dnat accept
    oifname "${natBridge}" iifname != "${natBridge}" drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr ${v4} oifname != "${natBridge}" masquerade
    ip6 saddr ${v6} oifname != "${natBridge}" masquerade
    ip saddr 127.0.0.0/8 oifname "${natBridge}" masquerade
    ip saddr ${v4} oifname "${natBridge}" ct status dnat masquerade
    ip6 saddr ${v6} oifname "${natBridge}" ct status dnat masquerade
  }
}
`;

/** What is not said in one line of a unit: settings of the kernel, noted before they are changed and put back. */
const script = `#!/bin/sh
# Lets packets of machines on ${natBridge} through this host, and takes it back; run by ${natUnit}.
# What was set before is noted in $RUNTIME_DIRECTORY.
ipv4=/proc/sys/net/ipv4/ip_forward
ipv6=/proc/sys/net/ipv6/conf
note=$RUNTIME_DIRECTORY

# Where the FORWARD chain drops what no rule accepts, as Docker and ufw have it, the bridge needs rules there.
chains() {
  for tables in iptables ip6tables; do
    command -v $tables >/dev/null || continue
    [ "$1" = --delete ] || $tables --wait --list-rules FORWARD | grep -q '^-P FORWARD DROP' || continue
    $tables --wait "$1" FORWARD --in-interface ${natBridge} --jump ACCEPT
    $tables --wait "$1" FORWARD --out-interface ${natBridge} --match conntrack --ctstate RELATED,ESTABLISHED,DNAT --jump ACCEPT
    echo $tables >>"$note/chains"
  done
}

case $1 in
up)
  cat $ipv4 >"$note/ipv4"
  echo 1 >$ipv4
  echo 1 >/proc/sys/net/ipv4/conf/${natBridge}/route_localnet
  if [ -e $ipv6/all/forwarding ] && [ "$(cat $ipv6/all/forwarding)" = 0 ]; then
    # A router takes no router advertisements; this host goes on taking them where it did.
    for file in $ipv6/*/accept_ra; do
      case $file in */all/* | */default/* | */${natBridge}/*) continue ;; esac
      [ "$(cat "$file")" = 1 ] || continue
      echo "$file" >>"$note/accept_ra"
      echo 2 >"$file"
    done
    echo 1 >$ipv6/all/forwarding
    echo 0 >"$note/ipv6"
  fi
  chains --insert
  ;;
down)
  [ ! -e "$note/chains" ] || chains --delete
  [ ! -e "$note/ipv6" ] || echo 0 >$ipv6/all/forwarding
  [ ! -e "$note/accept_ra" ] || while read -r file; do [ ! -e "$file" ] || echo 1 >"$file"; done <"$note/accept_ra"
  [ ! -e "$note/ipv4" ] || cat "$note/ipv4" >$ipv4
  ;;
esac
`;

/**
 * A port that was taken out of a machine's unit while it ran is no more named there when it stops: what has the machine's
 * address goes, whatever its key.
 */
const unpublish = `#!/bin/sh
# Takes back published ports by the addresses that they lead to; run by units of machines.
nft list table ${table.join(' ')} | tr ',{}' '\\n\\n\\n' | while read -r line; do
  case $line in map\\ *) map=\${line#map } ;; esac
  for address; do
    case $line in
    *" : $address . "*) nft delete element ${table.join(' ')} "$map" "{ \${line%% : *} }" ;;
    esac
  done
done
`;

/** The unit that makes the bridge while a machine needs it. */
function unitText(subnets: Subnets): string {
  const { v4, v6 } = hostAddress(subnets, 1);
  const start = (prefix: '' | '-', ...argv: string[]): [string, string] => [
    'ExecStart',
    execLine(argv, prefix),
  ];
  const stop = (...argv: string[]): [string, string] => ['ExecStopPost', execLine(argv, '-')];
  return renderUnit(
    unitFile(`Bridge ${natBridge} for machines; written by spawnlet.`, [
      section('Unit', [
        ['Description', `Bridge ${natBridge} with NAT, for machines`],
        // A firewall that is loaded later would flush these rules with its own.
        ['After', 'network-pre.target nftables.service firewalld.service ufw.service'],
        ['StopWhenUnneeded', 'yes'],
      ]),
      section('Service', [
        ['Type', 'oneshot'],
        ['RemainAfterExit', 'yes'],
        ['RuntimeDirectory', 'spawnlet/nat'],
        ['RuntimeDirectoryMode', '0700'],
        start('', ip, 'link', 'add', natBridge, 'type', 'bridge'),
        start('', ip, 'address', 'add', v4, 'dev', natBridge),
        // A host may have no IPv6.
        start('-', ip, '-6', 'address', 'add', v6, 'dev', natBridge, 'nodad'),
        start('', ip, 'link', 'set', natBridge, 'up'),
        start('', nft, '-f', rulesPath),
        start('', '/bin/sh', scriptPath, 'up'),
        ['ExecReload', execLine([nft, '-f', rulesPath])],
        stop('/bin/sh', scriptPath, 'down'),
        stop(nft, 'delete', 'table', ...table),
        stop(ip, 'link', 'delete', natBridge),
      ]),
      section('X-Spawnlet', [
        ['FormatVersion', String(formatVersion)],
        ['Subnet4', subnets.v4],
        ['Subnet6', subnets.v6],
      ]),
    ]),
  );
}

/** Networks that were chosen when the unit was written; undefined if this is no such unit. */
export function recordedSubnets(unit: string): Subnets | undefined {
  const parsed = parseUnit(unit);
  const [v4, v6] = ['Subnet4', 'Subnet6'].map(key => valuesOf(parsed, 'X-Spawnlet', key).at(-1));
  return v4 !== undefined && v6 !== undefined ? { v4, v6 } : undefined;
}

/** Files of the bridge. The machines' units start it, so nothing is to be enabled. */
export function natSteps(subnets: Subnets): HostStep[] {
  return [
    { do: 'make-directory', path: natDirectory, mode: 0o700 },
    { do: 'write-file', path: rulesPath, content: rules(subnets), mode: 0o644 },
    { do: 'write-file', path: scriptPath, content: script, mode: 0o755 },
    { do: 'write-file', path: unpublishPath, content: unpublish, mode: 0o755 },
    { do: 'write-file', path: natUnitPath, content: unitText(subnets), mode: 0o644 },
  ];
}

const usesNat = ({ network }: NetworkedMachine) =>
  network.kind === 'private' && network.interfaces.some(({ kind }) => kind === 'nat');

/**
 * What takes the bridge away when no machine is to be on it any more: steps of a plan that removes a machine, after its
 * unit is down. They have nothing to do where there is no bridge.
 *
 * @param others every machine that stays
 */
export function natRemoval(others: readonly NetworkedMachine[]): (HostStep | SystemdStep)[] {
  if (others.some(usesNat)) return [];
  return [
    { do: 'stop-unit', name: natUnit },
    ...[natUnitPath, natDirectory].map((path): HostStep => ({ do: 'remove', path })),
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
  const ports = one.ports.flatMap(({ protocol, address, hostPort, port }) =>
    addresses
      .filter(inner => address === undefined || isIPv4(address) === isIPv4(inner))
      .map((inner): Assignment => {
        const map = `${address === undefined ? 'published' : 'bound'}${isIPv4(inner) ? 4 : 6}`;
        const key = `${address === undefined ? '' : `${address} . `}${protocol} . ${hostPort}`;
        const element = `{ ${key} : ${inner} . ${port} }`;
        return ['ExecStartPre', execLine([nft, 'add', 'element', ...table, map, element])];
      }),
  );
  return [['ExecStartPre', takeBack], ...ports, ['ExecStopPost', takeBack]];
}

/**
 * What the drop-in of a unit tells of a machine that has no spec any more: that it is on the bridge, and its addresses. Nothing
 * for a unit that does not need the bridge.
 */
export function natOf(name: string, dropIn: string): NetworkedMachine[] {
  const unit = parseUnit(dropIn);
  const needed = ['Requires', 'Wants', 'BindsTo'].flatMap(key => valuesOf(unit, 'Unit', key));
  if (!needed.some(value => value.split(/\s+/).includes(natUnit))) return [];
  const begin = `-/bin/sh ${unpublishPath} `;
  const lines = valuesOf(unit, 'Service', 'ExecStopPost').filter(value => value.startsWith(begin));
  const addresses = lines.flatMap(line => line.slice(begin.length).split(' ').filter(Boolean));
  const prefixed = addresses.map(address => `${address}/${isIPv4(address) ? 32 : 128}`);
  return [
    {
      name,
      network: {
        kind: 'private',
        interfaces: [{ kind: 'nat', name: 'host0', addresses: prefixed, gateways: [], dns: [], ports: [] }],
      },
    },
  ];
}
