import type { Clock } from '../../host/clock.ts';

/**
 * Yields at `first`, or now if that is over, then every `period` from there; times that its consumer was too slow for
 * are left out. Ends by throwing the reason of the signal.
 *
 * @param first milliseconds since 1970
 * @param period milliseconds, more than 0
 */
export async function* ticks(
  clock: Clock,
  first: number,
  period: number,
  signal: AbortSignal,
): AsyncGenerator<void> {
  let next = Math.max(first, clock.now());
  let wait = next - clock.now();
  while (true) {
    if (wait > 0) await clock.sleep(wait, signal);
    signal.throwIfAborted();
    yield;
    const now = clock.now();
    const missed = Math.max(Math.floor((now - next) / period), 0);
    next += (missed + 1) * period;
    // A clock that was put back makes nobody wait for longer than a period.
    wait = Math.min(next - now, period);
    if (now + wait < next) next = now + wait;
  }
}
