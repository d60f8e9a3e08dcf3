import { constants } from 'node:os';
import { exitCodeOf, parseRecord, type RunRecord, startFailure } from '../../app/status.ts';
import type { Files } from '../../host/files.ts';
import type { UnitProperties } from '../../systemd/properties.ts';
import type { Terminated } from '../status/observed.ts';
import { lost, reasonOf, startError } from '../status/termination.ts';
import { containerDirectory } from '../unit/names.ts';

/** What a run is called in the status: the ID of the unit's run, by which the journal knows it too. */
export const containerIdOf = (invocation: string): string => `spawnlet://${invocation}`;

export const invocationOf = (containerID: string): string => containerID.replace(/^spawnlet:\/\//, '');

export interface EndedRun {
  readonly attempt: number;
  readonly restartCount: number;
  readonly containerID: string;
  readonly startedAt?: number;
}

/** Files in which a run leaves how it ended. */
export interface Traces {
  readonly record: RunRecord | undefined;
  /** What crun said when it could not make the container. */
  readonly error: string;
}

export async function readTraces(files: Files, uid: string, container: string): Promise<Traces> {
  const at = containerDirectory(uid, container);
  const [record, error] = await Promise.all([files.read(`${at}/record`), files.read(`${at}/error`)]);
  return { record: parseRecord(record), error: error ?? '' };
}

/**
 * How a run ended, from the record that it left and, where that was written before its end, from what systemd says of
 * it. Death by signal and for want of memory are told, never guessed.
 *
 * @param unit undefined after a boot: systemd knows nothing of that run
 */
export function terminatedOf(
  run: EndedRun,
  { record, error }: Traces,
  unit: UnitProperties | undefined,
  now: number,
): Terminated {
  if (!record && error.trim() !== '') {
    const { message, exitCode } = startFailure(error);
    const code = exitCode === 125 ? 128 : exitCode;
    return { ...base(run), exitCode: code, reason: startError, message, finishedAt: now };
  }
  if (record && record.ended > 0) {
    const exitCode = exitCodeOf(record, constants.signals);
    return {
      ...base(run),
      exitCode,
      reason: reasonOf({ exitCode, oomKilled: record.oom }),
      finishedAt: Math.max(record.ended * 1000, run.startedAt ?? 0),
    };
  }
  if (unit && unit.ExecMainExitTimestamp > 0) {
    const exitCode = unit.ExecMainCode === 1 ? unit.ExecMainStatus : 128 + unit.ExecMainStatus;
    return {
      ...base(run),
      exitCode,
      ...(unit.ExecMainCode !== 1 && { signal: unit.ExecMainStatus }),
      reason: reasonOf({ exitCode, oomKilled: unit.Result === 'oom-kill' }),
      finishedAt: Math.floor(unit.ExecMainExitTimestamp / 1000),
    };
  }
  return lost(run, now);
}

const base = ({ attempt, restartCount, containerID, startedAt }: EndedRun) => ({
  kind: 'terminated' as const,
  attempt,
  restartCount,
  containerID,
  ...(startedAt !== undefined && { startedAt }),
});
