import type { Host } from '../host/host.ts';
import type { Executors } from '../host/step.ts';
import type { SystemdClient } from '../systemd/client.ts';
import { hidden } from './places.ts';
import { copyUnit, type OwnMachineStep } from './step.ts';

/** cp(1) with all that a tree has; other file systems that are mounted in it are left out. */
const copyWords = ['cp', '--archive', '--reflink=auto', '--one-file-system', '--'];
const copyProgram = '/usr/bin/cp';

const partOf = (path: string) => hidden(path, 'part');

/** Executors of {@link OwnMachineStep}. */
export function machineExecutors(
  { files }: Host,
  connect: () => Promise<SystemdClient>,
): Executors<OwnMachineStep> {
  const undoing = () => AbortSignal.timeout(120_000);
  const isThere = async (path: string) => (await files.look(path)) !== undefined;

  /** Ends a copy that is under way, and takes away what there is of it. */
  async function endCopy(step: { readonly name: string; readonly path: string }, signal: AbortSignal) {
    const client = await connect();
    if (await client.isLoaded(copyUnit(step.name), signal))
      await client.stopUnit(copyUnit(step.name), 'replace', signal);
    await files.remove(partOf(step.path));
  }

  return {
    'copy-tree': {
      describe: step => `copy ${step.from} to ${step.path}`,
      satisfied: step => isThere(step.path),
      async apply(step, signal) {
        await endCopy(step, signal);
        const argv = [...copyWords, step.from, partOf(step.path)];
        const client = await connect();
        await client.startTransientUnit(
          copyUnit(step.name),
          [
            ['Description', 's', `Copy of ${step.from}`],
            ['Type', 's', 'oneshot'],
            ['CollectMode', 's', 'inactive-or-failed'],
            ['ExecStart', 'a(sasb)', [[copyProgram, argv, false]]],
          ],
          signal,
        );
        await files.move(partOf(step.path), step.path);
      },
      clean: endCopy,
      async undo(step) {
        await endCopy(step, undoing());
        await files.remove(step.path);
      },
    },
    'move-tree': {
      describe: step => `move ${step.path} to ${step.to}`,
      satisfied: async step => !(await isThere(step.path)),
      apply: step => files.move(step.path, step.to),
      async undo(step) {
        if (!(await isThere(step.path))) await files.move(step.to, step.path);
      },
    },
    'replace-tree': {
      describe: step => `put ${step.by} in the place of ${step.path}`,
      satisfied: async step => !(await isThere(step.by)),
      async apply(step) {
        // Where it was cut off between the two moves, nothing is at `path`.
        if (await isThere(step.path)) {
          await files.remove(step.aside);
          await files.move(step.path, step.aside);
        }
        await files.move(step.by, step.path);
      },
    },
    'remove-directory': {
      describe: step => `remove directory ${step.path}, if it is empty`,
      satisfied: async step => !(await isThere(step.path)) || (await files.list(step.path)).length > 0,
      apply: step => files.removeEmpty(step.path),
    },
    'freeze-unit': {
      describe: step => `freeze ${step.name}`,
      satisfied: async () => false,
      apply: async (step, signal) => (await connect()).freezeUnit(step.name, signal),
      undo: async step => (await connect()).thawUnit(step.name, undoing()),
    },
    'thaw-unit': {
      describe: step => `let ${step.name} go on`,
      satisfied: async () => false,
      apply: async (step, signal) => (await connect()).thawUnit(step.name, signal),
    },
  };
}
