import { SpawnletError } from '../host/error.ts';
import { abortable } from './abortable.ts';
import { ConnectionLost } from './connection.ts';
import { type Job, type JobType, unitFailed } from './job.ts';
import { getAll, idOf, managerCall, refusal } from './manager.ts';
import { type PropertyMap, unitPath, unitProperties } from './properties.ts';
import type { Session } from './session.ts';
import type { Outgoing, Value } from './wire.ts';

/** How a job treats jobs that are queued already; `systemctl(1)`, `--job-mode=`. */
export type JobMode = 'replace' | 'fail' | 'isolate' | 'ignore-dependencies' | 'ignore-requirements';

const methods: Record<JobType, string> = {
  start: 'StartUnit',
  stop: 'StopUnit',
  restart: 'RestartUnit',
  reload: 'ReloadUnit',
};

/** Queues a job of a unit that has a file, as {@link queue} does. */
export function enqueue(
  session: Session,
  type: JobType,
  name: string,
  mode: JobMode,
  signal: AbortSignal,
  queued?: () => void,
): Promise<Job> {
  return queue(session, type, name, managerCall(methods[type], 'ss', [name, mode]), signal, queued);
}

/**
 * Asks systemd for a job by `call`. `queued` runs as its answer is read, before any signal that came after it. If the
 * connection is lost before systemd answers and no such job is there afterwards, it is not known whether it ran:
 * `ERR_SYSTEMD_LOST`.
 */
export async function queue(
  session: Session,
  type: JobType,
  name: string,
  call: Outgoing,
  signal: AbortSignal,
  queued: () => void = () => {},
): Promise<Job> {
  const take = (body: Value[]) => {
    queued();
    return session.jobs.add(idOf(body[0]), type, name);
  };
  try {
    return await session.call(call, signal, take);
  } catch (error) {
    if (!(error instanceof ConnectionLost)) throw refusal(error, name);
    const [map] = await session.read(getAll(unitPath(name), ''), signal);
    const id = unitProperties(map as PropertyMap).Job;
    if (id !== 0) return session.jobs.add(id, type, name);
    throw new SpawnletError('ERR_SYSTEMD_LOST', `systemd went away while it was asked to ${type} ${name}`, {
      hint: `systemctl status ${name}`,
      cause: error,
    });
  }
}

/** Waits for a job; throws `ERR_UNIT_FAILED` with systemd's result if it is not a good one. */
export async function finished(session: Session, job: Job, signal: AbortSignal): Promise<void> {
  const result = await abortable(job.done, signal);
  if (result === 'done' || result === 'skipped') return;
  const [map] = await session.read(getAll(unitPath(job.unit), ''), signal);
  throw unitFailed(job, result, unitProperties(map as PropertyMap));
}
