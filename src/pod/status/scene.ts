import type { Pod, PodStatus } from '../api/kubernetes.ts';
import type { RestartLimits } from '../restart/backoff.ts';
import { courseOf } from '../restart/course.ts';
import type { Observed } from './observed.ts';
import { anyAlive } from './runs.ts';

/** What a status is computed from, with what follows from it for the pod as a whole. */
export interface Scene {
  readonly pod: Pod;
  readonly observed: Observed;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly limits: RestartLimits;
  /** What was told of the pod before; empty for a new one. */
  readonly former: PodStatus;
  /** Nothing of the pod is started any more. */
  readonly ending: boolean;
  /** And nothing of it runs. */
  readonly over: boolean;
}

export function sceneOf(pod: Pod, observed: Observed, now: number, limits: RestartLimits): Scene {
  const ending = courseOf(pod, observed).kind === 'ending';
  const over = ending && !anyAlive(observed) && observed.sandbox.kind !== 'making';
  return { pod, observed, now, limits, former: pod.status ?? {}, ending, over };
}
