import { randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import type { Applier } from '../host/apply.ts';
import { SpawnletError } from '../host/error.ts';
import { isOnOverlay } from '../host/file-system.ts';
import type { Host } from '../host/host.ts';
import type { Holder } from '../host/process.ts';
import { watchDirectory } from '../host/watch.ts';
import { labDirectory, stateDirectory } from '../names.ts';
import { type Hierarchy, parseHierarchies } from './cgroup.ts';
import { freeAddress, readNetworks } from './network.ts';
import { downPlan, type LabStep, treePlan, upPlan } from './plan.ts';
import { type LabRecord, labNotFound, labsDirectory, placesOf, readRecord, readRecords } from './record.ts';
import { flagsBeside, type LabSpec } from './spec.ts';
import { keeperOf } from './step.ts';
import { recipeOf, treePath, treesDirectory } from './tree.ts';

/** What a lab is applied with; any room's applier that knows the steps of labs. */
export type LabApplier = Pick<Applier<LabStep>, 'apply' | 'dryRun'>;

export type LabState = 'starting' | 'running' | 'degraded' | 'dead';

export interface LabStatus {
  readonly name: string;
  readonly state: LabState;
  readonly suite: string;
  readonly address: string;
  readonly network: string;
  /** The host's number of the process that keeps the lab; null if it is dead. */
  readonly pid: number | null;
  readonly directory: string;
}

const architectures: Record<string, string> = { x64: 'amd64', arm64: 'arm64' };

export async function observeHierarchies(host: Host): Promise<Hierarchy[]> {
  const hierarchies = parseHierarchies((await host.files.read('/proc/self/mountinfo')) ?? '');
  if (hierarchies.length > 0) return hierarchies;
  throw new SpawnletError('ERR_LAB_CGROUP', 'no cgroup tree is mounted here that can be written to', {
    hint: 'in a container, give it its own cgroups: docker run --privileged --cgroupns=private',
  });
}

/** Labs and what runs in them are overlays. On an overlay the lab would not boot, or nothing would run in it. */
async function refuseOverlay(): Promise<void> {
  if (!(await isOnOverlay(labDirectory))) return;
  throw new SpawnletError('ERR_LAB_OVERLAY', `${stateDirectory} is on an overlay, where no lab can be`, {
    hint: `bind a directory of a real file system there; in a container: docker run -v spawnlet:${stateDirectory} …`,
  });
}

/** The record of a lab to be, or of the one that is there already with the same spec. */
async function recordFor(host: Host, spec: LabSpec, owner: Holder | null): Promise<LabRecord> {
  const records = await readRecords(host.files);
  const there = records.find(record => record.spec.name === spec.name);
  if (there) {
    if (JSON.stringify(there.spec) === JSON.stringify(spec)) return there;
    const asked = flagsBeside(spec, there.spec) || 'nothing of that';
    const has = flagsBeside(there.spec, spec) || 'nothing of that';
    throw new SpawnletError(
      'ERR_LAB_EXISTS',
      `lab ${spec.name} is there: it has ${has}; this asks for ${asked}`,
      {
        hint: `take it down first (spawnlet lab down ${spec.name}), or choose another name`,
      },
    );
  }
  const neighbours = records.filter(record => record.spec.network === spec.network);
  return {
    version: 1,
    spec,
    tree: treePath(recipeOf(spec, architectures[process.arch] ?? process.arch)),
    address: freeAddress(neighbours.map(record => record.address)),
    machineId: randomUUID().replaceAll('-', ''),
    supervisor: (await host.files.look('/run/systemd/system')) === undefined ? 'none' : 'systemd',
    owner,
  };
}

async function plansFor(host: Host, spec: LabSpec, owner: Holder | null) {
  await refuseOverlay();
  const recipe = recipeOf(spec, architectures[process.arch] ?? process.arch);
  const record = await recordFor(host, spec, owner);
  return {
    record,
    tree: treePlan(record.tree, recipe),
    lab: upPlan(record, {
      hierarchies: await observeHierarchies(host),
      resolvConf: (await host.files.read('/etc/resolv.conf')) ?? '',
    }),
  };
}

/** What {@link up} would do, as text. */
export async function upDryRun(host: Host, applier: LabApplier, spec: LabSpec): Promise<string> {
  const { tree, lab } = await plansFor(host, spec, null);
  return applier.dryRun({ ...lab, steps: [...tree.steps, ...lab.steps] });
}

/**
 * Makes a lab and waits until it has booted. One that is there with the same spec is started if it is dead, and else
 * left alone. `owner` is a process that the lab shall not outlive (see {@link sweep}). Throws `ERR_LAB_BOOT` with the
 * end of the boot's output, and takes the lab down again.
 */
export async function up(
  host: Host,
  applier: LabApplier,
  spec: LabSpec,
  owner: Holder | null,
  signal: AbortSignal,
): Promise<LabStatus> {
  // Long, and of no lab in particular: not under the lock.
  await applier.apply((await plansFor(host, spec, owner)).tree, signal);
  {
    await using _lock = await host.locks.wait('labs', signal);
    await applier.apply((await plansFor(host, spec, owner)).lab, signal);
  }
  try {
    await waitUntilBooted(host, spec.name, AbortSignal.any([signal, AbortSignal.timeout(bootDeadline)]));
  } catch (error) {
    const log = ((await host.files.read(placesOf(spec.name).log)) ?? '').trim();
    await down(host, applier, spec.name, AbortSignal.timeout(bootDeadline));
    signal.throwIfAborted();
    throw new SpawnletError(
      'ERR_LAB_BOOT',
      `lab ${spec.name} did not boot: ${log.slice(-2000) || 'it said nothing'}`,
      {
        cause: error,
      },
    );
  }
  return statusOf(host, await needRecord(host, spec.name));
}

const bootDeadline = 90_000;
/** How often a waiter looks whether the lab has died; that it has booted is told by inotify at once. */
const deathCheck = 250;

async function waitUntilBooted(host: Host, name: string, signal: AbortSignal): Promise<void> {
  const places = placesOf(name);
  for (;;) {
    signal.throwIfAborted();
    const wake = new AbortController();
    const watcher = watchDirectory(places.share, file => {
      if (file === null || file === basename(places.ready)) wake.abort();
    });
    try {
      if ((await host.files.look(places.ready)) !== undefined) return;
      if ((await keeperOf(host, name)) === undefined) throw new Error('its processes have ended');
      await host.clock.sleep(deathCheck, AbortSignal.any([signal, wake.signal])).catch(() => undefined);
    } finally {
      watcher.close();
    }
  }
}

async function needRecord(host: Host, name: string): Promise<LabRecord> {
  const record = await readRecord(host.files, name);
  if (record) return record;
  throw labNotFound(name, 'spawnlet lab status lists them');
}

/** What a lab was made as; undefined if there is none. */
export const specOf = async (host: Host, name: string): Promise<LabSpec | undefined> =>
  (await readRecord(host.files, name))?.spec;

async function statusOf(host: Host, record: LabRecord): Promise<LabStatus> {
  const places = placesOf(record.spec.name);
  const keeper = await keeperOf(host, record.spec.name);
  const said = (await host.files.read(places.ready))?.trim();
  const booted: LabState = said === undefined ? 'starting' : said === 'running' ? 'running' : 'degraded';
  return {
    name: record.spec.name,
    state: keeper ? booted : 'dead',
    suite: record.spec.suite,
    address: record.address,
    network: record.spec.network,
    pid: keeper?.pid ?? null,
    directory: places.directory,
  };
}

/** One lab, or all of them by name. */
export async function status(host: Host, name?: string): Promise<LabStatus[]> {
  const records = name === undefined ? await readRecords(host.files) : [await needRecord(host, name)];
  return Promise.all(records.map(record => statusOf(host, record)));
}

/** Networks that are no more needed once `gone` is. */
async function idleNetworks(host: Host, gone: string): Promise<string[]> {
  const records = (await readRecords(host.files)).filter(record => record.spec.name !== gone);
  const networks = await readNetworks(host.files);
  return networks
    .map(({ network }) => network)
    .filter(network => !records.some(record => record.spec.network === network));
}

/** Ends a lab at once and removes all that it left, whatever state it is in. */
export async function down(
  host: Host,
  applier: LabApplier,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  await using _lock = await host.locks.wait('labs', signal);
  if (!(await names(host)).includes(name)) throw labNotFound(name, 'spawnlet lab status lists them');
  const record = await readRecord(host.files, name);
  const networks = await idleNetworks(host, name);
  await applier.apply(downPlan(name, record, await observeHierarchies(host), networks), signal);
}

/** Names of labs, also of those whose making was cut off. */
export const names = (host: Host): Promise<string[]> => host.files.list(labsDirectory);

/** Takes down the labs whose owner is gone. Gives their names. */
export async function sweep(host: Host, applier: LabApplier, signal: AbortSignal): Promise<string[]> {
  const orphans = (await readRecords(host.files)).filter(
    ({ owner }) => owner !== null && !host.locks.isAlive(owner),
  );
  for (const { spec } of orphans) await down(host, applier, spec.name, signal);
  return orphans.map(({ spec }) => spec.name);
}

/** Whether {@link up} would first have to build the tree, which takes about a minute. */
export async function needsTree(host: Host, spec: LabSpec): Promise<boolean> {
  const recipe = recipeOf(spec, architectures[process.arch] ?? process.arch);
  return (await host.files.look(treePath(recipe))) === undefined;
}

/** Removes the trees that labs were made of; refuses while there are labs. */
export async function removeTrees(host: Host, applier: LabApplier, signal: AbortSignal): Promise<void> {
  await using _lock = await host.locks.wait('labs', signal);
  const [lab] = await names(host);
  if (lab !== undefined)
    throw new SpawnletError('ERR_LAB_EXISTS', `lab ${lab} stands on a tree`, {
      hint: 'spawnlet lab down --all',
    });
  const steps = [{ do: 'remove', path: treesDirectory } as const];
  await applier.apply({ title: 'lab trees', ifInterrupted: 'finish', steps }, signal);
}
