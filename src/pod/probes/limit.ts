import type { Clock } from '../../host/clock.ts';

export const timedOut: unique symbol = Symbol('timed out');

/**
 * The value of `work`, or {@link timedOut} after `ms`; work that is too slow is told by its signal. Rejects with the
 * reason of `signal`.
 */
export async function limited<T>(
  clock: Clock,
  ms: number,
  work: (signal: AbortSignal) => Promise<T>,
  signal: AbortSignal,
): Promise<T | typeof timedOut> {
  signal.throwIfAborted();
  const over = new AbortController();
  const own = AbortSignal.any([signal, over.signal]);
  const late = clock.sleep(ms, own).then((): typeof timedOut => timedOut);
  try {
    return await Promise.race([work(own), late]);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    over.abort(timedOut);
  }
}
