import { statfs } from 'node:fs/promises';
import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import { machineStateDirectory, unitPath } from '../names.ts';
import type { SystemdClient } from '../systemd/client.ts';
import { parseUnit, valuesOf } from '../systemd/unit-file.ts';
import type { Tree } from './lines.ts';
import type { Layers } from './mount-unit.ts';
import { parseMachineName } from './names.ts';
import { type Places, placesOf } from './places.ts';
import type { MachineSpec } from './spec.ts';

/** A machine as its files say it is. */
export interface Made {
  readonly spec: MachineSpec;
  readonly tree: Tree;
  /** Of a tree that is an overlay. */
  readonly layers?: Layers;
  /** Whether it starts at boot. */
  readonly enabled: boolean;
}

/** `idle`: systemd has it not in memory. */
export type UnitState = 'idle' | 'active' | 'activating' | 'deactivating' | 'inactive' | 'failed';

export const isUp = (state: UnitState): boolean =>
  state === 'active' || state === 'activating' || state === 'deactivating';

/** Undefined if there is no machine of that name. */
export async function findMade(files: Files, name: string): Promise<Made | undefined> {
  const places = placesOf(parseMachineName(name));
  const text = await files.read(places.spec);
  if (text === undefined) return undefined;
  const { parseMachine } = await import('./document.ts');
  const [spec, rest] = await Promise.all([parseMachine(text, places.spec), besideSpec(files, places)]);
  return { spec, ...rest };
}

/** What is known of a machine without its spec. */
export async function besideSpec(files: Files, places: Places): Promise<Omit<Made, 'spec'>> {
  const [tree, mount, enabled] = await Promise.all([
    files.look(places.tree),
    files.read(places.mountFile),
    files.look(places.enabled),
  ]);
  const layers = mount === undefined ? undefined : parseLayers(mount);
  return {
    tree: layers
      ? { kind: 'overlay' }
      : tree?.kind === 'link'
        ? { kind: 'link', path: tree.target }
        : { kind: 'plain' },
    ...(layers && { layers }),
    enabled: enabled !== undefined,
  };
}

/** {@link findMade}, or `ERR_NO_MACHINE`. */
export async function getMade(files: Files, name: string): Promise<Made> {
  const made = await findMade(files, name);
  if (made) return made;
  throw noMachine(name);
}

export const noMachine = (name: string): SpawnletError =>
  new SpawnletError('ERR_NO_MACHINE', `there is no machine ${JSON.stringify(name)}`, {
    hint: 'spawnlet machine ls lists them',
  });

/** All that spawnlet has made, by name. */
export const namesOf = (files: Files): Promise<string[]> => files.list(machineStateDirectory);

/** What a mount unit of a machine's tree is put together of; undefined if it is no overlay. */
export function parseLayers(text: string): Layers | undefined {
  const options = valuesOf(parseUnit(text), 'Mount', 'Options').at(-1) ?? '';
  const of = (key: string) =>
    options
      .split(',')
      .find(word => word.startsWith(`${key}=`))
      ?.slice(key.length + 1);
  const [lower, upper, work] = [of('lowerdir'), of('upperdir'), of('workdir')];
  if (lower === undefined || upper === undefined || work === undefined) return undefined;
  return { lower: lower.split(':').toReversed(), upper, work };
}

export async function unitState(
  systemd: SystemdClient,
  unit: string,
  signal: AbortSignal,
): Promise<UnitState> {
  if (!(await systemd.isLoaded(unit, signal))) return 'idle';
  const state = await systemd.unitProperty(unit, 'ActiveState', signal);
  return state === 'reloading' || state === 'refreshing' ? 'active' : (state as UnitState);
}

/** Where something lies that a new machine of this name would write over; undefined if nothing is in the way. */
export async function inTheWay(files: Files, places: Places): Promise<string | undefined> {
  const paths = [
    places.tree,
    places.settings,
    places.dropIn,
    // An unit of the whole name stands before the template.
    ...unitPath.flatMap(directory => [`${directory}/${places.unit}`, `${directory}/${places.mountUnit}`]),
  ];
  for (const path of paths) if (await files.look(path)) return path;
  return undefined;
}

/** File systems whose mounts can be shown with other owners; mount_setattr(2). */
const mappable: Readonly<Record<number, string>> = {
  0xef53: 'ext4',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0xf2f52010: 'f2fs',
  0x01021994: 'tmpfs',
  0xe0f5e1e2: 'erofs',
};

/** Whether the file system of a tree can be id-mapped. */
export async function isMappableTree(path: string): Promise<boolean> {
  return (await statfs(path)).type in mappable;
}

/** Whether the settings of a machine give it a user namespace, as the stock unit does where they say nothing. */
export async function isMapped(files: Files, { settings }: Places): Promise<boolean> {
  const users = valuesOf(parseUnit((await files.read(settings)) ?? ''), 'Exec', 'PrivateUsers').at(-1);
  return users !== 'no';
}
