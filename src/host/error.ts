/**
 * Errors that people meet. The code is stable: scripts may match on it, the documentation lists it.
 *
 * A mistake of the user, or a state of the host that the user can change, is a {@link SpawnletError}. Anything
 * else that is thrown is a defect of spawnlet; only those show a stack trace.
 */

/** podman's exit codes: 125 spawnlet failed, 126 the command cannot be run, 127 it was not found. */
export type ExitCode = 125 | 126 | 127;

export interface ErrorDetails {
  /** What to do about it: a command to paste where there is one. */
  readonly hint?: string;
  readonly cause?: unknown;
  readonly exitCode?: ExitCode;
}

export class SpawnletError extends Error {
  override readonly name = 'SpawnletError';
  readonly code: `ERR_${string}`;
  readonly hint: string | undefined;
  readonly exitCode: ExitCode;

  constructor(code: `ERR_${string}`, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
    this.exitCode = details.exitCode ?? 125;
  }
}

/** True for an error of the operating system with one of these names: `isErrno(e, 'ENOENT')`. */
export function isErrno(error: unknown, ...names: string[]): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && names.includes(error.code as string);
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
