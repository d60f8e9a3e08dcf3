import { SpawnletError } from '../host/error.ts';
import type { UnitProperties } from './properties.ts';

export type JobType = 'start' | 'stop' | 'restart' | 'reload';

/** How a job ended, in systemd's words: `JobRemoved` in `org.freedesktop.systemd1(5)`. */
export type JobResult =
  | 'done'
  | 'skipped'
  | 'canceled'
  | 'timeout'
  | 'failed'
  | 'dependency'
  | 'invalid'
  | 'assert'
  | 'unsupported'
  | 'collected'
  | 'once'
  | 'frozen';

/** A job in systemd's queue. */
export interface Job {
  readonly id: number;
  readonly type: JobType;
  readonly unit: string;
  /** Resolves with the result, good or bad; rejects if systemd is lost for good or the client is closed. */
  readonly done: Promise<JobResult>;
}

interface Entry {
  readonly job: Job;
  readonly settle: PromiseWithResolvers<JobResult>;
}

/** Jobs that somebody may wait for. Several may wait for the same one: systemd merges jobs. */
export class JobTable {
  readonly #entries = new Map<number, Entry>();

  get size(): number {
    return this.#entries.size;
  }

  add(id: number, type: JobType, unit: string): Job {
    const known = this.#entries.get(id);
    if (known) return known.job;
    const settle = Promise.withResolvers<JobResult>();
    // Whoever does not wait for the job does not hear of a lost connection either.
    settle.promise.catch(() => undefined);
    const job: Job = { id, type, unit, done: settle.promise };
    this.#entries.set(id, { job, settle });
    return job;
  }

  pending(): Job[] {
    return [...this.#entries.values()].map(entry => entry.job);
  }

  removed(id: number, result: JobResult): void {
    this.#entries.get(id)?.settle.resolve(result);
    this.#entries.delete(id);
  }

  /** The job ended while nobody listened: its result is read from the state that it left. */
  missed(job: Job, unit: UnitProperties): void {
    const up = unit.ActiveState !== 'failed' && unit.ActiveState !== 'inactive';
    const ranToItsEnd = unit.ActiveState === 'inactive' && unit.Result === 'success';
    const down = !up || unit.ActiveState === 'deactivating';
    const good = job.type === 'stop' ? down : up || ranToItsEnd;
    this.removed(job.id, good ? 'done' : 'failed');
  }

  fail(error: unknown): void {
    for (const entry of this.#entries.values()) entry.settle.reject(error);
    this.#entries.clear();
  }
}

const verbs: Record<JobType, string> = {
  start: 'did not start',
  stop: 'did not stop',
  restart: 'did not restart',
  reload: 'did not reload',
};

/** What people read when a job did not end well. */
export function unitFailed(job: Job, result: JobResult, unit: UnitProperties): SpawnletError {
  const namespace = unit.LogNamespace === '' ? '' : ` --namespace=${unit.LogNamespace}`;
  return new SpawnletError('ERR_UNIT_FAILED', `${job.unit} ${verbs[job.type]}: ${reasonOf(result, unit)}`, {
    hint: `journalctl${namespace} -u ${job.unit}`,
  });
}

function reasonOf(result: JobResult, unit: UnitProperties): string {
  if (result !== 'failed' || unit.Result === '' || unit.Result === 'success') return result;
  if (unit.Result === 'exit-code') return `${result}, exit code ${unit.ExecMainStatus}`;
  if (unit.Result === 'signal' || unit.Result === 'core-dump')
    return `${result}, signal ${unit.ExecMainStatus}`;
  return `${result}, ${unit.Result}`;
}
