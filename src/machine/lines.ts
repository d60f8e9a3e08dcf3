/** What the files of a machine are rendered from, beside its spec, and how their lines are put in groups. */

import type { NetworkLines as Lines } from '../network/lines.ts';
import type { Assignment } from '../network/spec.ts';
import type { Section, UnitLine } from '../systemd/unit-file.ts';
import type { PrivateUsers } from './spec.ts';

export type { Assignment } from '../network/spec.ts';

/** What a machine's network takes in its files. */
export type NetworkLines = Pick<Lines, 'nspawn' | 'unit' | 'service'>;

/** What lies at /var/lib/machines/NAME. */
export type Tree =
  /** A directory or subvolume of its own. */
  | { readonly kind: 'plain' }
  /** A mount point: an overlay on a base. */
  | { readonly kind: 'overlay' }
  /** A symbolic link to a tree elsewhere. */
  | { readonly kind: 'link'; readonly path: string };

/** What of the host the profiles depend on. */
export interface HostFacts {
  /** Device nodes that there are, of those that profiles name. */
  readonly devices: readonly string[];
  /** What /sys/module shows; `none`: the host is itself a container that does not see it. */
  readonly modules: 'none' | 'plain' | 'apparmor';
  /** `unified`: cgroup v2 alone; `mixed`: version 1 has controllers. */
  readonly cgroups: 'unified' | 'mixed';
  readonly gpu: GpuFacts;
}

export interface GpuFacts {
  /** Device nodes of NVIDIA and of AMD, DRM's among them. */
  readonly nodes: readonly string[];
  /** Files of the driver that belong to the host's kernel module. */
  readonly libraries: readonly string[];
}

/** A line that somebody else wrote and that stays. */
export interface KeptLine {
  readonly section: string;
  readonly key: string;
  readonly value: string;
}

/** Decided or observed before a machine's files are rendered. */
export interface MachineFacts {
  readonly users: PrivateUsers;
  readonly tree: Tree;
  /** `notify`: the tree's init is one that says when it is up, as systemd does; else started is ready. */
  readonly ready: 'notify' | 'started';
  readonly host: HostFacts;
  /** Machines that are to be up before this one at boot; see {@link startsAfter}. */
  readonly after: readonly string[];
  /** What `adopt` left alone in the `.nspawn` file. */
  readonly kept: readonly KeptLine[];
}

/** Lines that belong together, and why they are there; undefined where they need no word. */
export interface Group {
  readonly why?: string;
  readonly lines: readonly Assignment[];
}

/** A section of groups, those without lines left out; none if no group is left. */
export function sectionOf(name: string, groups: readonly Group[]): Section[] {
  const full = groups.filter(group => group.lines.length > 0);
  if (full.length === 0) return [];
  return [{ name, lines: full.flatMap(linesOf) }];
}

const comment = (why: string | undefined): UnitLine[] =>
  why === undefined ? [] : [{ kind: 'other', text: `# ${why}` }];

function linesOf(group: Group): UnitLine[] {
  return [
    ...comment(group.why),
    ...group.lines.map(([key, value]): UnitLine => ({ kind: 'assignment', key, value })),
  ];
}
