import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { MachineChange } from './api.ts';
import { type MachineDependencies, type Parts, plan } from './change.ts';
import { GuestRoot } from './guest/root.ts';
import { refuseRunning } from './job.ts';
import { keptLines } from './kept.ts';
import { getMade, type Made } from './observe.ts';
import { hidden, placesOf } from './places.ts';
import { settingsSteps } from './plan.ts';
import { desiredOf } from './prepare.ts';
import { runtimeStores } from './profiles.ts';
import { listSnapshots } from './snapshot.ts';
import { duringStandstill } from './standstill.ts';
import type { MachineStep } from './step.ts';
import { mountStep, treeOfMachine, viewTree } from './tree-view.ts';

/**
 * Lets go of a machine that is stopped: it stays, with a tree of its own, as the files of systemd that an administrator
 * would have written. Nothing of it is left in spawnlet's own directories.
 */
export async function* eject(
  deps: MachineDependencies,
  { name }: Extract<MachineChange, { do: 'eject' }>,
  signal: AbortSignal,
): Parts {
  const { host } = deps;
  const made = await getMade(host.files, name);
  await refuseRunning(deps, name, 'ejected', signal);
  await refuseSnapshots(host, name, signal);
  const places = placesOf(name);
  const flat = hidden(places.tree, 'flat');
  const aside = hidden(places.tree, 'replaced');
  const isOverlay = made.tree.kind === 'overlay';
  const kept = await keptLines(host.files, name);
  const desired = await desiredOf(host, made.spec, made, kept, signal, isOverlay ? { flattened: true } : {});
  if (isOverlay) {
    yield plan({
      title: `flatten the tree of machine ${name}`,
      ifInterrupted: 'undo',
      steps: [
        // Of an ejection that was cut off.
        { do: 'remove-machine-tree', path: flat },
        ...duringStandstill({ kind: 'held', tree: places.tree }, [
          ...mountStep(made),
          { do: 'copy-tree', name, from: places.tree, path: flat },
          ...(await storeSteps(deps, made, flat)),
        ]),
      ],
    });
  }
  // The copy took its time.
  await refuseRunning(deps, name, 'ejected', signal);
  yield plan({
    title: `eject machine ${name}`,
    ifInterrupted: 'finish',
    steps: [
      ...(isOverlay
        ? ([
            { do: 'stop-unit', name: places.mountUnit },
            { do: 'remove', path: places.mountFile },
            { do: 'replace-tree', path: places.tree, by: flat, aside },
            { do: 'remove-machine-tree', path: aside },
          ] as const)
        : []),
      ...settingsSteps(desired, places),
      // A machine that starts at boot has its units in memory: they would mount what is gone.
      ...(isOverlay ? [{ do: 'reload-manager', name: places.mountUnit } as const] : []),
      { do: 'remove-machine-tree', path: places.state },
    ],
  });
}

/** They would go with spawnlet's directory of the machine. Throws `ERR_MACHINE_SNAPSHOTS`. */
async function refuseSnapshots(host: Host, name: string, signal: AbortSignal): Promise<void> {
  const snapshots = await listSnapshots(host, name, 'left out', signal);
  if (snapshots.length === 0) return;
  const words = snapshots.map(snapshot => `${name}/${snapshot.name}`).join(' ');
  throw new SpawnletError('ERR_MACHINE_SNAPSHOTS', `machine ${name} has snapshots, which cannot go with it`, {
    hint: `to let go of them: spawnlet machine rm ${words}`,
  });
}

/** What lay beside the overlay, since it could not lie on it, comes into the tree. */
async function storeSteps({ host }: MachineDependencies, made: Made, flat: string): Promise<MachineStep[]> {
  const { name } = made.spec;
  const there = await Promise.all(
    runtimeStores(name).map(async store => ((await host.files.list(store.source)).length > 0 ? [store] : [])),
  );
  const stores = there.flat();
  if (stores.length === 0) return [];
  using view = await viewTree(treeOfMachine(made));
  using tree = new GuestRoot(view.path);
  for (const path of ['/var', '/var/lib'])
    if (tree.look(path)?.kind !== 'directory')
      throw new SpawnletError('ERR_MACHINE_TREE', `${path} of machine ${name} is no directory of its tree`, {
        hint: 'the containers in it cannot be put there: remove them first',
      });
  return stores.flatMap(({ source, target }): MachineStep[] => [
    { do: 'remove', path: `${flat}${target}` },
    { do: 'copy-tree', name, from: source, path: `${flat}${target}` },
  ]);
}
