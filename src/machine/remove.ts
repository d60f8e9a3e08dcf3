import { lockNetwork, natRemoval } from '../network/nat.ts';
import type { MachineChange } from './api.ts';
import { type MachineDependencies, type Parts, plan } from './change.ts';
import { refuseRunning } from './job.ts';
import { getMade } from './observe.ts';
import { planRemove } from './plan.ts';
import { othersOf } from './prepare.ts';

/** Removes a machine; one that runs only with `force`, which kills it. */
export async function* remove(
  deps: MachineDependencies,
  { name, force }: Extract<MachineChange, { do: 'remove' }>,
  signal: AbortSignal,
): Parts {
  const { tree, enabled } = await getMade(deps.host.files, name);
  if (!force) await refuseRunning(deps, name, 'removed', signal);
  await using _network = await lockNetwork(deps.host.locks, signal);
  const others = await othersOf(deps.host.files, name);
  yield plan(planRemove(name, { overlay: tree.kind === 'overlay', enabled, network: natRemoval(others) }));
}
