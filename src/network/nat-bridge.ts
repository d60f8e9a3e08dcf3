import type { HostStep } from '../host/step.ts';
import {
  cniDirectory,
  formatVersion,
  lockDirectory,
  natDirectory,
  persistentUnits,
  runtimeDirectory,
} from '../names.ts';
import { execLine } from '../systemd/escape.ts';
import { renderUnit, section, unitFile } from '../systemd/unit-file.ts';
import { natBridge, natUnit } from './names.ts';
import { addressOf, hardwareAddress, hostAddress, type Range } from './subnet.ts';

/** A bridge of the host with NAT and published ports, as files: a unit that makes it, rules, scripts. */
export interface NatBridge {
  readonly bridge: string;
  /** Makes the bridge. */
  readonly unit: string;
  /** Of nft's family inet, all the bridge's own. */
  readonly table: string;
  /** Its rules and scripts. */
  readonly directory: string;
  /** What is there while the unit runs: RuntimeDirectory=, below /run. */
  readonly runtime: string;
  /** Who is on it, in words. */
  readonly users: string;
  /** How long the unit runs: while units that are on the bridge do, or until somebody stops it. */
  readonly lasts: 'while needed' | 'until stopped';
}

/** spawnlet's own bridge, of machines. */
export const machineBridge: NatBridge = {
  bridge: natBridge,
  unit: natUnit,
  table: 'spawnlet',
  directory: natDirectory,
  runtime: 'spawnlet/nat',
  users: 'machines',
  lasts: 'while needed',
};

/** The bridge of the default CNI network, whose addresses are given by its plugins. */
export const cniBridge: NatBridge = {
  bridge: 'spawnlet1',
  unit: 'spawnlet-cni.service',
  table: 'spawnlet_cni',
  directory: cniDirectory,
  runtime: 'spawnlet/cni-nat',
  users: 'CNI networks',
  lasts: 'until stopped',
};

const ip = '/usr/sbin/ip';
export const nft = '/usr/sbin/nft';

export const unitPathOf = ({ unit }: NatBridge): string => `${persistentUnits}/${unit}`;
export const unpublishOf = ({ directory }: NatBridge): string => `${directory}/unpublish`;
const rulesOf = ({ directory }: NatBridge) => `${directory}/nat.nft`;
const scriptOf = ({ directory }: NatBridge) => `${directory}/forwarding`;
/** Loads the rules again when somebody has flushed all of them. */
export const reloaderOf = ({ unit }: NatBridge): string => unit.replace('.service', '-reload.service');

/** What is there while the bridge is. */
export const runtimeOf = ({ runtime }: NatBridge): string => `/run/${runtime}`;
/** Ports that are published now, a file for each who has some: the rules are loaded with them. */
export const portsDirectory = (its: NatBridge): string => `${runtimeOf(its)}/ports`;
/** Names of those on the bridge, a file for each in the form of hosts(5): who answers questions for names reads them. */
export const namesDirectory = (its: NatBridge): string => `${runtimeOf(its)}/names`;

/** A rule, where there is one to write. */
const lineOf = (rule: string | undefined) => (rule ? `    ${rule}\n` : '');

/**
 * Rules of a bridge, all in one table of its own. Loading it again replaces the rules and keeps what the maps hold.
 * Who is on the bridge cannot reach the host's loop-back through it, though route_localnet is set there for ports on
 * 127.0.0.1 (CVE-2020-8558): the guard sees packets before they are translated. Questions for names are kept from connection
 * tracking: of two that leave one socket at once it may drop one, and who has asked waits for 5 s.
 */
const rulesText = (its: NatBridge, { v4, v6 }: Range, own: string) => `#!/usr/sbin/nft -f
# NAT and published ports of ${its.users} on ${its.bridge}; loaded by ${its.unit}.
table inet ${its.table} {
}
flush table inet ${its.table}
table inet ${its.table} {
  # Ports on all addresses of the host, and on one: added and removed by who has them.
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
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname "${its.bridge}" ip daddr ${own} udp dport 53 notrack
  }
  chain answers {
    type filter hook output priority raw
    oifname "${its.bridge}" ip saddr ${own} udp sport 53 notrack
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
    oifname "${its.bridge}" iifname != "${its.bridge}" ct state established,related accept
    oifname "${its.bridge}" iifname != "${its.bridge}" ct status dnat accept
    oifname "${its.bridge}" iifname != "${its.bridge}" drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr ${v4} oifname != "${its.bridge}" masquerade
${lineOf(v6 && `ip6 saddr ${v6} oifname != "${its.bridge}" masquerade`)}    ip saddr 127.0.0.0/8 oifname "${its.bridge}" masquerade
    ip saddr ${v4} oifname "${its.bridge}" ct status dnat masquerade
${lineOf(v6 && `ip6 saddr ${v6} oifname "${its.bridge}" ct status dnat masquerade`)}  }
}
include "${portsDirectory(its)}/*.nft"
`;

/**
 * What is not said in one line of a unit: settings of the kernel. The first bridge notes them before they are changed, the last
 * one puts them back.
 */
const scriptText = (its: NatBridge) => `#!/bin/sh
# Lets packets of ${its.users} on ${its.bridge} through this host, and takes it back; run by ${its.unit}.
# What was set before the first bridge of spawnlet came is noted in ${forwardingNotes}.
ipv4=/proc/sys/net/ipv4/ip_forward
ipv6=/proc/sys/net/ipv6/conf
note=${forwardingNotes}
mkdir -p -m 700 ${lockDirectory}
exec 9>${lockDirectory}/forwarding
flock 9
mkdir -p "$note/bridges"

drops() {
  $tables --wait --list-rules $1 | grep -q "^-P $1 DROP"
}

# Where chains drop what no rule accepts, as Docker and ufw have it, the bridge needs rules there: to be forwarded, and to ask
# this host for names.
chains() {
  for tables in iptables ip6tables; do
    command -v $tables >/dev/null || continue
    if [ "$1" = --delete ] || drops FORWARD; then
      $tables --wait "$1" FORWARD --in-interface ${its.bridge} --jump ACCEPT
      $tables --wait "$1" FORWARD --out-interface ${its.bridge} --match conntrack --ctstate RELATED,ESTABLISHED,DNAT --jump ACCEPT
      echo $tables >>"$RUNTIME_DIRECTORY/chains"
    fi
    if [ "$1" = --delete ] || drops INPUT; then
      for protocol in udp tcp; do
        $tables --wait "$1" INPUT --in-interface ${its.bridge} --protocol $protocol --dport 53 --jump ACCEPT
      done
      echo $tables >>"$RUNTIME_DIRECTORY/chains"
    fi
    # Answers are not tracked, so none is an established connection's.
    if [ "$1" = --delete ] || drops OUTPUT; then
      $tables --wait "$1" OUTPUT --out-interface ${its.bridge} --protocol udp --sport 53 --jump ACCEPT
      echo $tables >>"$RUNTIME_DIRECTORY/chains"
    fi
  done
}

forward() {
  cat $ipv4 >"$note/ipv4"
  echo 1 >$ipv4
  [ -e $ipv6/all/forwarding ] && [ "$(cat $ipv6/all/forwarding)" = 0 ] || return 0
  # A router takes no router advertisements; this host goes on taking them where it did.
  for file in $ipv6/*/accept_ra; do
    case $file in */all/* | */default/* | */${its.bridge}/*) continue ;; esac
    [ "$(cat "$file")" = 1 ] || continue
    echo "$file" >>"$note/accept_ra"
    echo 2 >"$file"
  done
  echo 1 >$ipv6/all/forwarding
  echo 0 >"$note/ipv6"
}

put_back() {
  [ ! -e "$note/ipv6" ] || echo 0 >$ipv6/all/forwarding
  [ ! -e "$note/accept_ra" ] || while read -r file; do [ ! -e "$file" ] || echo 1 >"$file"; done <"$note/accept_ra"
  [ ! -e "$note/ipv4" ] || cat "$note/ipv4" >$ipv4
  rm -r "$note"
}

case $1 in
up)
  mkdir -p -m 755 ${namesDirectory(its)} ${portsDirectory(its)}
  echo 1 >/proc/sys/net/ipv4/conf/${its.bridge}/route_localnet
  [ -n "$(ls "$note/bridges")" ] || forward
  : >"$note/bridges/${its.bridge}"
  chains --insert
  ;;
down)
  [ ! -e "$RUNTIME_DIRECTORY/chains" ] || chains --delete
  rm -f "$note/bridges/${its.bridge}"
  [ -n "$(ls "$note/bridges")" ] || put_back
  ;;
esac
`;

/** Of all bridges together. */
const forwardingNotes = `${runtimeDirectory}/forwarding`;

/**
 * A port that was taken out of a unit while it ran is no more named there when it stops: what has the address goes, whatever
 * its key.
 */
const unpublishText = (its: NatBridge) => `#!/bin/sh
# Takes back published ports by the addresses that they lead to; run by units of ${its.users}.
nft list table inet ${its.table} | tr ',{}' '\\n\\n\\n' | while read -r line; do
  case $line in map\\ *) map=\${line#map } ;; esac
  for address; do
    case $line in
    *" : $address . "*) nft delete element inet ${its.table} "$map" "{ \${line%% : *} }" ;;
    esac
  done
done
`;

/** The unit that makes the bridge. */
function unitText(its: NatBridge, range: Range): string {
  const { bridge, table } = its;
  const { v4, v6 } = hostAddress(range, 1);
  const start = (prefix: '' | '-', ...argv: string[]): [string, string] => [
    'ExecStart',
    execLine(argv, prefix),
  ];
  const stop = (...argv: string[]): [string, string] => ['ExecStopPost', execLine(argv, '-')];
  return renderUnit(
    unitFile(`Bridge ${bridge} for ${its.users}; written by spawnlet.`, [
      section('Unit', [
        ['Description', `Bridge ${bridge} with NAT, for ${its.users}`],
        // A firewall that is loaded later would flush these rules with its own.
        ['After', firewalls.join(' ')],
        ['Wants', reloaderOf(its)],
        ...(its.lasts === 'while needed' ? [['StopWhenUnneeded', 'yes'] as const] : []),
      ]),
      section('Service', [
        ['Type', 'oneshot'],
        ['RemainAfterExit', 'yes'],
        ['RuntimeDirectory', its.runtime],
        ['RuntimeDirectoryMode', '0700'],
        start('', ip, 'link', 'add', bridge, 'address', hardwareAddress(v4), 'type', 'bridge'),
        start('', ip, 'address', 'add', v4, 'dev', bridge),
        // A host may have no IPv6.
        ...(v6 === undefined ? [] : [start('-', ip, '-6', 'address', 'add', v6, 'dev', bridge, 'nodad')]),
        start('', ip, 'link', 'set', bridge, 'up'),
        start('', nft, '-f', rulesOf(its)),
        start('', '/bin/sh', scriptOf(its), 'up'),
        ['ExecReload', execLine([nft, '-f', rulesOf(its)])],
        stop('/bin/sh', scriptOf(its), 'down'),
        stop(nft, 'delete', 'table', 'inet', table),
        stop(ip, 'link', 'delete', bridge),
      ]),
      section('X-Spawnlet', [
        ['FormatVersion', String(formatVersion)],
        ['Subnet4', range.v4],
        ...(range.v6 === undefined ? [] : [['Subnet6', range.v6] as const]),
      ]),
    ]),
  );
}

const firewalls = ['network-pre.target', 'nftables.service', 'firewalld.service', 'ufw.service'];

/**
 * A unit that is started, restarted and reloaded with nftables.service, which flushes the rules of all: then those of the
 * bridge are loaded again, with all ports. firewalld and ufw leave tables of others alone.
 */
function reloaderText(its: NatBridge): string {
  const load = execLine([nft, '-f', rulesOf(its)]);
  return renderUnit(
    unitFile(`Rules of ${its.bridge}, loaded again after nftables.service; written by spawnlet.`, [
      section('Unit', [
        ['Description', `Rules of bridge ${its.bridge}, after those of the host`],
        ['After', `${its.unit} nftables.service`],
        ['PartOf', 'nftables.service'],
        ['ReloadPropagatedFrom', 'nftables.service'],
        ['StopWhenUnneeded', 'yes'],
      ]),
      section('Service', [
        ['Type', 'oneshot'],
        ['RemainAfterExit', 'yes'],
        ['ExecStart', load],
        ['ExecReload', load],
      ]),
    ]),
  );
}

/** Files of a bridge. Units of those who are on it start it, so nothing is to be enabled. */
export function bridgeSteps(its: NatBridge, range: Range): HostStep[] {
  const write = (path: string, content: string, mode: number): HostStep => ({
    do: 'write-file',
    path,
    content,
    mode,
  });
  return [
    { do: 'make-directory', path: its.directory, mode: 0o700 },
    write(rulesOf(its), rulesText(its, range, addressOf(hostAddress(range, 1).v4)), 0o644),
    write(scriptOf(its), scriptText(its), 0o755),
    write(unpublishOf(its), unpublishText(its), 0o755),
    write(`${persistentUnits}/${reloaderOf(its)}`, reloaderText(its), 0o644),
    write(unitPathOf(its), unitText(its, range), 0o644),
  ];
}

/** Paths that {@link bridgeSteps} makes, in the order in which they go. */
export const bridgeFilesOf = (its: NatBridge): readonly string[] => [
  unitPathOf(its),
  `${persistentUnits}/${reloaderOf(its)}`,
  its.directory,
];
