import type { Plan } from '../host/apply.ts';
import type { HostStep } from '../host/step.ts';
import { machineStateDirectory, machinesDirectory, nspawnSettings, stateDirectory } from '../names.ts';
import type { NetworkLines } from '../network/lines.ts';
import { machineUnit, serviceDropIn } from './drop-in.ts';
import type { GuestFile } from './guest/file.ts';
import type { MachineFacts, Tree } from './lines.ts';
import { type Layers, mountUnit } from './mount-unit.ts';
import { nspawnFile } from './nspawn-file.ts';
import { hidden, type Places, placesOf } from './places.ts';
import { runtimeStores } from './profiles.ts';
import type { MachineLimits, MachineSpec, Mount } from './spec.ts';
import { duringStandstill, type Standstill } from './standstill.ts';
import type { LiveProperty, MachineStep } from './step.ts';

/** How the tree of a new machine comes to be. */
export type NewTree =
  /** Lies over bases that nobody writes to. */
  | { readonly kind: 'clone'; readonly lower: readonly string[]; readonly mode: number }
  /** Lies over the same bases as another machine's, with a copy of what that has changed. */
  | { readonly kind: 'clone-of-clone'; readonly lower: readonly string[]; readonly upper: string }
  /** Is a copy of another; or a snapshot, which the file system makes at once. */
  | { readonly kind: 'copy' | 'snapshot'; readonly from: string }
  /** Was made beside its place. */
  | { readonly kind: 'move'; readonly from: string }
  /** Is there, and stays when the machine goes. */
  | { readonly kind: 'link'; readonly path: string };

/** A machine as it shall be, with all that its files follow from. */
export interface Desired {
  readonly spec: MachineSpec;
  /** The spec as it is kept. */
  readonly document: string;
  readonly facts: MachineFacts;
  readonly network: NetworkLines;
  /** What is written into its tree. */
  readonly guest: readonly GuestFile[];
  /** Machines that start after this one at boot. */
  readonly before: readonly string[];
}

/** What is there of it. */
export type Present =
  | {
      readonly kind: 'nothing';
      readonly tree: NewTree;
      /** Of the machine that is copied. */
      readonly standstill?: Standstill;
      /** systemd has units of the name in memory, with what files said that are gone. */
      readonly loaded: boolean;
      /** Whether it is to run: systemd has its start in the queue when it is made. */
      readonly start: boolean;
    }
  | {
      readonly kind: 'machine';
      readonly enabled: boolean;
      /** systemd has its unit in memory, with what the files said then. */
      readonly loaded: boolean;
      readonly up: boolean;
      readonly limits: MachineLimits;
      readonly mounts: readonly Mount[];
      /** Whether it has a user namespace, or had one when its files were written. */
      readonly isMapped: boolean;
    };

const directory = (path: string, mode: number): HostStep => ({ do: 'make-directory', path, mode });
const file = (path: string, content: string, mode = 0o644): HostStep => ({
  do: 'write-file',
  path,
  content,
  mode,
});

/** What makes a machine, or makes it into what the spec says. Applied twice, nothing is left to do. */
export function planMachine(desired: Desired, present: Present): Plan<MachineStep> {
  const { spec } = desired;
  const places = placesOf(spec.name);
  const isNew = present.kind === 'nothing';
  return {
    title: `${isNew ? 'create' : 'change'} machine ${spec.name}`,
    ifInterrupted: 'undo',
    steps: [
      directory(stateDirectory, 0o700),
      directory(machineStateDirectory, 0o700),
      isNew
        ? { do: 'make-directory', path: places.state, mode: 0o700, owns: 'everything' }
        : directory(places.state, 0o700),
      ...directorySteps(desired),
      ...(isNew ? treeSteps(places, present) : []),
      ...settingsSteps(desired, places),
      ...(isNew && isClone(present.tree) ? mountedSteps(places, present.loaded) : []),
      ...guestSteps(desired, places, isNew),
      file(places.spec, desired.document, 0o600),
      ...enableSteps(spec, places, present),
      ...(isNew ? beginSteps(desired, places, present) : liveSteps(desired, places, present)),
    ],
  };
}

/** What a machine's files refer to outside of it. */
export const directorySteps = (desired: Desired): MachineStep[] => [
  ...storeSteps(desired),
  ...desired.network.hostSteps,
];

/** An overlay cannot lie on an overlay: containers in a machine that is one get directories beside it. */
function storeSteps({ spec, facts }: Desired): MachineStep[] {
  if (!spec.profiles.includes('nested') || facts.tree.kind !== 'overlay') return [];
  const stores = runtimeStores(spec.name).map(({ source }) => source);
  const [first = ''] = stores;
  return [first.slice(0, first.lastIndexOf('/')), ...stores].map(path => directory(path, 0o755));
}

const reloadSteps = (name: string, loaded: boolean): MachineStep[] =>
  loaded ? [{ do: 'reload-manager', name }] : [];

const beginSteps = (
  { spec: { name } }: Desired,
  { unit }: Places,
  { loaded, start }: Extract<Present, { kind: 'nothing' }>,
): MachineStep[] => [
  ...reloadSteps(unit, loaded),
  ...(start ? [{ do: 'begin-machine', name } as const] : []),
];

function treeSteps(
  places: Places,
  { tree, standstill }: Extract<Present, { kind: 'nothing' }>,
): MachineStep[] {
  const name = places.tree.slice(machinesDirectory.length + 1);
  const copy = (from: string, path: string): MachineStep => ({ do: 'copy-tree', name, from, path });
  const parent = directory(machinesDirectory, 0o700);
  switch (tree.kind) {
    case 'link':
      return [parent, { do: 'make-link', path: places.tree, target: tree.path }];
    case 'move':
      return [parent, { do: 'move-tree', path: tree.from, to: places.tree }];
    case 'copy':
      return [parent, ...duringStandstill(standstill, [copy(tree.from, places.tree)])];
    case 'snapshot': {
      const snapshot: MachineStep = { do: 'snapshot-tree', name, from: tree.from, path: places.tree };
      return [parent, ...duringStandstill(standstill, [snapshot])];
    }
    case 'clone':
      return [directory(places.upper, tree.mode), ...mountFileSteps(places, tree.lower)];
    case 'clone-of-clone':
      return [
        ...duringStandstill(standstill, [copy(tree.upper, places.upper)]),
        ...mountFileSteps(places, tree.lower),
      ];
  }
}

/** The tree is mounted at once, to be written into; and stays so. */
export const mountSteps = (places: Places, lower: readonly string[], loaded: boolean): MachineStep[] => [
  ...mountFileSteps(places, lower),
  ...mountedSteps(places, loaded),
];

const isClone = ({ kind }: NewTree) => kind === 'clone' || kind === 'clone-of-clone';

/** After all files of units: systemd reads their directories anew for the first unit that it does not know. */
const mountedSteps = ({ mountUnit: name }: Places, loaded: boolean): MachineStep[] => [
  ...reloadSteps(name, loaded),
  { do: 'start-unit', name, ...(!loaded && { fresh: true }) },
];

function mountFileSteps(places: Places, lower: readonly string[]): MachineStep[] {
  const layers: Layers = { lower, upper: places.upper, work: places.work };
  const name = places.tree.slice(machinesDirectory.length + 1);
  return [
    directory(places.work, 0o700),
    directory(machinesDirectory, 0o700),
    directory(places.tree, 0o755),
    file(places.mountFile, mountUnit(name, layers)),
  ];
}

export function settingsSteps({ spec, network, facts, before }: Desired, places: Places): MachineStep[] {
  const ordered: NetworkLines = {
    ...network,
    unit: [...network.unit, ...before.map(name => ['Before', machineUnit(name)] as const)],
  };
  return [
    directory(nspawnSettings, 0o755),
    file(places.settings, nspawnFile(spec, network, facts)),
    directory(places.dropIns, 0o755),
    file(places.dropIn, serviceDropIn(spec, ordered, facts)),
  ];
}

function guestSteps({ spec, guest, facts }: Desired, places: Places, isNew: boolean): MachineStep[] {
  if (guest.length === 0) return [];
  const mount: MachineStep[] =
    facts.tree.kind === 'overlay' && !isNew ? [{ do: 'start-unit', name: places.mountUnit }] : [];
  // A tree that is booted where it lies is somebody's: what it was comes back.
  const tree = isNew && spec.from.kind !== 'directory' ? 'new' : 'kept';
  return [...mount, { do: 'write-guest', machine: spec.name, root: places.tree, files: guest, tree }];
}

/** Where systemd keeps what `set-property --runtime` says. */
const runtimeControl = '/run/systemd/system.control';

/** What the links of enabled machines hang on; a preset of most distributions. */
const machinesTarget = 'machines.target';

function enableSteps(spec: MachineSpec, { unit }: Places, present: Present): MachineStep[] {
  const was = present.kind === 'machine' && present.enabled;
  if (spec.enabled)
    return [
      { do: 'enable-unit', name: machinesTarget },
      { do: 'enable-unit', name: unit },
    ];
  return was ? [{ do: 'disable-unit', name: unit }] : [];
}

/** What systemd has for no limit. */
const unlimited = String(0xffff_ffff_ffff_ffffn);

/** Limits as D-Bus has them, as `systemctl set-property` names its drop-ins, and what the stock unit has. */
const live: readonly {
  readonly property: string;
  readonly file: string;
  readonly value: (limits: MachineLimits) => string;
}[] = [
  { property: 'MemoryMax', file: 'MemoryMax', value: ({ memory }) => String(memory ?? unlimited) },
  {
    property: 'CPUQuotaPerSecUSec',
    file: 'CPUQuota',
    value: ({ cpus }) =>
      cpus === undefined ? unlimited : String(Math.max(1, Math.round(cpus * 100)) * 10_000),
  },
  { property: 'IOWeight', file: 'IOWeight', value: ({ ioWeight }) => String(ioWeight ?? unlimited) },
  { property: 'TasksMax', file: 'TasksMax', value: ({ tasks }) => String(tasks ?? 16_384) },
];

/** The limits that are not what they were, as properties of a unit that runs. */
export const changedLimits = (before: MachineLimits, after: MachineLimits): LiveProperty[] =>
  live.flatMap(({ property, value }) =>
    value(before) === value(after) ? [] : [{ name: property, value: value(after) }],
  );

/** Limits that were set while a machine ran, in drop-ins of systemd's own that last until the host boots again. */
const runtimeLimits = ({ unit }: Places): MachineStep[] =>
  live.map(({ file: name }) => ({ do: 'remove', path: `${runtimeControl}/${unit}.d/50-${name}.conf` }));

/** Not all versions of systemd pass limits on to the kernel as they read their files: 252 does, 257 does not. */
function liveSteps(
  { spec }: Desired,
  places: Places,
  present: Extract<Present, { kind: 'machine' }>,
): MachineStep[] {
  const properties = present.up ? changedLimits(present.limits, spec.limits) : [];
  return [
    ...(present.up ? [] : runtimeLimits(places)),
    // Before the files are read: systemd 252 else takes its own new drop-in for one that it has not read.
    ...(properties.length > 0 ? [{ do: 'set-properties', name: places.unit, properties } as const] : []),
    ...(present.loaded ? [{ do: 'reload-manager', name: places.unit } as const] : []),
    ...(present.up ? addedBinds(present.mounts, spec.mounts, present.isMapped) : []).map(
      ({ source, target, readOnly }) => ({
        do: 'bind-live' as const,
        name: spec.name,
        source,
        path: target,
        readOnly,
      }),
    ),
  ];
}

type Bind = Extract<Mount, { kind: 'bind' }>;

const same = (one: unknown, other: unknown) =>
  process.getBuiltinModule('node:util').isDeepStrictEqual(one, other);

/** Binds that a machine that runs can be given at once: systemd-machined mounts nothing into a user namespace. */
export function addedBinds(before: readonly Mount[], after: readonly Mount[], isMapped: boolean): Bind[] {
  if (isMapped) return [];
  return after.flatMap(mount =>
    mount.kind === 'bind' && !before.some(other => same(other, mount)) ? [mount] : [],
  );
}

/** What changes only when the machine starts anew: all in its files that is no limit of its unit. */
export function needsRestart(before: MachineSpec, after: MachineSpec, isMapped: boolean): boolean {
  const added = addedBinds(before.mounts, after.mounts, isMapped);
  const rest = (spec: MachineSpec): unknown => {
    const { nofile, nproc } = spec.limits;
    const { enabled: _enabled, autostart: _autostart, firstBoot: _firstBoot, from: _from, ...others } = spec;
    // What is undefined is not there.
    const mounts = spec.mounts.filter(mount => !added.some(bind => bind === mount));
    return JSON.parse(JSON.stringify({ ...others, mounts, limits: { nofile, nproc } }));
  };
  return !same(rest(before), rest(after));
}

function treeRemoval(places: Places, tree: Tree['kind'] | 'kept'): MachineStep[] {
  switch (tree) {
    case 'kept':
      return [];
    case 'link':
      return [{ do: 'remove', path: places.tree }];
    case 'plain':
      return [{ do: 'remove-machine-tree', path: places.tree }];
    case 'overlay':
      return [
        { do: 'stop-unit', name: places.mountUnit },
        { do: 'remove', path: places.mountFile },
        { do: 'remove-directory', path: places.tree },
      ];
  }
}

/** What removes a machine: what {@link planMachine} made and nothing else. */
export function planRemove(
  name: string,
  what: {
    /** `kept`: it was there before spawnlet, and stays. */
    readonly tree: Tree['kind'] | 'kept';
    readonly enabled: boolean;
    readonly network: readonly MachineStep[];
  },
): Plan<MachineStep> {
  const places = placesOf(name);
  return {
    title: `rm machine ${name}`,
    ifInterrupted: 'finish',
    steps: [
      { do: 'kill-unit', name: places.unit },
      ...(what.enabled ? [{ do: 'disable-unit', name: places.unit } as const] : []),
      ...treeRemoval(places, what.tree),
      { do: 'remove', path: places.leftByNspawn.lock },
      ...places.leftByNspawn.directories.map(path => ({ do: 'remove-directory' as const, path })),
      { do: 'remove-machine-tree', path: hidden(places.tree, 'flat') },
      { do: 'remove-machine-tree', path: hidden(places.tree, 'restored') },
      { do: 'remove', path: places.dropIn },
      { do: 'remove-directory', path: places.dropIns },
      ...runtimeLimits(places),
      { do: 'remove-directory', path: `${runtimeControl}/${places.unit}.d` },
      { do: 'remove', path: places.settings },
      ...what.network,
      { do: 'remove-machine-tree', path: places.state },
      { do: 'reset-failed-unit', name: places.unit },
      // A target that was read with the link in place goes on wanting the unit, and so keeps it in memory.
      ...(what.enabled ? [{ do: 'reload-manager', name: places.unit } as const] : []),
    ],
  };
}
