import type { Pod } from '../api/kubernetes.ts';
import type { Observed, Terminated } from '../status/observed.ts';
import type { Member } from '../status/roles.ts';
import { latestEnd, observedOf } from '../status/runs.ts';
import { afterEnd, isPullFailure, type RestartLimits, restartAt, retryAt } from './backoff.ts';
import { type Next, nothing, type Start } from './decision.ts';

/** What all looks at a pod share. */
export interface Look {
  readonly pod: Pod;
  readonly observed: Observed;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly limits: RestartLimits;
}

/**
 * When a container whose turn it is may be started: after what its last run, or its last try, makes it wait. A time
 * that is yet to come was told by a clock that has been put right since: it makes nobody wait.
 */
function readyAt({ observed, now, limits }: Look, member: Member, end: Terminated | undefined): number {
  const container = observedOf(observed, member);
  const { state } = container;
  const afterRun = end && end.finishedAt <= now ? restartAt(member.spec, container, end, limits) : undefined;
  const failure =
    state.kind === 'waiting' && state.failure && state.failure.at <= now ? state.failure : undefined;
  return Math.max(afterRun ?? 0, failure ? retryAt(member.spec, container, failure, limits) : 0);
}

/** A failed pull turns into its back-off in the status: somebody has to look then. */
function shownUntil({ observed, now, limits }: Look, member: Member): number | undefined {
  const { state } = observedOf(observed, member);
  if (state.kind !== 'waiting' || !state.failure || !isPullFailure(state.failure)) return undefined;
  const until = state.failure.at + limits.shown;
  return until > now ? until : undefined;
}

/** Starts a container whose turn it is, or says when. One that is alive stays as it is. */
export function startOf(look: Look, member: Member): Next {
  const { observed, now, limits } = look;
  const container = observedOf(observed, member);
  if (container.state.kind === 'running' || container.state.kind === 'starting') return nothing;
  const end = latestEnd(container);
  const at = readyAt(look, member, end);
  if (at > now) return { decisions: [], lookAt: Math.min(at, shownUntil(look, member) ?? at) };
  const start: Start = {
    kind: 'start',
    container: member.spec.name,
    role: member.role,
    attempt: observed.attempt,
    restartCount: end ? end.restartCount + 1 : 0,
    ...(end && { backOff: afterEnd(member.spec, container, end, now, limits) }),
  };
  return { decisions: [start] };
}
