import type { HostStep } from '../host/step.ts';
import type { ImageStep } from '../image/executors.ts';
import type { TreeStep } from '../image/tree/executors.ts';
import type { SystemdStep } from '../systemd/executors.ts';
import type { WriteGuest } from './guest/write.ts';

/** A property of a unit as D-Bus takes it: a 64-bit integer, in decimal digits so that the step can be journalled. */
export interface LiveProperty {
  readonly name: string;
  readonly value: string;
}

/** The steps of machines that no other room knows, but for {@link WriteGuest}. */
export type OwnMachineStep =
  /**
   * Copies a tree with owners, set-id bits, extended attributes, hard links and devices; whole or not at all. A unit of
   * its own does it, which ends with the plan.
   */
  | { readonly do: 'copy-tree'; readonly name: string; readonly from: string; readonly path: string }
  /** The same at once: a snapshot of a subvolume of btrfs, and of those that lie in it. */
  | { readonly do: 'snapshot-tree'; readonly name: string; readonly from: string; readonly path: string }
  /** Packs a tree and the machine's spec into an archive, compressed as its name says; whole or not at all. */
  | {
      readonly do: 'pack-tree';
      readonly name: string;
      readonly from: string;
      readonly spec: string;
      readonly path: string;
    }
  /** Unpacks the tree of such an archive, which may be hostile; whole or not at all. */
  | { readonly do: 'unpack-tree'; readonly name: string; readonly from: string; readonly path: string }
  /** rename(2). Undone by moving it back. */
  | { readonly do: 'move-tree'; readonly path: string; readonly to: string }
  /** Puts the tree `by` in the place of `path`, whose own becomes `aside`; for plans that are finished. */
  | { readonly do: 'replace-tree'; readonly path: string; readonly by: string; readonly aside: string }
  /** Removes a tree and the subvolumes in it, for plans that are finished. */
  | { readonly do: 'remove-machine-tree'; readonly path: string }
  /** Removes a directory if it is empty. */
  | { readonly do: 'remove-directory'; readonly path: string }
  /**
   * Queues the start of a machine that was just made; {@link SystemdClient.started} waits for it. Undone by killing it, and
   * removing what that leaves.
   */
  | { readonly do: 'begin-machine'; readonly name: string }
  /** Changes resources of a unit that runs, in a drop-in of systemd's own. */
  | { readonly do: 'set-properties'; readonly name: string; readonly properties: readonly LiveProperty[] }
  /** Mounts a directory or file of the host into a machine that runs; machinectl(1), bind. */
  | {
      readonly do: 'bind-live';
      readonly name: string;
      readonly source: string;
      readonly path: string;
      readonly readOnly: boolean;
    }
  /** Stops the processes of a unit where they are; undone by letting them go on. */
  | { readonly do: 'freeze-unit'; readonly name: string }
  | { readonly do: 'thaw-unit'; readonly name: string }
  /** Keeps the machine in a tree from being started, by the lock of systemd-nspawn, as long as this process lives. */
  | { readonly do: 'hold-tree'; readonly path: string }
  | { readonly do: 'release-tree'; readonly path: string };

export type MachineStep = HostStep | SystemdStep | ImageStep | TreeStep | WriteGuest | OwnMachineStep;

/** The unit that copies for a machine. */
export const copyUnit = (name: string): string => `spawnlet-machine-copy-${name}.service`;
