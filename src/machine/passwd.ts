import type { MachineChange } from './api.ts';
import { type MachineDependencies, type Parts, plan } from './change.ts';
import { guestOs } from './guest/os.ts';
import { runningOf } from './job.ts';
import { getMade, isUp, unitState } from './observe.ts';
import { passwordStep, setPassword } from './password.ts';
import { placesOf } from './places.ts';
import { mountStep, treeOfMachine, viewTree } from './tree-view.ts';

/** Gives a user of a machine a password: in its tree, or by its own programs while it runs. */
export async function* passwd(
  deps: MachineDependencies,
  { name, user, password }: Extract<MachineChange, { do: 'passwd' }>,
  signal: AbortSignal,
): Parts {
  const { host } = deps;
  const made = await getMade(host.files, name);
  const places = placesOf(name);
  using view = await viewTree(treeOfMachine(made));
  const os = await guestOs(view.path, { sshKeys: [], users: [], copy: [], run: [] }, host.files);
  const step = await passwordStep(name, places.tree, os, user, password, host, signal);
  if (!isUp(await unitState(await deps.systemd(), places.unit, signal))) {
    yield plan({
      title: `passwd ${user} of machine ${name}`,
      ifInterrupted: 'undo',
      steps: [...mountStep(made), step],
    });
    return;
  }
  yield {
    do: 'job',
    shown: [step],
    async run(wanted) {
      await setPassword(host, await runningOf(deps, name, wanted), user, password, wanted);
      return [];
    },
  };
}
