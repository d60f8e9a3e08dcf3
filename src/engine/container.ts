import type { CgroupVersion } from './cgroup.ts';
import type { Seccomp } from './seccomp.ts';

/** What an engine is asked to run: decided, numeric, with nothing left to look up. */
export interface ContainerSpec {
  readonly name: string;
  /** The bundle's directory; the engine's files lie in it. */
  readonly directory: string;
  readonly args: readonly string[];
  /** `NAME=value`. May hold secrets, so it goes into the bundle alone. */
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids: readonly number[] };
  /** Empty for the host's own. */
  readonly hostname: string;
  readonly terminal: boolean;
  /** What the terminal begins with; the program may ask for it before anybody has attached. */
  readonly terminalSize?: TerminalSize;
  /**
   * Who attaches may write to its standard input: `once`, until the first of them goes; `kept`, as long as it runs. A terminal
   * has no end of input, so there both are the same.
   */
  readonly stdin: false | 'once' | 'kept';
  /** Names of directories below {@link layersDirectory}, lowest first. */
  readonly layers: readonly string[];
  readonly readOnly: boolean;
  readonly mounts: readonly Mount[];
  /** Directories of the container's own that are bound into it; made with the image's content at the first start. */
  readonly volumes: readonly { readonly directory: string; readonly content: string | undefined }[];
  /** A directory to make in the root, relative, its path free of links. */
  readonly missingDirectory: string | undefined;
  /** Where something is mounted and the root has nothing, as {@link missingDirectory}; `source` of a bind says whether it is a file. */
  readonly missingTargets?: readonly { readonly source?: string; readonly path: string }[];
  readonly devices: readonly Device[];
  readonly capabilities: readonly string[];
  readonly privileged: boolean;
  readonly noNewPrivileges: boolean;
  readonly seccomp: Seccomp | 'unconfined';
  /** A profile of AppArmor that the host has loaded. */
  readonly appArmor?: string;
  readonly network: 'host' | 'none' | Connection;
  /** Namespaces that it joins instead of having its own, by their files. */
  readonly joins?: { readonly network?: string; readonly ipc?: string; readonly pid?: string };
  /** It has users of its own: those of this namespace, whose 0 is `first` on the host. */
  readonly users?: Users;
  /** Namespaces of the host that it stays in. */
  readonly shares?: readonly ('pid' | 'ipc')[];
  /** Its names and name servers are files that its mounts bring; they are not taken from the host at each start. */
  readonly namesGiven?: true;
  /** What of /proc and /sys tells too much can be seen. */
  readonly unmasked?: true;
  /** -1000 to 1000; the unit's if it is not here. */
  readonly oomScoreAdj?: number;
  /** Settings of the kernel in its namespaces: `net.ipv4.ip_unprivileged_port_start`. */
  readonly sysctls?: Readonly<Record<string, string>>;
  /** The host's. */
  readonly cgroups: CgroupVersion;
  readonly limits: Limits;
  /** Number of the signal that asks PID 1 to end. */
  readonly stopSignal: number;
  /** Seconds until SIGKILL. */
  readonly stopTimeout: number;
}

/** A user namespace that is a file. IDs of files are mapped with it where they are mounted: on disk they are as if there were none. */
export interface Users {
  readonly namespace: string;
  /** Of {@link usersOfNamespace} IDs in a row. */
  readonly first: number;
}

/** What a user namespace has: every ID of 16 bits. */
export const usersOfNamespace = 65_536;

/** A network namespace of the container's own that has links: what its scripts and its unit do for that. */
export interface Connection {
  /** Body of a shell function: makes links in the namespace that is mounted at $netns, before the program starts. */
  readonly connect: string;
  /** Lines of a shell: take back what is not gone with the namespace. */
  readonly disconnect: string;
  /** `[Unit]`. */
  readonly unit: readonly (readonly [key: string, value: string])[];
}

/** In characters. */
export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

export type Mount =
  | {
      readonly kind: 'bind';
      readonly source: string;
      readonly target: string;
      readonly readOnly: ReadOnly;
      readonly propagation: string;
      /** Its files' owners are not mapped to the container's users: they are so already, or do not matter. */
      readonly unmapped?: true;
    }
  | { readonly kind: 'tmpfs'; readonly target: string; readonly options: readonly string[] };

/** `recursive`: with all that is mounted below it; else that is as it was. */
export type ReadOnly = boolean | 'recursive';

/**
 * A name for the directory of a volume: by its path, so that another image's volumes do not take its place. Escapes are the only
 * `%` in it, and what is too long for a file name ends in a digest.
 */
export function volumeName(target: string): string {
  const name = encodeURIComponent(target.slice(1).toWellFormed());
  if (name.length <= 200) return name;
  const { hash } = process.getBuiltinModule('node:crypto');
  return `${name.slice(0, 100).replace(/%.?$/, '')}-${hash('sha256', target)}`;
}

export interface Device {
  readonly source: string;
  readonly target: string;
  /** Of `r`, `w`, `m`. */
  readonly access: string;
  readonly type: 'c' | 'b';
  /** As it is on the host. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly major: number;
  readonly minor: number;
}

export interface Limits {
  /** Bytes. */
  readonly memory?: number;
  /** CPUs: 1.5 is one and a half. */
  readonly cpus?: number;
  readonly pids?: number;
}
