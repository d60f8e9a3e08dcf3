/** What a machine is: the value that flags, `kind: Machine` files and an adopted machine become. */

import type { TreeBuild, TreeSource } from '../image/tree/source.ts';

export type { TreeBuild, TreeSource };

import type { Network } from '../network/spec.ts';

export type { Addressing, Interface, InterfaceKind, Network, PublishedPort } from '../network/spec.ts';

/** User namespaces; ownership is always mapped by the mount, never changed in the tree. */
export type PrivateUsers =
  | { readonly kind: 'no' }
  | { readonly kind: 'pick' }
  | { readonly kind: 'range'; readonly base: number; readonly count: number };

export type Mount =
  | {
      readonly kind: 'bind';
      readonly source: string;
      readonly target: string;
      readonly readOnly: boolean;
    }
  | { readonly kind: 'tmpfs'; readonly target: string; readonly options: string }
  /** Lower directories, lowest first, and the upper one. */
  | { readonly kind: 'overlay'; readonly layers: readonly string[]; readonly target: string }
  | { readonly kind: 'inaccessible'; readonly target: string };

export interface MachineLimits {
  /** Bytes. */
  readonly memory?: number;
  readonly cpus?: number;
  /** 1 to 10000; IOWeight=. */
  readonly ioWeight?: number;
  /** The stock unit has 16384. */
  readonly tasks?: number;
  readonly nofile?: number;
  readonly nproc?: number;
}

export interface DeviceNode {
  readonly path: string;
  /** Of `rwm`. */
  readonly access: string;
}

export const profileNames = ['default', 'nested', 'ebpf', 'kvm', 'gpu', 'privileged'] as const;
export type ProfileName = (typeof profileNames)[number];

export interface User {
  readonly name: string;
  readonly uid?: number;
  readonly groups: readonly string[];
  readonly shell?: string;
  /** As crypt(3) writes it; undefined: no password, so no login by one. */
  readonly passwordHash?: string;
  readonly sshKeys: readonly string[];
}

/** What is written into a fresh tree, once. */
export interface FirstBoot {
  readonly hostname?: string;
  readonly timezone?: string;
  readonly locale?: string;
  /** As crypt(3) writes it. */
  readonly rootPasswordHash?: string;
  /** Of root. */
  readonly sshKeys: readonly string[];
  readonly users: readonly User[];
  readonly copy: readonly { readonly source: string; readonly target: string }[];
  /** Scripts of the host, run in the machine by its own systemd at the first boot. */
  readonly run: readonly string[];
  /** A NoCloud directory, for trees with cloud-init. */
  readonly cloudInit?: string;
}

/** A secret for the machine; only its place on the host is in the spec. systemd.exec(5), LoadCredential=. */
export interface Credential {
  readonly id: string;
  readonly path: string;
}

export interface MachineSpec {
  readonly name: string;
  readonly from: TreeSource;
  /** Undefined: the builder's own defaults. */
  readonly build?: TreeBuild;
  /** Boots the init of the tree, or runs one command as PID 2. */
  readonly start: { readonly kind: 'boot' } | { readonly kind: 'command'; readonly argv: readonly string[] };
  readonly enabled: boolean;
  /** Machines with a lower order are started first at boot; seconds to wait before this one. */
  readonly autostart: { readonly order?: number; readonly delay?: number };
  /** Undefined: `pick` where the tree's file system can be id-mapped, else `no`. */
  readonly privateUsers?: PrivateUsers;
  readonly network: Network;
  readonly mounts: readonly Mount[];
  readonly limits: MachineLimits;
  readonly devices: readonly DeviceNode[];
  /** `default` is always part of it. */
  readonly profiles: readonly ProfileName[];
  /** Beyond what the profiles say. */
  readonly capabilities: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly credentials: readonly Credential[];
  readonly firstBoot: FirstBoot;
}
