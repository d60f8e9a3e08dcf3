import { SpawnletError } from '../host/error.ts';
import { abortable } from './abortable.ts';
import { ConnectionLost } from './connection.ts';
import { unitFailed } from './job.ts';
import { getAll, managerCall, refusal } from './manager.ts';
import { type PropertyMap, type UnitProperties, unitPath, unitProperties } from './properties.ts';
import { enqueue, type JobMode } from './queue.ts';
import type { Session } from './session.ts';
import type { UnitWatch } from './watch.ts';

/** True if systemd has the unit in memory. */
export async function isLoaded(session: Session, name: string, signal: AbortSignal): Promise<boolean> {
  try {
    await session.read(managerCall('GetUnit', 's', [name]), signal);
    return true;
  } catch (cause) {
    const error = refusal(cause, name);
    if (error instanceof SpawnletError && error.code === 'ERR_NO_SUCH_UNIT') return false;
    throw error;
  }
}

/** Waits until the unit is as `predicate` wants it. One that systemd forgets is `inactive`. */
export async function waitUntil(
  session: Session,
  name: string,
  predicate: (properties: UnitProperties) => boolean,
  signal: AbortSignal,
): Promise<UnitProperties> {
  await using watch = session.watch(unitPath(name), signal);
  // Signals that came before the reply are older than it; those are taken off the queue by the reply's arrival.
  let state = await fresh(session, name, watch, signal);
  if (predicate(state)) return state;
  for await (const change of watch) {
    if (change.kind === 'changed') state = { ...state, ...change.changed };
    // systemd drops every unit as it reloads or re-executes, and loads them again.
    else if (await isLoaded(session, name, signal)) state = await fresh(session, name, watch, signal);
    else state = { ...state, ActiveState: 'inactive', SubState: 'dead', MainPID: 0, Job: 0 };
    if (predicate(state)) return state;
  }
  throw new ConnectionLost(`the watch of ${name} ended`);
}

/** Starts a unit and waits until its run has ended; throws `ERR_UNIT_FAILED` if it could not be started. */
export async function runUnit(
  session: Session,
  name: string,
  mode: JobMode,
  signal: AbortSignal,
): Promise<UnitProperties> {
  await using watch = session.watch(unitPath(name), signal);
  const job = await enqueue(session, 'start', name, mode, signal, () => watch.clear());
  let state: UnitProperties = unitProperties(new Map());
  // Until the job has ended, every change names it in `Job`.
  for await (const change of watch) {
    if (change.kind === 'changed') state = { ...state, ...change.changed };
    else if (await isLoaded(session, name, signal)) state = await fresh(session, name, watch, signal);
    else break;
    if (state.Job === 0 && (state.ActiveState === 'inactive' || state.ActiveState === 'failed')) break;
  }
  const result = await abortable(job.done, signal);
  if (result === 'done' || result === 'skipped' || state.ExecMainStartTimestamp > 0) return state;
  throw unitFailed(job, result, state);
}

/** Properties as they are now; what the watch has had before is dropped. */
async function fresh(
  session: Session,
  name: string,
  watch: UnitWatch,
  signal: AbortSignal,
): Promise<UnitProperties> {
  return session.read(getAll(unitPath(name), ''), signal, body => {
    watch.clear();
    return unitProperties(body[0] as PropertyMap);
  });
}
