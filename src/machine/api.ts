/** What can be asked of machines: the contract between the commands and {@link MachinesApi}'s implementation. */

import type { Diagnosis } from '../app/doctor/diagnosis.ts';
import type { MachineSpec } from './spec.ts';

/** A password on its way into a tree; a plain one is hashed there and kept nowhere. */
export type Password =
  | { readonly kind: 'plain'; readonly text: string }
  /** As crypt(3) writes it. */
  | { readonly kind: 'hash'; readonly hash: string }
  /** No login by password. */
  | { readonly kind: 'locked' };

/** A file or directory of the host, or of a machine. */
export type Place =
  | { readonly kind: 'host'; readonly path: string }
  | { readonly kind: 'machine'; readonly machine: string; readonly path: string };

/** Everything that changes a machine or the host. Each becomes one plan, which can be shown or applied. */
export type MachineChange =
  | {
      readonly do: 'create';
      readonly spec: MachineSpec;
      /** Root's; beside the spec, since it is not kept. */
      readonly password?: Password;
      readonly start: boolean;
    }
  /** Makes the machine, or changes it into what the spec says: live where systemd can, else at its next start. */
  | { readonly do: 'apply'; readonly spec: MachineSpec }
  | { readonly do: 'start'; readonly name: string }
  | {
      readonly do: 'stop';
      readonly name: string;
      /** Seconds until SIGKILL; undefined for the unit's own. */
      readonly seconds?: number;
      /** At once, without asking its init. */
      readonly force: boolean;
    }
  | { readonly do: 'restart'; readonly name: string; readonly seconds?: number }
  /** To its PID 1, or to all of its processes. */
  | {
      readonly do: 'kill';
      readonly name: string;
      readonly whom: 'leader' | 'all';
      readonly signalNumber: number;
    }
  | { readonly do: 'enable' | 'disable'; readonly name: string }
  /** A running machine only with `force`, which stops it. The tree of `directory` machines stays. */
  | { readonly do: 'remove'; readonly name: string; readonly force: boolean }
  | { readonly do: 'rename'; readonly name: string; readonly to: string }
  | { readonly do: 'snapshot'; readonly name: string; readonly snapshot: string }
  | { readonly do: 'restore'; readonly name: string; readonly snapshot: string }
  | { readonly do: 'remove-snapshot'; readonly name: string; readonly snapshot: string }
  | {
      readonly do: 'clone';
      readonly name: string;
      /** Undefined: the machine as it is. */
      readonly snapshot?: string;
      readonly to: string;
      readonly start: boolean;
    }
  /** A tar archive with the tree and the spec; compressed as the file's ending says (.tar, .tar.gz, .tar.xz, .tar.zst). */
  | { readonly do: 'export'; readonly name: string; readonly file: string }
  | {
      readonly do: 'import';
      readonly file: string;
      readonly name: string;
      /** The machine is given what its spec asks of the host; else that is refused with `ERR_MACHINE_TRUST`. */
      readonly trust: boolean;
    }
  | {
      readonly do: 'passwd';
      readonly name: string;
      readonly user: string;
      readonly password: Password;
    }
  /** Flattens an overlay, forgets the machine, leaves the files of systemd. */
  | { readonly do: 'eject'; readonly name: string }
  | { readonly do: 'adopt'; readonly name: string };

/** What came of a change. */
export interface Changed {
  /** False if all was as it should be already. */
  readonly changed: boolean;
  /** Lines for people: what waits for a restart, that a stop had to kill. */
  readonly notes: readonly string[];
}

export type MachineState = 'running' | 'starting' | 'stopping' | 'stopped' | 'failed';

/** A line of `machine ls`. */
export interface MachineRow {
  readonly name: string;
  readonly state: MachineState;
  readonly enabled: boolean;
  /** Where its tree comes from, as `--from` has it. */
  readonly from: string;
  /** Inside; empty unless it runs. */
  readonly addresses: readonly string[];
  /** Milliseconds since 1970, while it runs. */
  readonly since?: number;
  /** Bytes, while it runs. */
  readonly memory?: number;
}

export interface MachineStatus extends MachineRow {
  readonly spec: MachineSpec;
  readonly unit: string;
  /** As its os-release says: `Debian GNU/Linux 12 (bookworm)`. */
  readonly os: string;
  /** `overlay`: on the bases in `layers`; `link`: a directory elsewhere. */
  readonly tree: {
    readonly kind: 'plain' | 'overlay' | 'link';
    /** Where it lies. */
    readonly path: string;
    /** Directories of an overlay that nobody writes to, lowest first. */
    readonly layers: readonly string[];
    /** Bytes that an overlay has changed since. */
    readonly changed?: number;
  };
  /** PID of its init, while it runs. */
  readonly leader?: number;
  readonly tasks?: number;
  readonly tasksMax?: number;
  /** User namespace in use, why, and what would change it. */
  readonly users: { readonly range: string; readonly why?: string };
  /** Files that make it what it is, drop-ins by hand included. */
  readonly files: readonly string[];
  readonly snapshots: readonly string[];
  /** What waits for a restart. */
  readonly pending: readonly string[];
  /** What it is to be given of the host and is not there, while it does not run: it cannot start. */
  readonly missing: readonly string[];
}

export interface SnapshotRow {
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly created: number;
  /** Bytes on the disk that it takes, and nothing else does; where it was measured. */
  readonly size?: number;
}

/** What `adopt` makes of one key, flag or file. */
export interface AdoptedLine {
  /** `/etc/systemd/nspawn/web.nspawn:4`. */
  readonly where: string;
  /** `[Network] Bridge=br0`. */
  readonly text: string;
  readonly verdict: 'understood' | 'left alone';
  /** The field of the spec, or why it was left alone. */
  readonly as: string;
}

export interface AdoptReport {
  readonly spec: MachineSpec;
  readonly lines: readonly AdoptedLine[];
}

export interface ExecOptions {
  /** `NAME=value`. */
  readonly env: readonly string[];
  /** Of the machine. */
  readonly user?: string;
  readonly directory?: string;
  readonly terminal: boolean;
  readonly stdin: boolean;
}

export interface LogOptions {
  readonly follow: boolean;
  readonly lines?: number;
  /** As journalctl(1) takes it. */
  readonly since?: string;
  readonly until?: string;
  /** A unit inside of the machine. */
  readonly unit?: string;
  /** `console`: what the machine's unit wrote on the host; `journal`: the machine's own journal. */
  readonly of: 'journal' | 'console';
}

export interface MachinesApi {
  /** Throws `ERR_NO_MACHINE`, `ERR_NAME_TAKEN`, `ERR_RUNNING`, `ERR_NOT_RUNNING`. */
  perform(change: MachineChange, signal: AbortSignal): Promise<Changed>;
  /** The plan of a change, as text with files as diffs and secrets redacted; without notes for who makes it afterwards. */
  dryRun(change: MachineChange, signal: AbortSignal, notes?: 'shown' | 'left out'): Promise<string>;
  /** All machines, by name. */
  list(signal: AbortSignal): Promise<MachineRow[]>;
  /** Throws `ERR_NO_MACHINE`. */
  status(name: string, signal: AbortSignal): Promise<MachineStatus>;
  /** What its profiles deny it, and which of their lines would not. Throws `ERR_NO_MACHINE`. */
  diagnose(name: string, signal: AbortSignal): Promise<Diagnosis[]>;
  /** What was asked for. Throws `ERR_NO_MACHINE`. */
  spec(name: string, signal: AbortSignal): Promise<MachineSpec>;
  /** Undefined if there is none. */
  findSpec(name: string, signal: AbortSignal): Promise<MachineSpec | undefined>;
  /** Oldest first; to measure them, they are read through. Throws `ERR_NO_MACHINE`. */
  snapshots(name: string, sizes: 'measured' | 'left out', signal: AbortSignal): Promise<SnapshotRow[]>;
  /** The name that the machine in an archive of `export` had. Throws `ERR_TREE_ARCHIVE`, `ERR_MACHINE_FILE`. */
  archivedName(file: string, signal: AbortSignal): Promise<string>;
  /** What `adopt` would understand. */
  adoptReport(name: string, signal: AbortSignal): Promise<AdoptReport>;
  /** These four have the caller's streams and give the exit code. Throw `ERR_NOT_RUNNING`. */
  exec(name: string, argv: readonly string[], options: ExecOptions, signal: AbortSignal): Promise<number>;
  shell(name: string, user: string, signal: AbortSignal): Promise<number>;
  login(name: string, signal: AbortSignal): Promise<number>;
  logs(name: string, options: LogOptions, signal: AbortSignal): Promise<number>;
  /** Resources of machines, as systemd-cgtop shows them; all that run if none is named. */
  top(names: readonly string[], signal: AbortSignal): Promise<number>;
  copy(from: Place, to: Place, signal: AbortSignal): Promise<void>;
}
