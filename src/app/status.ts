import { logNamespace } from '../names.ts';
import type { UnitProperties } from '../systemd/properties.ts';

/** The record that a unit writes as it ends: the last run. */
export interface RunRecord {
  readonly version: 1;
  readonly invocation: string;
  /** systemd's $SERVICE_RESULT. */
  readonly result: string;
  /** `exited`, `killed` or `dumped`; empty if nothing ran. */
  readonly code: string;
  /** Exit code, or the name of the signal. */
  readonly status: string;
  readonly oom: boolean;
  /** Seconds since 1970; 0 if nobody saw it, since conmon was killed or the host was switched off. */
  readonly ended: number;
}

/** Undefined for a text that is no record: a later version's, or one that a full disk cut short. */
export function parseRecord(text: string | undefined): RunRecord | undefined {
  try {
    const record = JSON.parse(text ?? '') as RunRecord;
    return record.version === 1 ? record : undefined;
  } catch {
    return undefined;
  }
}

export type AppState =
  | { readonly kind: 'created' }
  | { readonly kind: 'starting' }
  | { readonly kind: 'running'; readonly since: number }
  | { readonly kind: 'stopping' }
  /** Its bundle cannot be read, as after a power cut: it can only be removed. */
  | { readonly kind: 'damaged' }
  | {
      /** `restarting`: it has ended, and systemd is about to start it again. */
      readonly kind: 'exited' | 'restarting';
      readonly exitCode: number;
      readonly oomKilled: boolean;
      /** Milliseconds since 1970, where it is known. */
      readonly ended?: number;
    };

/**
 * 128+n where systemd names a signal. conmon turns the container's death by signal into that code itself; systemd
 * names one only if conmon was killed, or if the unit could not be started at all.
 */
export function exitCodeOf(
  record: Pick<RunRecord, 'code' | 'status'>,
  numbers: Readonly<Record<string, number>>,
): number {
  if (record.code === 'exited') return Number(record.status);
  return 128 + (numbers[`SIG${record.status}`] ?? 0);
}

const millisecond = 1000;

/** CLD_EXITED of waitid(2), as systemd gives it in ExecMainCode. */
const exited = 1;

/** What {@link stateOf} reads of a unit. */
type Observed = Pick<
  UnitProperties,
  | 'ActiveState'
  | 'SubState'
  | 'ActiveEnterTimestamp'
  | 'InvocationID'
  | 'Result'
  | 'ExecMainCode'
  | 'ExecMainStatus'
  | 'ExecMainExitTimestamp'
  | 'Job'
>;

/**
 * What a container is doing, from its unit and the record of its last run.
 *
 * @param isMade false while the unit runs, and the engine has not made the container yet
 */
export function stateOf(
  unit: Observed,
  record: RunRecord | undefined,
  numbers: Readonly<Record<string, number>>,
  isMade = true,
): AppState {
  switch (unit.ActiveState) {
    case 'active':
    case 'reloading':
      if (!isMade) return { kind: 'starting' };
      return { kind: 'running', since: Math.floor(unit.ActiveEnterTimestamp / millisecond) };
    case 'activating':
      return unit.SubState.startsWith('auto-restart')
        ? restarting(lastRun(unit, record, numbers))
        : { kind: 'starting' };
    case 'deactivating':
      return { kind: 'stopping' };
    default:
      // A unit that is to be started again is down for a moment, with its job.
      return unit.Job === 0 ? lastRun(unit, record, numbers) : restarting(lastRun(unit, record, numbers));
  }
}

/**
 * A unit that has failed, or is about to be started again, knows its last run, which may have had no time to write its
 * record. So does one that is enabled, since systemd keeps it loaded.
 */
function lastRun(
  unit: Observed,
  record: RunRecord | undefined,
  numbers: Readonly<Record<string, number>>,
): AppState {
  const unrecorded = record === undefined || record.ended === 0 || record.invocation !== unit.InvocationID;
  if (unit.ExecMainExitTimestamp > 0 && unrecorded) {
    return {
      kind: 'exited',
      exitCode: unit.ExecMainCode === exited ? unit.ExecMainStatus : 128 + unit.ExecMainStatus,
      oomKilled: unit.Result === 'oom-kill',
      ended: Math.floor(unit.ExecMainExitTimestamp / millisecond),
    };
  }
  if (!record) return { kind: 'created' };
  return {
    kind: 'exited',
    exitCode: exitCodeOf(record, numbers),
    oomKilled: record.oom,
    ...(record.ended > 0 && { ended: record.ended * 1000 }),
  };
}

const restarting = (last: AppState): AppState =>
  last.kind === 'exited' ? { ...last, kind: 'restarting' } : { kind: 'starting' };

/** Why crun could not make a container, from its log, as podman's exit codes have it. */
export function startFailure(text: string): { readonly message: string; readonly exitCode: 125 | 126 | 127 } {
  const message = text.trim().split('\n').at(-1) || 'crun did not make the container';
  if (/executable file .* not found|No such file or directory.*exec|exec.*No such file/i.test(message))
    return { message, exitCode: 127 };
  if (/permission denied|not permitted|exec format error|is a directory/i.test(message))
    return { message, exitCode: 126 };
  return { message, exitCode: 125 };
}

const notExecutable = 'the program has to be a file that its user may execute, made for this machine';

/**
 * What helps after {@link startFailure}. crun says to spawnlet alone why it could not make a container: the log has
 * nothing then. Where it has said nothing, systemd or conmon have, and systemd not in the namespace of containers.
 */
export function startHint(text: string, exitCode: 125 | 126 | 127, unit: string): string {
  if (text.trim() === '') return `journalctl --namespace=+${logNamespace} -n 20 -u ${unit}`;
  if (/executable file `-/.test(text)) return 'flags of run go before the image';
  if (exitCode === 127) return 'name a program that is in the image, or another --entrypoint';
  if (exitCode === 126) return notExecutable;
  return 'spawnlet doctor says what this host lacks';
}

/** The same of an exec; `directory` is what helps where it was the working directory. */
export function execHint({ message, exitCode }: ReturnType<typeof startFailure>, directory: string): string {
  if (/\bchdir\b/.test(message)) return directory;
  return exitCode === 126 ? notExecutable : 'name a program that is in the container';
}
