import { messageOf } from '../../host/error.ts';
import { type Answer, failure, kept, success } from './answer.ts';
import type { ExecHandler } from './handler.ts';

/** Runs a command in a container to its end; rejects if it could not be run, ends it when the signal says so. */
export type ExecInContainer = (
  command: readonly string[],
  signal: AbortSignal,
) => Promise<{
  readonly exitCode: number;
  /** Both streams, as they came. */
  readonly output: Buffer;
}>;

export async function askExec(
  handler: ExecHandler,
  exec: ExecInContainer,
  signal: AbortSignal,
): Promise<Answer> {
  try {
    const { exitCode, output } = await exec(handler.command, signal);
    return exitCode === 0 ? success(kept(output)) : failure(kept(output));
  } catch (error) {
    signal.throwIfAborted();
    return { kind: 'error', output: messageOf(error) };
  }
}
