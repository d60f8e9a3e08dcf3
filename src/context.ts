/** What commands work with: one host, and the executors of all rooms in one table. */

import type { ImageAccess } from './app/image.ts';
import type { AnyStep, Context } from './cli/context.ts';
import type { Applier, Watchers } from './host/apply.ts';
import type { SpawnletError } from './host/error.ts';
import type { Credential } from './image/credentials.ts';
import type { ImageStep } from './image/executors.ts';
import type { TreeStep } from './image/tree/executors.ts';
import type { OwnLabStep } from './lab/step.ts';
import type { WriteGuest } from './machine/guest/write.ts';
import type { OwnMachineStep } from './machine/step.ts';
import type { OwnBridgeStep } from './network/bridge.ts';
import type { CniStep } from './network/cni/executors.ts';
import type { LeaveBridge } from './network/leave.ts';
import type { PublishStep } from './network/publish.ts';
import type { OwnVolumeStep } from './pod/volumes/step.ts';
import type { IpcStep } from './pod/worker/ipc.ts';
import type { MountPointStep } from './pod/worker/mount-points.ts';
import type { MakeUsers } from './pod/worker/users.ts';

const caught: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Loaded once, when first asked for. */
function once<T>(load: () => Promise<T>): () => Promise<T> {
  let value: Promise<T> | undefined;
  return () => (value ??= load());
}

/** Makes what commands work with, for the command line `argv`; signals abort it. Loads next to nothing by itself. */
export async function makeContext(
  argv: readonly string[],
  watchers: Pick<Watchers, 'border'> = {},
): Promise<Context & AsyncDisposable> {
  const [{ realHost }, { ownWords }, names] = await Promise.all([
    import('./host/host.ts'),
    import('./host/process.ts'),
    import('./names.ts'),
  ]);
  const host = realHost(names.lockDirectory, `spawnlet ${argv.slice(0, 2).join(' ')}`);
  const abort = new AbortController();
  const { signal } = abort;
  let onSignal = (name: NodeJS.Signals) => abort.abort(new Interrupted(name));
  const handle = (name: NodeJS.Signals) => onSignal(name);
  for (const name of caught) process.on(name, handle);

  const closing: (() => Promise<void>)[] = [];
  let isOver = false;
  const systemd = once(async () => {
    const { SystemdClient } = await import('./systemd/client.ts');
    const client = await SystemdClient.connect({ signal });
    closing.push(() => client[Symbol.asyncDispose]());
    // The command has ended meanwhile.
    if (isOver) await client[Symbol.asyncDispose]();
    return client;
  });
  const store = once(async () => (await import('./image/store.ts')).openStore(names.storeDirectory, host));
  const listeners: Context['listeners'] = {};

  const openImage = async (reference: string, wanted: AbortSignal, credential?: Credential) => {
    const [{ openSource }, { parseReference }] = await Promise.all([
      import('./image/source-of.ts'),
      import('./image/reference.ts'),
    ]);
    const { tlsVerify, authFile } = context;
    const options = { host, env: process.env, tlsVerify, authFile, credential };
    return openSource(parseReference(reference), options, wanted);
  };

  const inUse = async () => {
    const { podsInUse } = await import('./pod/worker/in-use.ts');
    const [ofApps, ofPods] = await Promise.all([(await apps()).inUse(signal), podsInUse(host.files)]);
    const manifests = new Map(ofApps.manifests);
    for (const [digest, names] of ofPods.manifests)
      manifests.set(digest, [...(manifests.get(digest) ?? []), ...names]);
    return {
      manifests,
      layers: new Set([...ofApps.layers, ...ofPods.layers]),
    };
  };

  const unrecovered = once(async (): Promise<Applier<AnyStep>> => {
    const [{ makeApplier }, { hostExecutors, loadLater }, { systemdExecutors }] = await Promise.all([
      import('./host/apply.ts'),
      import('./host/step.ts'),
      import('./systemd/executors.ts'),
    ]);
    const imageSteps = once(async () =>
      (await import('./image/executors.ts')).imageExecutors({
        store: await store(),
        host,
        open: openImage,
        inUse,
        progress: event => listeners.progress?.(event),
        pulled: image => listeners.pulled?.(image),
        removed: removed => listeners.removed?.(removed),
      }),
    );
    const treeSteps = once(async () =>
      (await import('./image/tree/executors.ts')).treeExecutors({
        host,
        systemd,
        words,
        env: process.env,
        building: event => listeners.building?.(event),
      }),
    );
    const guestSteps = once(async () =>
      (await import('./machine/guest/write.ts')).guestExecutors(host.children),
    );
    const machineSteps = once(async () =>
      (await import('./machine/executors.ts')).machineExecutors(host, systemd),
    );
    const bridgeSteps = once(async () => (await import('./network/executors.ts')).bridgeExecutors(host));
    const cniSteps = once(async () =>
      (await import('./network/cni/executors.ts')).cniExecutors({ host, systemd }),
    );
    const ipcSteps = once(async () => (await import('./pod/worker/ipc.ts')).ipcExecutors(host));
    const mountPointSteps = once(async () =>
      (await import('./pod/worker/mount-points.ts')).mountPointExecutors(host),
    );
    const usersSteps = once(async () => (await import('./pod/worker/users.ts')).usersExecutors(host));
    const publishSteps = once(async () => (await import('./network/publish.ts')).publishExecutors(host));
    const volumeSteps = once(async () => {
      const { volumeExecutors } = await import('./pod/volumes/executors.ts');
      return volumeExecutors({
        host,
        objects: async () => {
          if (context.volumeObjects) return context.volumeObjects;
          throw new Error('only the agent writes the files of volumes');
        },
      });
    });
    const leaveSteps = once(async () => (await import('./network/leave.ts')).leaveExecutors(host));
    const labSteps = once(async () => (await import('./lab/step.ts')).labExecutors(host));
    return makeApplier<AnyStep>(
      {
        ...hostExecutors(host.files),
        ...systemdExecutors(systemd, () => listeners.queued?.()),
        ...loadLater<ImageStep>(
          { 'pull-image': true, 'remove-image': true, 'prune-images': true },
          imageSteps,
        ),
        ...loadLater<TreeStep>({ 'build-base': true, 'remove-base': true }, treeSteps),
        ...loadLater<WriteGuest>({ 'write-guest': true }, guestSteps),
        ...loadLater<OwnMachineStep>(
          {
            'copy-tree': true,
            'snapshot-tree': true,
            'pack-tree': true,
            'unpack-tree': true,
            'move-tree': true,
            'replace-tree': true,
            'remove-machine-tree': true,
            'remove-directory': true,
            'begin-machine': true,
            'set-properties': true,
            'bind-live': true,
            'freeze-unit': true,
            'thaw-unit': true,
            'hold-tree': true,
            'release-tree': true,
          },
          machineSteps,
        ),
        ...loadLater<OwnVolumeStep>(
          {
            'check-host-path': true,
            'write-volume': true,
            'mount-volume': true,
            'own-volume': true,
            'bind-subpath': true,
            'unmount-below': true,
            'remove-tree': true,
          },
          volumeSteps,
        ),
        ...loadLater<IpcStep>({ 'make-ipc': true, 'remove-namespace': true }, ipcSteps),
        ...loadLater<MountPointStep>(
          { 'make-mount-points': true, 'remove-mount-points': true },
          mountPointSteps,
        ),
        ...loadLater<MakeUsers>({ 'make-users': true }, usersSteps),
        ...loadLater<OwnBridgeStep>({ 'set-up-bridge': true, 'take-down-bridge': true }, bridgeSteps),
        ...loadLater<CniStep>(
          { 'make-netns': true, 'remove-netns': true, 'cni-add': true, 'cni-del': true },
          cniSteps,
        ),
        ...loadLater<PublishStep>({ 'publish-ports': true, 'unpublish-ports': true }, publishSteps),
        ...loadLater<LeaveBridge>({ 'leave-bridge': true }, leaveSteps),
        ...loadLater<OwnLabStep>(
          {
            'build-tree': true,
            'make-cgroups': true,
            'make-network': true,
            'remove-network': true,
            'open-egress': true,
            'close-egress': true,
            'start-lab': true,
            'end-lab': true,
          },
          labSteps,
        ),
      },
      host.files,
      host.locks,
      names.journalDirectory,
      {
        ...watchers,
        recovered: title => void process.stderr.write(`cleaned up after '${title}', which was cut off\n`),
        unrecovered: tellError,
      },
    );
  });
  const applier = once(async () => {
    const made = await unrecovered();
    await made.recover(signal);
    const { sweepLeases } = await import('./image/lease.ts');
    await sweepLeases(names.storeDirectory, host);
    const { sweepImports } = await import('./machine/imports.ts');
    await sweepImports(host);
    return made;
  });

  // Recovery itself asks what containers run from.
  const images = async (made: Applier<AnyStep>): Promise<ImageAccess> => ({
    store,
    open: openImage,
    apply: (step, wanted) =>
      made.apply(
        {
          title: `pull ${'reference' in step ? step.reference : ''}`,
          ifInterrupted: 'undo',
          steps: [step],
        },
        wanted,
      ),
  });
  const apps = once(async () => {
    const [{ Apps }, made] = await Promise.all([import('./app/app.ts'), unrecovered()]);
    return new Apps({ host, applier: made, systemd, words, ...(await images(made)) });
  });

  const words = ownWords();
  const context: Context & AsyncDisposable = {
    host,
    signal,
    env: process.env,
    words,
    listeners,
    volumeObjects: undefined,
    tlsVerify: true,
    authFile: undefined,
    applier,
    store,
    systemd,
    inUse,
    async apps() {
      await applier();
      return apps();
    },
    async images() {
      return images(await applier());
    },
    async machines() {
      const [{ Machines }, made] = await Promise.all([import('./machine/machines.ts'), applier()]);
      return new Machines({ host, applier: made, systemd });
    },
    takeSignals(handler) {
      onSignal = handler;
    },
    async [Symbol.asyncDispose]() {
      for (const name of caught) process.off(name, handle);
      isOver = true;
      await Promise.all(closing.map(close => close()));
    },
  };
  return context;
}

/** The user's SIGINT or SIGTERM: no error to tell, and the exit code that a shell gives it. */
export class Interrupted extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
    this.signal = signal;
  }
}

/** An error as people see it: what, its code, and what to do. */
export function tellError(error: SpawnletError): void {
  const hint = error.hint ? `\n  ${error.hint}` : '';
  process.stderr.write(`spawnlet: ${error.message} [${error.code}]${hint}\n`);
}
