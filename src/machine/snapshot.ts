import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import type { Host } from '../host/host.ts';
import { canSnapshot, ownBytes } from '../host/subvolume.ts';
import type { MachineChange, SnapshotRow } from './api.ts';
import { type MachineDependencies, type Parts, plan } from './change.ts';
import { refuseRunning } from './job.ts';
import { parseSnapshotName } from './names.ts';
import { getMade, type Made } from './observe.ts';
import { hidden, type Places, placesOf } from './places.ts';
import { duringStandstill, standstillOf } from './standstill.ts';
import type { MachineStep } from './step.ts';

type Of<D extends MachineChange['do']> = Extract<MachineChange, { do: D }>;

/** What is kept beside the tree of a snapshot. */
interface SnapshotRecord {
  readonly version: 1;
  /** Milliseconds since 1970. */
  readonly created: number;
}

function snapshotPlaces(name: string, snapshot: string) {
  const directory = `${placesOf(name).snapshots}/${parseSnapshotName(snapshot)}`;
  return {
    directory,
    /** Of an overlay what it had changed since its base, else all of it. */
    tree: `${directory}/tree`,
    /** The machine's spec as it was. */
    spec: `${directory}/machine.yaml`,
    record: `${directory}/record.json`,
  };
}

/** Where a snapshot lies. Throws `ERR_NO_SNAPSHOT`. */
export async function getSnapshot(
  files: Files,
  name: string,
  snapshot: string,
): Promise<ReturnType<typeof snapshotPlaces>> {
  const places = snapshotPlaces(name, snapshot);
  if (await files.look(places.record)) return places;
  throw new SpawnletError('ERR_NO_SNAPSHOT', `machine ${name} has no snapshot ${JSON.stringify(snapshot)}`, {
    hint: `spawnlet machine snapshots ${name} lists them`,
  });
}

/** Names of the snapshots of a machine. */
export const snapshotNames = (files: Files, name: string): Promise<string[]> =>
  files.list(placesOf(name).snapshots);

/** The snapshots of a machine, oldest first. Throws `ERR_NO_MACHINE`. */
export async function listSnapshots(
  host: Pick<Host, 'files' | 'children'>,
  name: string,
  sizes: 'measured' | 'left out',
  signal: AbortSignal,
): Promise<SnapshotRow[]> {
  const { files } = host;
  await getMade(files, name);
  const rows = (await snapshotNames(files, name)).map(async (snapshot): Promise<SnapshotRow[]> => {
    const { record, tree } = snapshotPlaces(name, snapshot);
    const text = await files.read(record);
    if (text === undefined) return [];
    const { created } = JSON.parse(text) as SnapshotRecord;
    if (sizes === 'left out') return [{ name: snapshot, created }];
    return [{ name: snapshot, created, size: await ownBytes(host, tree, signal) }];
  });
  return (await Promise.all(rows)).flat().sort((one, other) => one.created - other.created);
}

/** What a machine would lose with its tree: all that lies over its base, or everything. */
const ownTree = ({ layers, tree }: Made, places: Places): string =>
  layers?.upper ?? (tree.kind === 'link' ? tree.path : places.tree);

/** A copy of a tree, at once where the file system can. */
async function copyStep(files: Files, work: Omit<CopyStep, 'do'>): Promise<CopyStep> {
  return { do: (await canSnapshot(files, work.from, work.path)) ? 'snapshot-tree' : 'copy-tree', ...work };
}

type CopyStep = Extract<MachineStep, { do: 'copy-tree' | 'snapshot-tree' }>;

/** Keeps a machine as it is, to come back to; it is stopped, or frozen meanwhile. */
export async function* snapshot(
  deps: MachineDependencies,
  { name, snapshot: label }: Of<'snapshot'>,
  signal: AbortSignal,
): Parts {
  const { files, clock } = deps.host;
  const made = await getMade(files, name);
  const machine = placesOf(name);
  const places = snapshotPlaces(name, label);
  if (await files.look(places.record))
    throw new SpawnletError('ERR_NAME_TAKEN', `machine ${name} has a snapshot ${label} already`, {
      hint: 'choose another name',
    });
  const standstill = await standstillOf(deps, name, 'snapshot', signal);
  const record: SnapshotRecord = { version: 1, created: clock.now() };
  const copy = await copyStep(files, { name, from: ownTree(made, machine), path: places.tree });
  yield plan({
    title: `snapshot ${label} of machine ${name}`,
    ifInterrupted: 'undo',
    steps: [
      { do: 'make-directory', path: machine.snapshots, mode: 0o700 },
      { do: 'make-directory', path: places.directory, mode: 0o700, owns: 'everything' },
      ...duringStandstill(standstill, [copy]),
      {
        do: 'write-file',
        path: places.spec,
        content: (await files.read(machine.spec)) ?? '',
        mode: 0o600,
      },
      { do: 'write-file', path: places.record, content: `${JSON.stringify(record)}\n`, mode: 0o600 },
    ],
  });
}

/** Makes a machine that is stopped what a snapshot has kept; the snapshot stays. */
export async function* restore(
  deps: MachineDependencies,
  { name, snapshot: label }: Of<'restore'>,
  signal: AbortSignal,
): Parts {
  const { files } = deps.host;
  const made = await getMade(files, name);
  const kept = await getSnapshot(files, name, label);
  await refuseRunning(deps, name, 'restored', signal);
  if (made.tree.kind === 'link')
    throw new SpawnletError('ERR_MACHINE_TREE', `${made.tree.path} is yours, and not replaced`, {
      hint: `spawnlet machine clone ${name}/${label} NEW makes a machine of the snapshot`,
    });
  const machine = placesOf(name);
  const path = ownTree(made, machine);
  const [fresh, aside] = [hidden(path, 'restored'), hidden(path, 'replaced')];
  const title = `restore machine ${name} from ${label}`;
  yield plan({
    title,
    ifInterrupted: 'undo',
    steps: [
      // Of a restoration that was cut off.
      { do: 'remove-machine-tree', path: fresh },
      await copyStep(files, { name, from: kept.tree, path: fresh }),
    ],
  });
  // The copy took its time.
  await refuseRunning(deps, name, 'restored', signal);
  const overlay: MachineStep[] = made.layers
    ? [
        { do: 'remove', path: machine.work },
        { do: 'make-directory', path: machine.work, mode: 0o700 },
        { do: 'start-unit', name: machine.mountUnit },
      ]
    : [];
  yield plan({
    title,
    ifInterrupted: 'finish',
    steps: [
      ...(made.layers ? [{ do: 'stop-unit', name: machine.mountUnit } as const] : []),
      { do: 'replace-tree', path, by: fresh, aside },
      { do: 'remove-machine-tree', path: aside },
      ...overlay,
    ],
  });
}

export async function* removeSnapshot(
  deps: MachineDependencies,
  { name, snapshot: label }: Of<'remove-snapshot'>,
): Parts {
  const { files } = deps.host;
  await getMade(files, name);
  const { directory, record } = await getSnapshot(files, name, label);
  yield plan({
    title: `rm snapshot ${label} of machine ${name}`,
    ifInterrupted: 'finish',
    steps: [
      // Without its record it is no snapshot, however much of its tree is left.
      { do: 'remove', path: record },
      { do: 'remove-machine-tree', path: directory },
    ],
  });
}
