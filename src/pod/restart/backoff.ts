import type { Container } from '../api/kubernetes.ts';
import type {
  Backoff,
  ContainerObserved,
  PullFailureReason,
  StartFailure,
  Terminated,
} from '../status/observed.ts';

/** Milliseconds. */
export interface BackoffLimits {
  readonly first: number;
  readonly longest: number;
  /** A run that lasts longer than this, or a pull that has not failed for so long, begins anew. */
  readonly forgottenAfter: number;
}

/** The knobs of all that is tried again, in milliseconds; tests make them short. */
export interface RestartLimits {
  readonly crash: BackoffLimits;
  readonly pull: BackoffLimits;
  /** Between tries of what has no back-off of its own: a sandbox, a missing ConfigMap. */
  readonly retry: number;
  /** How long a failed pull is shown as itself before it is shown as a back-off. */
  readonly shown: number;
  /** What a container has at least between TERM and KILL. */
  readonly leastGrace: number;
}

const second = 1000;
const minute = 60 * second;

/**
 * The kubelet's: 10 s doubling to 5 min, forgotten after 10 min of running.
 *
 * @param maxContainerRestartPeriod milliseconds, KubeletConfiguration's crashLoopBackOff.maxContainerRestartPeriod;
 *   one below 10 s is the first delay too
 */
export function kubeletLimits(maxContainerRestartPeriod: number = 5 * minute): RestartLimits {
  const first = Math.min(10 * second, maxContainerRestartPeriod);
  return {
    crash: { first, longest: maxContainerRestartPeriod, forgottenAfter: 10 * minute },
    pull: { first: 10 * second, longest: 5 * minute, forgottenAfter: 10 * minute },
    retry: 10 * second,
    shown: second,
    leastGrace: 2 * second,
  };
}

/** Of what the delay between runs is: a container with another image or other resources is a new one. */
export const crashKey = (container: Container): string =>
  JSON.stringify([container.name, container.image ?? '', container.resources ?? {}]);

/** The record that remembers a try which is made now, after something ended at `event`. */
function nextBackoff(
  former: Backoff | undefined,
  key: string,
  event: number,
  now: number,
  limits: BackoffLimits,
): Backoff {
  const known = former?.key === key && event - former.updated <= limits.forgottenAfter ? former : undefined;
  const delay = known ? Math.min(known.delay * 2, limits.longest) : limits.first;
  return { key, delay, updated: now };
}

/** True if the start after this end was decided already: what it was to wait for is over. */
const isGranted = (backOff: Backoff, end: Terminated): boolean => backOff.updated > end.finishedAt;

/**
 * Until when a container that has ended has to wait: not at all the first time, then for its delay. One that was ended to
 * have it anew, and had run for longer than its delay, need not wait.
 */
export function restartAt(
  container: Container,
  observed: ContainerObserved,
  end: Terminated,
  limits: RestartLimits,
): number | undefined {
  const backOff = observed.backOff?.key === crashKey(container) ? observed.backOff : undefined;
  if (!backOff || isGranted(backOff, end)) return undefined;
  if (end.finishedAt - backOff.updated > limits.crash.forgottenAfter) return undefined;
  const ran = end.finishedAt - (end.startedAt ?? end.finishedAt);
  if (end.stopped && end.stopped.cause !== 'postStart' && ran >= backOff.delay) return undefined;
  return end.finishedAt + backOff.delay;
}

/** What to record of the start after an end: it counts once, however often the start has to be tried. */
export function afterEnd(
  container: Container,
  { backOff }: ContainerObserved,
  end: Terminated,
  now: number,
  limits: RestartLimits,
): Backoff {
  const key = crashKey(container);
  if (backOff?.key === key && isGranted(backOff, end)) return backOff;
  return nextBackoff(backOff, key, end.finishedAt, now, limits.crash);
}

const pullFailures: readonly string[] = [
  'ErrImagePull',
  'RegistryUnavailable',
  'SignatureValidationFailed',
] satisfies PullFailureReason[];

export const isPullFailure = ({ reason }: Pick<StartFailure, 'reason'>): boolean =>
  pullFailures.includes(reason);

/** When a container that could not be started may be tried again: at once with another image. */
export function retryAt(
  container: Container,
  { pullBackOff }: ContainerObserved,
  failure: StartFailure,
  limits: RestartLimits,
): number {
  if (!isPullFailure(failure)) return failure.at + limits.retry;
  if (!pullBackOff) return failure.at + limits.pull.first;
  return failure.at + (pullBackOff.key === container.image ? pullBackOff.delay : 0);
}

/** What to record of a pull that has failed. */
export const afterFailedPull = (
  container: Container,
  observed: ContainerObserved,
  now: number,
  limits: RestartLimits,
): Backoff => nextBackoff(observed.pullBackOff, container.image ?? '', now, now, limits.pull);
