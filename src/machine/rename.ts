import { machinesDirectory } from '../names.ts';
import { lockNetwork } from '../network/nat.ts';
import type { MachineChange } from './api.ts';
import { type MachineDependencies, type Parts, plan } from './change.ts';
import { isInMemory, refuseTaken } from './create.ts';
import { refuseRunning } from './job.ts';
import { keptLines } from './kept.ts';
import { type Layers, mountUnit } from './mount-unit.ts';
import { parseMachineName } from './names.ts';
import { getMade } from './observe.ts';
import { type Places, placesOf } from './places.ts';
import { directorySteps, mountSteps, settingsSteps } from './plan.ts';
import { desiredOf } from './prepare.ts';
import type { MachineStep } from './step.ts';

/** Gives a machine that is stopped another name: its files, its tree, its host name. */
export async function* rename(
  deps: MachineDependencies,
  { name, to }: Extract<MachineChange, { do: 'rename' }>,
  signal: AbortSignal,
): Parts {
  const { host } = deps;
  const [old, next] = [placesOf(name), placesOf(parseMachineName(to))];
  const made = await getMade(host.files, name);
  await refuseRunning(deps, name, 'renamed', signal);
  await refuseTaken(deps, to);
  const spec = { ...made.spec, name: to };
  const kept = await keptLines(host.files, name);
  await using _network = await lockNetwork(host.locks, signal);
  const desired = await desiredOf(host, spec, made, kept, signal, { renamed: name });
  const { layers, tree } = made;
  const loaded = await isInMemory(deps, to, signal);
  const moved = (): MachineStep[] => {
    if (layers) return mountSteps(next, layers.lower, loaded);
    return tree.kind === 'link'
      ? [
          { do: 'make-link', path: next.tree, target: tree.path },
          { do: 'remove', path: old.tree },
        ]
      : [{ do: 'move-tree', path: old.tree, to: next.tree }];
  };
  yield plan({
    title: `rename machine ${name} to ${to}`,
    ifInterrupted: 'finish',
    steps: [
      ...(made.enabled ? [{ do: 'disable-unit', name: old.unit } as const] : []),
      ...(layers ? unmountSteps(old, next, layers) : []),
      { do: 'move-tree', path: old.state, to: next.state },
      // With drop-ins by hand.
      { do: 'move-tree', path: old.dropIns, to: next.dropIns },
      ...directorySteps(desired),
      ...moved(),
      ...settingsSteps(desired, next),
      { do: 'remove', path: old.settings },
      { do: 'write-guest', machine: to, root: next.tree, files: desired.guest, tree: 'kept' },
      { do: 'write-file', path: next.spec, content: desired.document, mode: 0o600 },
      ...(made.enabled ? [{ do: 'enable-unit', name: next.unit } as const] : []),
      { do: 'reset-failed-unit', name: old.unit },
    ],
  });
}

/** Mount units tell which bases are in use: the new one is there before the old one goes. */
export function unmountSteps(old: Places, next: Places, { lower }: Pick<Layers, 'lower'>): MachineStep[] {
  const layers: Layers = { lower, upper: next.upper, work: next.work };
  const content = mountUnit(next.tree.slice(machinesDirectory.length + 1), layers);
  return [
    { do: 'write-file', path: next.mountFile, content, mode: 0o644 },
    { do: 'stop-unit', name: old.mountUnit },
    { do: 'remove', path: old.mountFile },
    { do: 'remove-directory', path: old.tree },
  ];
}
