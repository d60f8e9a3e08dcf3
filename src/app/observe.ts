import { constants } from 'node:os';
import { runDirectoryOf } from '../engine/script.ts';
import type { Applier } from '../host/apply.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { Holder } from '../host/process.ts';
import type { InUse } from '../image/garbage.ts';
import { appsDirectory } from '../names.ts';
import { type ContainerNetwork, readContainerNetwork } from '../network/container-file.ts';
import type { SystemdClient } from '../systemd/client.ts';
import type { UnitProperties } from '../systemd/properties.ts';
import { type Bundle, damaged, parseBundle, unknown } from './bundle-file.ts';
import { type Health, type Healthcheck, parseHealth } from './health.ts';
import type { ImageAccess } from './image.ts';
import { type AppStep, annotation, unitOf, unitPathOf, waitingFileOf } from './plan.ts';
import type { RunRequest } from './request.ts';
import { directoryOf } from './spec.ts';
import { type AppState, parseRecord, type RunRecord, stateOf } from './status.ts';

/** What apps are run with. */
export interface AppDependencies extends ImageAccess {
  readonly host: Host;
  readonly applier: Pick<Applier<AppStep>, 'apply' | 'dryRun'>;
  systemd(): Promise<SystemdClient>;
  /** Words that run this spawnlet. */
  readonly words: readonly string[];
}

/** A container as it is now. */
export interface App {
  readonly name: string;
  readonly request: RunRequest;
  readonly image: string;
  readonly imageDigest: string;
  readonly layers: readonly string[];
  readonly created: string;
  readonly bundle: Bundle;
  readonly unit: UnitProperties;
  readonly record: RunRecord | undefined;
  readonly state: AppState;
  /** Who waits until it is made, before its program has run; undefined if it was let run. */
  readonly waiting: Holder | undefined;
  /** What it has of spawnlet's own bridge; undefined if it is not on it. */
  readonly network: ContainerNetwork | undefined;
  /** How it is asked whether it is well, and what it said; undefined if it is not. */
  readonly health: { readonly check: Healthcheck; readonly known: Health } | undefined;
}

/** Undefined for a text that a power cut has left without its content, too. */
function parseWaiting(text: string | undefined): Holder | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Holder);
  } catch {
    return undefined;
  }
}

/** What a container has answered to its health check. */
export const healthFileOf = (name: string) => `${directoryOf(name)}/health`;

async function healthIn(
  deps: AppDependencies,
  name: string,
  note: string | undefined,
  invocation: string,
): Promise<App['health']> {
  if (note === undefined) return undefined;
  const text = await deps.host.files.read(healthFileOf(name));
  return { check: JSON.parse(note) as Healthcheck, known: parseHealth(text, invocation) };
}

/** What is known of a container whose bundle cannot be read. */
async function damagedApp(
  deps: AppDependencies,
  name: string,
  unit: UnitProperties,
  record: RunRecord | undefined,
): Promise<App> {
  const { files } = deps.host;
  const isTransient = (await files.look(unitPathOf(name, true))) !== undefined;
  return {
    ...unknown,
    name,
    request: { ...unknown.request, name, removeAfterwards: isTransient },
    unit,
    record,
    network: await readContainerNetwork(files, directoryOf(name)),
  };
}

/** A container as it is now; undefined if there is none of that name. */
export async function findApp(
  deps: AppDependencies,
  name: string,
  signal: AbortSignal,
): Promise<App | undefined> {
  const { files } = deps.host;
  if (!/^[\w.-]+$/.test(name)) return undefined;
  const text = await files.read(`${directoryOf(name)}/config.json`);
  if (text === undefined) return undefined;
  const unit = await (await deps.systemd()).unitProperties(unitOf(name), signal);
  const record = parseRecord(await files.read(`${directoryOf(name)}/record`));
  const bundle = parseBundle(text);
  if (!bundle) return damagedApp(deps, name, unit, record);
  const notes = bundle.annotations;
  const request = JSON.parse(notes[annotation.request] ?? '{}') as RunRequest;
  // systemd-nspawn tells nobody.
  const isMade = request.engine === 'nspawn' || (await files.look(`${runDirectoryOf(name)}/pid`));
  return {
    name,
    request,
    image: notes[annotation.image] ?? '',
    imageDigest: notes[annotation.digest] ?? '',
    layers: (notes[annotation.layers] ?? '').split(',').filter(Boolean),
    created: notes[annotation.created] ?? '',
    bundle,
    unit,
    record,
    state: stateOf(unit, record, constants.signals, isMade !== undefined),
    waiting: parseWaiting(await files.read(waitingFileOf(directoryOf(name)))),
    network: await readContainerNetwork(files, directoryOf(name)),
    health: await healthIn(deps, name, notes[annotation.health], unit.InvocationID),
  };
}

export const noContainer = (name: string, hint = 'spawnlet ps -a lists them'): SpawnletError =>
  new SpawnletError('ERR_NO_CONTAINER', `there is no container ${JSON.stringify(name)}`, { hint });

/** {@link findApp}, or `ERR_NO_CONTAINER`. */
export async function getApp(deps: AppDependencies, name: string, signal: AbortSignal): Promise<App> {
  const app = await findApp(deps, name, signal);
  if (app) return app;
  throw noContainer(name);
}

/** What helps with a container that is not running, by what it does instead. */
const hintOf = (name: string, kind: AppState['kind']): string => {
  if (kind === 'starting') return 'try again in a moment';
  return kind === 'restarting'
    ? `spawnlet logs ${name} has what it said before it ended`
    : `spawnlet start ${name}`;
};

export const notRunning = (name: string, kind: AppState['kind']): SpawnletError =>
  new SpawnletError('ERR_NOT_RUNNING', `${name} is not running (${kind})`, { hint: hintOf(name, kind) });

/** A container that runs, or `ERR_NOT_RUNNING`. */
export async function runningApp(deps: AppDependencies, name: string, signal: AbortSignal): Promise<App> {
  const app = await getApp(deps, name, signal);
  if (app.state.kind === 'running') return app;
  if (app.state.kind === 'damaged') throw damaged(name);
  throw notRunning(app.name, app.state.kind);
}

/** The notes of a bundle; of one that cannot be read, what its unit says of the image. */
async function notesOf(deps: AppDependencies, name: string): Promise<Bundle['annotations']> {
  const { files } = deps.host;
  const text = await files.read(`${directoryOf(name)}/config.json`);
  if (text === undefined) return {};
  const bundle = parseBundle(text);
  if (bundle) return bundle.annotations;
  const units = await Promise.all([false, true].map(kind => files.read(unitPathOf(name, kind))));
  const [, digest = ''] = /^ImageDigest=(\S+)$/m.exec(units.join('\n')) ?? [];
  return { [annotation.digest]: digest };
}

/** What containers run from, which `image rm` and `prune` must leave. */
export async function appsInUse(deps: AppDependencies, signal: AbortSignal): Promise<InUse> {
  const { files } = deps.host;
  const names = await files.list(appsDirectory);
  const notes = await Promise.all(names.map(name => notesOf(deps, name)));
  signal.throwIfAborted();
  return {
    manifests: Map.groupBy(names, (_name, at) => notes[at]?.[annotation.digest] ?? ''),
    layers: new Set(notes.flatMap(note => (note[annotation.layers] ?? '').split(','))),
  };
}

export const refusedBy = (engine: string, what: string, hint: string) =>
  new SpawnletError('ERR_ENGINE', `the engine ${engine} has no ${what}`, { hint });

/** What conmon and crun alone can do. Throws `ERR_ENGINE`. */
export function refuseNspawn(app: App, what: string): void {
  if (app.request.engine === 'nspawn')
    throw refusedBy('nspawn', what, 'run the container with --engine crun');
}
