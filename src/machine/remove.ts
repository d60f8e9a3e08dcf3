import { lockNetwork, natRemoval } from '../network/nat.ts';
import type { MachineChange } from './api.ts';
import { type MachineDependencies, note, type Parts, plan } from './change.ts';
import { refuseRunning } from './job.ts';
import { getMade } from './observe.ts';
import { placesOf } from './places.ts';
import { planRemove } from './plan.ts';
import { neighboursOf } from './prepare.ts';

/** Removes a machine; one that runs only with `force`, which kills it. A tree that spawnlet has not made stays. */
export async function* remove(
  deps: MachineDependencies,
  { name, force }: Extract<MachineChange, { do: 'remove' }>,
  signal: AbortSignal,
): Parts {
  const { spec, tree, enabled } = await getMade(deps.host.files, name);
  if (!force) await refuseRunning(deps, name, 'removed', signal);
  await using _network = await lockNetwork(deps.host.locks, signal);
  const { files } = deps.host;
  const others = await neighboursOf(files, name);
  const isKept = tree.kind === 'plain' && spec.from.kind === 'directory';
  yield plan(planRemove(name, { tree: isKept ? 'kept' : tree.kind, enabled, network: natRemoval(others) }));
  if (isKept) yield note(`its tree ${placesOf(name).tree} stays: it was there before spawnlet`);
}
