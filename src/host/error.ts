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

/** What the host has run out of, which is no defect of spawnlet; undefined for any other error. */
export function exhausted(error: unknown): SpawnletError | undefined {
  if (!isErrno(error, 'EMFILE', 'ENOSPC', 'EDQUOT')) return undefined;
  const { code, message, syscall } = error;
  if (syscall?.includes('watch')) {
    const limit = code === 'EMFILE' ? 'instances' : 'watches';
    return new SpawnletError('ERR_INOTIFY', `all inotify ${limit} of this user are in use`, {
      cause: error,
      hint: `sysctl fs.inotify.max_user_${limit}=${code === 'EMFILE' ? 1024 : 524_288}`,
    });
  }
  if (code === 'EMFILE') return undefined;
  const hint = 'df -h shows which file system is full; spawnlet image prune removes images that nothing uses';
  return new SpawnletError('ERR_NO_SPACE', message, { cause: error, hint });
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  // Node's for a name with several addresses says nothing itself.
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
