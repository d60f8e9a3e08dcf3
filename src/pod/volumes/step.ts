import type { HostStep } from '../../host/step.ts';
import type { SystemdStep } from '../../systemd/executors.ts';
import type { Source } from './content/sources.ts';
import type { PodName } from './facts.ts';

/** Makes a path of the host what a hostPath volume wants it to be, or says why it is not. What it makes stays. */
export interface CheckHostPath {
  readonly do: 'check-host-path';
  readonly volume: string;
  readonly path: string;
  /** Kubernetes' word: empty, `DirectoryOrCreate`, `Directory`, `FileOrCreate`, `File`, `Socket`, `CharDevice`, `BlockDevice`. */
  readonly type: string;
}

/**
 * Writes the files of a volume, all at once. What they hold is asked for when that is done: it is in no plan and no journal.
 */
export interface WriteVolume {
  readonly do: 'write-volume';
  readonly pod: PodName;
  readonly volume: string;
  /** The directory; it is made if it is not there. */
  readonly path: string;
  readonly sources: readonly Source[];
  /** The group that may read them: the pod's fsGroup. */
  readonly group: number | undefined;
  /** Whether they must not lie on a disk. */
  readonly secret: boolean;
}

/** Gives a volume to a group. */
export interface OwnVolume {
  readonly do: 'own-volume';
  readonly path: string;
  readonly group: number;
  /** `on-mismatch`: only if the directory itself does not look as if it had been done. */
  readonly when: 'always' | 'on-mismatch';
}

/** Binds what lies at a path in a volume to a place where nobody can put anything else. */
export interface BindSubPath {
  readonly do: 'bind-subpath';
  readonly volume: string;
  /** The volume's directory. */
  readonly root: string;
  /** Relative to it, by a user: it may lead through links that a container makes meanwhile. */
  readonly subPath: string;
  /** The place. */
  readonly path: string;
  /** Whether directories that are missing are made. */
  readonly make: boolean;
}

/**
 * Mounts what a unit says, before systemd is asked to: PID 1 starts no more than five mounts a second. It takes the mount for
 * its unit when it sees it.
 */
export interface MountVolume extends What {
  readonly do: 'mount-volume';
  readonly path: string;
}

/** What is mounted, as mount(8) has it. */
export interface What {
  readonly what: string;
  readonly type: 'tmpfs' | 'hugetlbfs' | 'overlay' | 'nfs';
  readonly options: readonly string[];
}

/** Unmounts whatever is mounted at a path and below it. */
export interface UnmountBelow {
  readonly do: 'unmount-below';
  readonly path: string;
}

/** Removes a tree that containers have filled; no mount in it is entered. */
export interface RemoveTree {
  readonly do: 'remove-tree';
  readonly path: string;
}

export type OwnVolumeStep =
  | CheckHostPath
  | WriteVolume
  | OwnVolume
  | MountVolume
  | BindSubPath
  | UnmountBelow
  | RemoveTree;

export type VolumeStep = HostStep | SystemdStep | OwnVolumeStep;
