import { SpawnletError } from '../host/error.ts';
import { lockBase } from '../image/tree/bases.ts';
import { clonedNetwork } from '../network/decide.ts';
import { lockNetwork } from '../network/nat.ts';
import { nameOf } from '../network/ports.ts';
import type { MachineChange, Password } from './api.ts';
import { type MachineDependencies, note, type Parts, plan } from './change.ts';
import { started } from './job.ts';
import { findMade, getMade, inTheWay, isMapped, isUp, type Made, unitState } from './observe.ts';
import { placesOf } from './places.ts';
import { needsRestart, planMachine } from './plan.ts';
import {
  atOnce,
  desiredOf,
  type Origin,
  originOfBase,
  originOfDirectory,
  originOfMachine,
  refuseOtherSource,
} from './prepare.ts';
import { refuseMissing } from './sources.ts';
import type { MachineSpec, TreeSource } from './spec.ts';
import { type Standstill, standstillOf } from './standstill.ts';
import { viewTree } from './tree-view.ts';

type Of<D extends MachineChange['do']> = Extract<MachineChange, { do: D }>;

/** Refuses a name that something else has: `ERR_NAME_TAKEN`. */
export async function refuseTaken({ host }: MachineDependencies, name: string): Promise<void> {
  const places = placesOf(name);
  if (await host.files.look(places.spec))
    throw new SpawnletError('ERR_NAME_TAKEN', `there is a machine ${name} already`, {
      hint: `choose another name, or: spawnlet machine rm ${name}`,
    });
  const path = await inTheWay(host.files, places);
  if (path === undefined) return;
  throw new SpawnletError('ERR_NAME_TAKEN', `the name ${name} is taken: ${path} is not spawnlet's`, {
    hint: `choose another name, or: spawnlet machine adopt ${name}`,
  });
}

/** The base that a source is built into, and the plan that makes it if it is not there. */
async function* build(
  { host }: MachineDependencies,
  spec: MachineSpec,
  signal: AbortSignal,
): AsyncGenerator<ReturnType<typeof plan>, string, undefined> {
  const [{ Bases }, { baseSteps, readRecipe }, { baseNameOf }] = await Promise.all([
    import('../image/tree/bases.ts'),
    import('../image/tree/inputs.ts'),
    import('../image/tree/recipe.ts'),
  ]);
  const recipe = await readRecipe(host, spec.from, spec.build ?? {}, signal);
  const base = baseNameOf(recipe);
  const steps = await baseSteps(new Bases(host.files), base, recipe);
  if (steps.length > 0) yield plan({ title: `base ${base}`, ifInterrupted: 'undo', steps });
  return base;
}

interface Found {
  readonly origin: Origin;
  readonly standstill?: Standstill;
  readonly base?: string;
}

async function originOfSource(
  deps: MachineDependencies,
  from: Extract<TreeSource, { kind: 'directory' | 'machine' }>,
  signal: AbortSignal,
): Promise<Found> {
  const { files } = deps.host;
  if (from.kind === 'directory') return { origin: await originOfDirectory(files, from.path) };
  const made = await getMade(files, from.name);
  return originFor(deps, made, signal);
}

async function originFor(deps: MachineDependencies, made: Made, signal: AbortSignal): Promise<Found> {
  const standstill = await standstillOf(deps, made.spec.name, 'copy', signal);
  return { origin: await atOnce(deps.host.files, originOfMachine(made)), standstill };
}

/** Whether systemd has units of a name in memory, as it has those that another unit asks for: machines.target at boot. */
export async function isInMemory(
  deps: MachineDependencies,
  name: string,
  signal: AbortSignal,
): Promise<boolean> {
  const systemd = await deps.systemd();
  const { unit, mountUnit } = placesOf(name);
  const loaded = await Promise.all([unit, mountUnit].map(each => systemd.isLoaded(each, signal)));
  return loaded.includes(true);
}

/** Makes a machine. */
export async function* create(
  deps: MachineDependencies,
  change: Omit<Of<'create'>, 'do'>,
  signal: AbortSignal,
): Parts {
  const { spec, password } = change;
  const { host } = deps;
  await refuseTaken(deps, spec.name);
  await refuseMissing(spec);
  const { from } = spec;
  if (from.kind === 'directory' || from.kind === 'machine') {
    const found = await originOfSource(deps, from, signal);
    yield* make(deps, await withPassword(deps, spec, password, found, signal), found, change.start, signal);
  } else {
    const base = from.kind === 'base' ? from.name : yield* build(deps, spec, signal);
    // Until the mount unit names the base, nothing else keeps it from being removed.
    await using _lock = await lockBase(host.locks, base, signal);
    const found = { origin: await originOfBase(host.files, base) };
    yield* make(deps, await withPassword(deps, spec, password, found, signal), found, change.start, signal);
  }
  if (change.start) yield* started(deps, spec.name);
}

/** The password of root becomes a hash as the tree's own programs would make it. */
async function withPassword(
  { host }: MachineDependencies,
  spec: MachineSpec,
  password: Password | undefined,
  { origin }: Found,
  signal: AbortSignal,
): Promise<MachineSpec> {
  if (password === undefined) return spec;
  const [{ guestOs }, { hashOf }] = await Promise.all([import('./guest/os.ts'), import('./password.ts')]);
  using view = await viewTree(origin.root);
  const { passwordMethod } = await guestOs(view.path, spec.firstBoot, host.files);
  const rootPasswordHash = await hashOf(password, passwordMethod, host.children, signal);
  return { ...spec, firstBoot: { ...spec.firstBoot, rootPasswordHash } };
}

async function* make(
  deps: MachineDependencies,
  spec: MachineSpec,
  { origin, standstill }: Found,
  start: boolean,
  signal: AbortSignal,
): Parts {
  await using _network = await lockNetwork(deps.host.locks, signal);
  const desired = await desiredOf(deps.host, spec, origin, [], signal);
  yield plan(
    planMachine(desired, {
      kind: 'nothing',
      tree: origin.tree,
      loaded: await isInMemory(deps, spec.name, signal),
      start,
      ...(standstill && { standstill }),
    }),
  );
}

/** Another machine like this one, with an identity and addresses of its own. */
export async function* clone(deps: MachineDependencies, change: Of<'clone'>, signal: AbortSignal): Parts {
  await refuseTaken(deps, change.to);
  const made = await getMade(deps.host.files, change.name);
  const { spec } = made;
  const { hostname: _own, ...firstBoot } = spec.firstBoot;
  const found =
    change.snapshot === undefined
      ? await originFor(deps, made, signal)
      : { origin: await originOfSnapshot(deps, made, change.snapshot) };
  const next: MachineSpec = {
    ...spec,
    name: change.to,
    // A directory that two machines boot from would be one tree; the copy has its own.
    from: spec.from.kind === 'directory' ? { kind: 'machine', name: change.name } : spec.from,
    enabled: false,
    network: clonedNetwork(spec.network),
    firstBoot: { ...firstBoot, sshKeys: [], users: [], copy: [], run: [] },
  };
  yield* make(deps, next, found, change.start, signal);
  const kept = spec.network.kind === 'private' ? spec.network.interfaces : [];
  for (const port of kept.flatMap(one => (one.kind === 'nat' ? one.ports : [])))
    yield note(`port ${nameOf(port)} stays with ${change.name}: spawnlet machine set ${change.to} publish=…`);
  if (change.start) yield* started(deps, change.to);
}

async function originOfSnapshot(deps: MachineDependencies, made: Made, snapshot: string): Promise<Origin> {
  const { getSnapshot } = await import('./snapshot.ts');
  const { tree: path } = await getSnapshot(deps.host.files, made.spec.name, snapshot);
  if (!made.layers)
    return atOnce(deps.host.files, { tree: { kind: 'copy', from: path }, root: { layers: [path] } });
  const { lower } = made.layers;
  return { tree: { kind: 'clone-of-clone', lower, upper: path }, root: { layers: [...lower, path] } };
}

/** Makes a machine, or makes it into what the spec says. */
export async function* apply(deps: MachineDependencies, spec: MachineSpec, signal: AbortSignal): Parts {
  const made = await findMade(deps.host.files, spec.name);
  if (!made) {
    yield* create(deps, { spec, start: false }, signal);
    return;
  }
  refuseOtherSource(made.spec, spec);
  await refuseMissing(spec, made.spec);
  const places = placesOf(spec.name);
  const mapped = await isMapped(deps.host.files, places);
  const state = await unitState(await deps.systemd(), places.unit, signal);
  const { keptLines } = await import('./kept.ts');
  await using _network = await lockNetwork(deps.host.locks, signal);
  const desired = await desiredOf(deps.host, spec, made, await keptLines(deps.host.files, spec.name), signal);
  yield plan(
    planMachine(desired, {
      kind: 'machine',
      enabled: made.enabled,
      loaded: state !== 'idle',
      up: isUp(state),
      limits: made.spec.limits,
      mounts: made.spec.mounts,
      isMapped: mapped,
    }),
  );
  if (!isUp(state) || !needsRestart(made.spec, desired.spec, mapped)) return;
  yield note(`${spec.name} runs: what is no limit takes effect with: spawnlet machine restart ${spec.name}`);
  if (mapped && desired.spec.mounts.length > made.spec.mounts.length)
    yield note('systemd mounts nothing into a machine with a user namespace while it runs');
}

/** Whether a machine starts with the host. */
export async function* enable(
  deps: MachineDependencies,
  change: Of<'enable' | 'disable'>,
  signal: AbortSignal,
): Parts {
  const { spec } = await getMade(deps.host.files, change.name);
  yield* apply(deps, { ...spec, enabled: change.do === 'enable' }, signal);
}
