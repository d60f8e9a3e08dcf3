/** What a network of a machine is: the part of a machine's spec that this room reads. */

export interface PublishedPort {
  readonly protocol: 'tcp' | 'udp';
  /** Address of the host; undefined for all of them, 127.0.0.1 included. */
  readonly address?: string;
  readonly hostPort: number;
  readonly port: number;
}

/** How an interface gets its addresses. Written into the machine in the form that its OS reads. */
export interface Addressing {
  /** `dhcp`, or CIDR addresses of both families; empty: left to the machine, or for `nat` given by spawnlet. */
  readonly addresses: 'dhcp' | readonly string[];
  readonly gateways: readonly string[];
  readonly dns: readonly string[];
}

export type InterfaceKind =
  /** A veth on spawnlet's own bridge, with NAT. */
  | { readonly kind: 'nat'; readonly ports: readonly PublishedPort[] }
  /** A veth on a bridge that is there, whoever made it. */
  | { readonly kind: 'bridge'; readonly bridge: string }
  | { readonly kind: 'ovs'; readonly bridge: string; readonly vlan?: number }
  | { readonly kind: 'macvlan'; readonly parent: string }
  | { readonly kind: 'ipvlan'; readonly parent: string }
  /** systemd-nspawn's --network-zone=. */
  | { readonly kind: 'zone'; readonly zone: string }
  /** An interface of the host, moved into the machine while it runs. */
  | { readonly kind: 'physical'; readonly interface: string };

export type Interface = InterfaceKind &
  Addressing & {
    /** The name inside: `host0` for the first veth, unless given. */
    readonly name: string;
    readonly mac?: string;
  };

export type Network =
  | { readonly kind: 'host' }
  | { readonly kind: 'none' }
  | { readonly kind: 'private'; readonly interfaces: readonly Interface[] };

/**
 * A machine as far as this room looks at it; a machine's spec is one. A container on spawnlet's own bridge is another, and a pod
 * that has ports of the host, whose addresses are on another bridge.
 */
export interface NetworkedMachine {
  readonly name: string;
  readonly what?: 'container' | 'pod';
  readonly network: Network;
}

/** A line of a settings file. */
export type Assignment = readonly [key: string, value: string];

/** A link of the host. */
export interface Link {
  readonly name: string;
  /** As ip(8) names it: `bridge`, `veth`, `macvlan`; undefined for a real interface. */
  readonly kind: string | undefined;
  /** The bridge that it is a port of. */
  readonly master: string | undefined;
}

type Called = Pick<NetworkedMachine, 'name' | 'what'>;

/** `machine web`, `container web`. */
export const calledBy = ({ name, what }: Called): string => `${what ?? 'machine'} ${name}`;

export const isSame = (one: Called, other: Called): boolean =>
  one.name === other.name && one.what === other.what;
