import type { Mount } from '../container.ts';
import type { Words } from './command.ts';
import type { PackageService } from './package-unit.ts';

/** A program of the host as a container: decided, with nothing left to look up. */
export interface HostProgram {
  /** The engine's: its unit's, without the suffix. */
  readonly name: string;
  /** On the disk: scripts, variables, and what a run leaves. */
  readonly directory: string;
  /** Its /run, gone with the boot. */
  readonly run: string;
  /** Of its package; undefined if that has none. */
  readonly service?: PackageService;
  readonly words: Words;
  readonly user: HostUser;
  readonly cwd?: string;
  /** Volumes, and files that give it names. */
  readonly mounts: readonly Mount[];
  /** `as-packaged`: what the package's unit says, if it says anything, else Docker's set. */
  readonly capabilities: readonly string[];
  readonly asPackaged: boolean;
  readonly privileged: boolean;
  readonly noNewPrivileges: boolean;
  readonly seccomp: 'default' | 'unconfined';
  /** A path: that of a namespace which it joins. */
  readonly ipc: 'host' | 'own' | { readonly path: string };
  /** Whether it sees the processes of other users. */
  readonly seesProcesses: boolean;
  readonly oomScoreAdj: number;
  /** The signal that asks it to end, if not the package's. */
  readonly stopSignal?: string;
  /** Seconds until SIGKILL. */
  readonly grace: number;
}

/** Who it runs as: as the package's unit says it, by names or a user of systemd's own, or by numbers. */
export interface HostUser {
  readonly as: 'packaged' | 'given';
  /** Undefined for a user that systemd makes. */
  readonly ids?: { readonly uid: number; readonly gid: number };
  /** Whether the host knows him and his groups: systemd runs nothing by a number that it does not know. */
  readonly isKnown: boolean;
  /** Beside those of the package's unit. */
  readonly groups: readonly number[];
}

/** Where the engine writes the variables of a run, for `EnvironmentFile=`. */
export const variablesOf = ({ directory }: Pick<HostProgram, 'directory'>): string =>
  `${directory}/variables`;
