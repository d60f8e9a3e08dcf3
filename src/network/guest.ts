import { isIPv4 } from 'node:net';
import { SpawnletError } from '../host/error.ts';
import { renderUnit, section, unitFile } from '../systemd/unit-file.ts';
import type { InnerInterface, NetworkLines } from './lines.ts';
import type { Assignment, Interface } from './spec.ts';

/** A file in the tree of a machine; `path` is the machine's. */
export type GuestNetworkFile = { readonly path: string } & (
  | { readonly content: string; readonly mode: number }
  | { readonly link: string }
);

/** Who sets interfaces up in a machine, and who answers its programs' questions for names. */
export interface GuestNetworkOs {
  readonly manager: 'networkd' | 'ifupdown' | 'netplan' | 'networkmanager' | 'none';
  /** `resolved`: /etc/resolv.conf leads to systemd-resolved, which is told by the manager. */
  readonly resolver: 'resolved' | 'file';
}

const comment = 'Written by spawnlet when the machine was made.';

/** What is to be said of an interface; without any of it, it is left to what the tree has. */
function isSaid({ mac, interface: one }: InnerInterface): boolean {
  return one.addresses === 'dhcp' || one.addresses.length > 0 || (one.mac !== undefined && mac === undefined);
}

/** The address that the machine has to give the interface itself, since it does not come with it. */
const ownMac = ({ mac, interface: one }: InnerInterface) => (mac === undefined ? one.mac : undefined);

const staticOf = (one: Interface) => (one.addresses === 'dhcp' ? [] : one.addresses);
const isV4 = (address: string) => isIPv4(address.replace(/\/.*$/, ''));

function networkd(inner: InnerInterface): GuestNetworkFile {
  const { interface: one } = inner;
  const mac = ownMac(inner);
  const settings: Assignment[] = [
    ...(one.addresses === 'dhcp' ? [['DHCP', 'yes'] as const] : []),
    ...staticOf(one).map(address => ['Address', address] as const),
    ...one.gateways.map(gateway => ['Gateway', gateway] as const),
    ...one.dns.map(dns => ['DNS', dns] as const),
    // Nobody advertises there, or what is said is said here: to wait for a router would hold up the boot for 13 seconds.
    ...(one.addresses !== 'dhcp' && (one.kind === 'nat' || staticOf(one).some(address => !isV4(address)))
      ? [['IPv6AcceptRA', 'no'] as const]
      : []),
  ];
  return {
    path: `/etc/systemd/network/00-spawnlet-${inner.name}.network`,
    mode: 0o644,
    content: renderUnit(
      unitFile(comment, [
        // The name on the host, and the one that a later systemd of the host gives it.
        section('Match', [['Name', [...new Set([inner.name, one.name])].join(' ')]]),
        ...(mac === undefined ? [] : [section('Link', [['MACAddress', mac]])]),
        ...(settings.length === 0 ? [] : [section('Network', settings)]),
      ]),
    ),
  };
}

/** systemd-networkd is in the tree, but may be off, as Debian has it. */
const networkdOn: GuestNetworkFile = {
  path: '/etc/systemd/system/multi-user.target.wants/systemd-networkd.service',
  link: '/lib/systemd/system/systemd-networkd.service',
};

function ifupdown(inner: InnerInterface): string[] {
  const { interface: one, name } = inner;
  const mac = ownMac(inner);
  const address = mac === undefined ? [] : [`    hwaddress ${mac}`];
  if (one.addresses === 'dhcp') return [`auto ${name}`, `iface ${name} inet dhcp`, ...address, ''];
  if (one.addresses.length === 0) return [`auto ${name}`, `iface ${name} inet manual`, ...address, ''];
  const { addresses } = one;
  const stanzas = addresses.flatMap((cidr, index) => {
    const first = addresses.findIndex(other => isV4(other) === isV4(cidr)) === index;
    const gateway = first ? one.gateways.find(other => isV4(other) === isV4(cidr)) : undefined;
    return [
      `iface ${name} ${isV4(cidr) ? 'inet' : 'inet6'} static`,
      `    address ${cidr}`,
      ...(gateway === undefined ? [] : [`    gateway ${gateway}`]),
      ...(index === 0 ? address : []),
    ];
  });
  const dns = one.dns.length === 0 ? [] : [`    dns-nameservers ${one.dns.join(' ')}`];
  return [`auto ${name}`, ...stanzas, ...dns, ''];
}

/** Each value as JSON has it, which YAML reads as the same. */
function netplan(inner: InnerInterface): string[] {
  const { interface: one } = inner;
  const mac = ownMac(inner);
  const line = (key: string, value: unknown) => `      ${key}: ${JSON.stringify(value)}`;
  return [
    `    ${JSON.stringify(inner.name)}:`,
    line('dhcp4', one.addresses === 'dhcp'),
    line('dhcp6', one.addresses === 'dhcp'),
    ...(mac === undefined ? [] : [line('macaddress', mac)]),
    ...(staticOf(one).length === 0 ? [] : [line('addresses', staticOf(one))]),
    ...(one.gateways.length === 0
      ? []
      : [
          line(
            'routes',
            one.gateways.map(via => ({ to: isIPv4(via) ? '0.0.0.0/0' : '::/0', via })),
          ),
        ]),
    ...(one.dns.length === 0 ? [] : [line('nameservers', { addresses: one.dns })]),
  ];
}

/** A keyfile of NetworkManager, which reads none that others than root can. */
function keyfile(inner: InnerInterface): GuestNetworkFile {
  const { interface: one } = inner;
  const mac = ownMac(inner);
  const family = (v4: boolean): Assignment[] => {
    if (one.addresses === 'dhcp') return [['method', 'auto']];
    const addresses = one.addresses.filter(address => isV4(address) === v4);
    if (addresses.length === 0) return [['method', v4 ? 'disabled' : 'link-local']];
    const gateway = one.gateways.find(address => isV4(address) === v4);
    const dns = one.dns.filter(address => isV4(address) === v4);
    return [
      ['method', 'manual'],
      ...addresses.map((address, index) => [`address${index + 1}`, address] as const),
      ...(gateway === undefined ? [] : [['gateway', gateway] as const]),
      ...(dns.length === 0 ? [] : [['dns', `${dns.join(';')};`] as const]),
    ];
  };
  return {
    path: `/etc/NetworkManager/system-connections/spawnlet-${inner.name}.nmconnection`,
    mode: 0o600,
    content: renderUnit(
      unitFile(comment, [
        section('connection', [
          ['id', `spawnlet-${inner.name}`],
          ['type', 'ethernet'],
          ['interface-name', inner.name],
        ]),
        section('ethernet', mac === undefined ? [] : [['cloned-mac-address', mac]]),
        section('ipv4', family(true)),
        section('ipv6', family(false)),
      ]),
    ),
  };
}

function managerFiles(said: readonly InnerInterface[], os: GuestNetworkOs): GuestNetworkFile[] {
  const heading = `# ${comment}`;
  switch (os.manager) {
    case 'networkd':
      return [...said.map(networkd), networkdOn];
    case 'ifupdown':
      return [
        {
          path: '/etc/network/interfaces.d/spawnlet',
          mode: 0o644,
          content: [heading, ...said.flatMap(ifupdown)].join('\n'),
        },
      ];
    case 'netplan':
      return [
        {
          path: '/etc/netplan/60-spawnlet.yaml',
          mode: 0o600,
          content: [heading, 'network:', '  version: 2', '  ethernets:', ...said.flatMap(netplan), ''].join(
            '\n',
          ),
        },
      ];
    case 'networkmanager':
      return said.map(keyfile);
    case 'none':
      throw new SpawnletError(
        'ERR_NETWORK_GUEST',
        `nothing in this tree sets up ${said.map(({ name }) => name).join(', ')}`,
        { hint: 'install systemd-networkd or ifupdown in it, or leave the addresses out' },
      );
  }
}

/**
 * What has to be in the tree of a machine so that its interfaces have the addresses that the spec says, in the form that
 * its OS reads. Interfaces of which nothing is said are left to the tree.
 *
 * @throws ERR_NETWORK_GUEST if nothing in the tree would read it
 */
export function guestNetworkFiles(lines: NetworkLines, os: GuestNetworkOs): GuestNetworkFile[] {
  const said = lines.interfaces.filter(isSaid);
  const servers = [...new Set(lines.interfaces.flatMap(({ interface: one }) => one.dns))];
  const resolver: GuestNetworkFile[] =
    servers.length === 0 || os.resolver === 'resolved'
      ? []
      : [
          {
            path: '/etc/resolv.conf',
            mode: 0o644,
            content: [`# ${comment}`, ...servers.map(server => `nameserver ${server}`), ''].join('\n'),
          },
        ];
  return [...(said.length === 0 ? [] : managerFiles(said, os)), ...resolver];
}
