import { SpawnletError } from '../host/error.ts';
import type { MachineDependencies } from './change.ts';
import { isUp, unitState } from './observe.ts';
import { placesOf } from './places.ts';
import type { MachineStep } from './step.ts';

/** How a machine is kept as it is while it is copied. */
export type Standstill =
  /** It runs, and its unit is stopped where it is. */
  | { readonly kind: 'frozen'; readonly unit: string }
  /** It does not run, and nobody can start it. */
  | { readonly kind: 'held'; readonly tree: string };

/** The standstill of a machine that is to be copied; `what` is done to it. Throws `ERR_RUNNING` where one that runs cannot be frozen. */
export async function standstillOf(
  deps: MachineDependencies,
  name: string,
  what: string,
  signal: AbortSignal,
): Promise<Standstill> {
  const { unit, tree } = placesOf(name);
  if (!isUp(await unitState(await deps.systemd(), unit, signal))) return { kind: 'held', tree };
  if (await deps.host.files.look('/sys/fs/cgroup/cgroup.controllers')) return { kind: 'frozen', unit };
  throw new SpawnletError('ERR_RUNNING', `machine ${name} runs, and cannot be frozen to ${what} it`, {
    hint: `freezing takes cgroup version 2 alone, which this host has not: spawnlet machine stop ${name}`,
  });
}

/** Steps that read a machine, with those around them that keep it as it is. */
export function duringStandstill(
  standstill: Standstill | undefined,
  steps: readonly MachineStep[],
): MachineStep[] {
  switch (standstill?.kind) {
    case undefined:
      return [...steps];
    case 'frozen':
      return [
        { do: 'freeze-unit', name: standstill.unit },
        ...steps,
        { do: 'thaw-unit', name: standstill.unit },
      ];
    case 'held':
      return [
        { do: 'hold-tree', path: standstill.tree },
        ...steps,
        { do: 'release-tree', path: standstill.tree },
      ];
  }
}
