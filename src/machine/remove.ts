import { SpawnletError } from '../host/error.ts';
import { lockNetwork, natRemoval } from '../network/nat.ts';
import type { MachineChange } from './api.ts';
import { type MachineDependencies, note, type Parts, plan } from './change.ts';
import { parseMachine } from './document.ts';
import { refuseRunning } from './job.ts';
import { shownFields } from './list.ts';
import { parseMachineName } from './names.ts';
import { besideSpec, noMachine } from './observe.ts';
import { type Places, placesOf } from './places.ts';
import { planRemove } from './plan.ts';
import { neighboursOf } from './prepare.ts';

/** Whether the tree of a machine is spawnlet's; not if what is left of the spec does not tell. */
async function isTreeMade(text: string, { spec }: Places): Promise<boolean> {
  try {
    return (await parseMachine(text, spec)).from.kind !== 'directory';
  } catch (error) {
    if (!(error instanceof SpawnletError)) throw error;
    const { from } = shownFields(text);
    return from !== '' && !from.startsWith('dir:');
  }
}

/**
 * Removes a machine, also one whose spec cannot be read; one that runs only with `force`, which kills it. A tree that spawnlet has
 * not made stays.
 */
export async function* remove(
  deps: MachineDependencies,
  { name, force }: Extract<MachineChange, { do: 'remove' }>,
  signal: AbortSignal,
): Parts {
  const { files } = deps.host;
  const places = placesOf(parseMachineName(name));
  const text = await files.read(places.spec);
  if (text === undefined) throw noMachine(name);
  const { tree, enabled } = await besideSpec(files, places);
  if (!force) await refuseRunning(deps, name, 'removed', signal);
  await using _network = await lockNetwork(deps.host.locks, signal);
  const others = await neighboursOf(files, name);
  const isKept = tree.kind === 'plain' && !(await isTreeMade(text, places));
  yield plan(planRemove(name, { tree: isKept ? 'kept' : tree.kind, enabled, network: natRemoval(others) }));
  if (isKept) yield note(`its tree ${places.tree} stays: it was there before spawnlet`);
}
