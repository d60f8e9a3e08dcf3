import { basename } from 'node:path';
import { check } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { Executors } from '../host/step.ts';
import { removeTree, snapshotWords, withoutMounts } from '../host/subvolume.ts';
import type { SystemdClient } from '../systemd/client.ts';
import { literally } from '../systemd/escape.ts';
import { systemdExecutors } from '../systemd/executors.ts';
import { lockTree } from '../systemd/tree-lock.ts';
import { hidden, placesOf } from './places.ts';
import { copyUnit, type OwnMachineStep } from './step.ts';

/** cp(1) with all that a tree has. */
const copyWords = ['cp', '--archive', '--reflink=auto', '--'];

/** What a child works for, and where its work comes to lie. */
type Work = { readonly name: string; readonly path: string };

const partOf = (path: string) => hidden(path, 'part');

/** Executors of {@link OwnMachineStep}. */
export function machineExecutors(
  host: Host,
  connect: () => Promise<SystemdClient>,
): Executors<OwnMachineStep> {
  const { files } = host;
  const { 'kill-unit': kill } = systemdExecutors(connect);
  const undoing = () => AbortSignal.timeout(120_000);
  const isThere = async (path: string) => (await files.look(path)) !== undefined;

  /** Trees that this process keeps from being started. */
  const held = new Map<string, Disposable>();

  /** The lock of a process that was killed is free; its file goes. */
  async function release({ path }: { readonly path: string }): Promise<void> {
    const lock = held.get(path) ?? ((await isThere(path)) ? await lockTree(path) : undefined);
    held.delete(path);
    lock?.[Symbol.dispose]();
  }

  /** Ends a child that is under way, and takes away what there is of its work. */
  async function endChild(step: Work, signal: AbortSignal): Promise<void> {
    const client = await connect();
    if (await client.isLoaded(copyUnit(step.name), signal))
      await client.stopUnit(copyUnit(step.name), 'replace', signal);
    await removeTree(host, partOf(step.path));
  }

  async function takeBack(step: Work): Promise<void> {
    await endChild(step, undoing());
    await removeTree(host, step.path);
  }

  /** Runs a program as a unit, which leaves its work beside `path`, and puts that in its place when it is whole. */
  async function runAsUnit(
    step: Work,
    description: string,
    argv: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    await endChild(step, signal);
    const client = await connect();
    await client.startTransientUnit(
      copyUnit(step.name),
      [
        ['Description', 's', description],
        ['Type', 's', 'oneshot'],
        ['CollectMode', 's', 'inactive-or-failed'],
        ['ExecStart', 'a(sasb)', [[`/usr/bin/${argv[0]}`, literally(argv), false]]],
      ],
      signal,
    );
    await files.move(partOf(step.path), step.path);
  }

  return {
    'copy-tree': {
      describe: step => `copy ${step.from} to ${step.path}`,
      satisfied: step => isThere(step.path),
      async apply(step, signal) {
        const argv = withoutMounts(step.from, [...copyWords, step.from, partOf(step.path)]);
        await runAsUnit(step, `Copy of ${step.from}`, argv, signal);
      },
      clean: endChild,
      undo: takeBack,
    },
    'snapshot-tree': {
      describe: step => `make ${step.path} a snapshot of ${step.from}`,
      satisfied: step => isThere(step.path),
      async apply(step, signal) {
        const argv = snapshotWords(step.from, partOf(step.path));
        await runAsUnit(step, `Snapshot of ${step.from}`, argv, signal);
      },
      clean: endChild,
      undo: takeBack,
    },
    'pack-tree': {
      describe: step => `pack ${step.from} into ${step.path}`,
      satisfied: step => isThere(step.path),
      async apply(step, signal) {
        const { packWords } = await import('./archive.ts');
        const argv = packWords(step.from, step.spec, step.path, partOf(step.path));
        await runAsUnit(step, `Archive of ${step.from}`, withoutMounts(step.from, argv), signal);
      },
      clean: endChild,
      undo: takeBack,
    },
    'unpack-tree': {
      describe: step => `unpack ${step.from} to ${step.path}`,
      satisfied: step => isThere(step.path),
      async apply(step, signal) {
        const [{ unpackRootfs }, { treeMember }] = await Promise.all([
          import('../image/tree/rootfs.ts'),
          import('./archive.ts'),
        ]);
        const part = partOf(step.path);
        const [root, jail] = [`${part}/root`, `${part}/jail`];
        await files.remove(part);
        await files.makeDirectory(part, 0o700);
        for (const directory of [root, jail]) await files.makeDirectory(directory, 0o755);
        await unpackRootfs(host.children, step.from, { root, jail }, signal);
        if ((await files.look(`${root}/${treeMember}`))?.kind !== 'directory')
          throw new SpawnletError('ERR_TREE_ARCHIVE', `${step.from} has no directory ${treeMember}`, {
            hint: 'spawnlet machine export makes such archives',
          });
        await files.move(`${root}/${treeMember}`, step.path);
        await files.remove(part);
      },
      clean: step => files.remove(partOf(step.path)),
      async undo(step) {
        await files.remove(partOf(step.path));
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
          await removeTree(host, step.aside);
          await files.move(step.path, step.aside);
        }
        await files.move(step.by, step.path);
      },
    },
    'remove-machine-tree': {
      describe: step => `remove ${step.path}`,
      satisfied: async step => !(await isThere(step.path)),
      apply: step => removeTree(host, step.path),
    },
    'remove-directory': {
      describe: step => `remove directory ${step.path}, if it is empty`,
      satisfied: async step => !(await isThere(step.path)) || (await files.list(step.path)).length > 0,
      apply: step => files.removeEmpty(step.path),
    },
    'begin-machine': {
      describe: step => `start ${placesOf(step.name).unit}`,
      satisfied: async () => false,
      apply: async (step, signal) =>
        (await connect()).beginStart(placesOf(step.name).unit, 'replace', signal),
      async undo(step) {
        const { unit, leftByNspawn } = placesOf(step.name);
        const killed = { do: 'kill-unit', name: unit } as const;
        if (!(await kill.satisfied(killed))) await kill.apply(killed, undoing());
        await (await connect()).resetFailedUnit(unit, undoing());
        await files.remove(leftByNspawn.lock);
        for (const path of leftByNspawn.directories) if (await isThere(path)) await files.removeEmpty(path);
      },
    },
    'set-properties': {
      describe: step =>
        `set ${step.properties.map(({ name, value }) => `${name}=${value}`).join(' ')} of ${step.name}, which runs`,
      // What systemd says it has, it may not have passed on to the kernel.
      satisfied: async () => false,
      async apply(step, signal) {
        const client = await connect();
        const typed = step.properties.map(({ name, value }) => [name, 't', BigInt(value)] as const);
        await client.setUnitProperties(step.name, 'runtime', typed, signal);
      },
    },
    'bind-live': {
      describe: step => `bind ${step.source} to ${step.path} of ${step.name}, which runs`,
      satisfied: async () => false,
      async apply(step, signal) {
        const flags = ['--mkdir', ...(step.readOnly ? ['--read-only'] : [])];
        await check(host.children, ['machinectl', ...flags, 'bind', step.name, step.source, step.path], {
          signal,
        });
      },
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
    'hold-tree': {
      describe: step => `keep ${step.path} from being started`,
      satisfied: async () => false,
      apply: async step => {
        const lock = await lockTree(step.path);
        if (!lock)
          throw new SpawnletError('ERR_RUNNING', `the machine in ${step.path} has just been started`, {
            hint: `machinectl status ${basename(step.path)}`,
          });
        held.set(step.path, lock);
      },
      undo: release,
    },
    'release-tree': {
      describe: step => `let ${step.path} be started`,
      satisfied: async () => false,
      apply: release,
    },
  };
}
