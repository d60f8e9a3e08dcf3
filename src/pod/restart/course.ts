import type { Pod } from '../api/kubernetes.ts';
import type { Observed } from '../status/observed.ts';
import { initMembers, type Member, mainMembers } from '../status/roles.ts';
import { observedOf } from '../status/runs.ts';
import { runsAgain } from './policy.ts';

const second = 1000;
const defaultGraceSeconds = 30;

/** Where a pod is going. `deadline`: when what still runs is killed, milliseconds since 1970. */
export type Course = { readonly kind: 'on' } | { readonly kind: 'ending'; readonly deadline: number };

/** What a container has between TERM and KILL, in milliseconds. */
export const graceOf = (pod: Pod): number =>
  (pod.spec?.terminationGracePeriodSeconds ?? defaultGraceSeconds) * second;

/** When the pod will have been active for longer than it may be; undefined if it may for ever. */
export function activeUntil(pod: Pod, observed: Observed): number | undefined {
  const seconds = pod.spec?.activeDeadlineSeconds;
  return seconds === undefined ? undefined : observed.startTime + seconds * second;
}

/** When it ended for good; undefined as long as it runs, or will. */
function doneAt(pod: Pod, observed: Observed, member: Member): number | undefined {
  const { state } = observedOf(observed, member);
  if (state.kind !== 'terminated' || runsAgain(pod, observed, member, state)) return undefined;
  return state.finishedAt;
}

/** When the containers themselves brought the pod to its end: an init container failed, or all main ones are done. */
function completedAt(pod: Pod, observed: Observed): number | undefined {
  for (const member of initMembers(pod)) {
    const { state } = observedOf(observed, member);
    const done = doneAt(pod, observed, member);
    if (done !== undefined && state.kind === 'terminated' && state.exitCode !== 0) return done;
  }
  const ends = mainMembers(pod).map(member => doneAt(pod, observed, member));
  const known = ends.filter(end => end !== undefined);
  return known.length > 0 && known.length === ends.length ? Math.max(...known) : undefined;
}

const isTerminal = (phase: string | undefined): boolean => phase === 'Succeeded' || phase === 'Failed';

/** Whether the pod goes on. Once it ends, nothing of it is started any more; a grace period only gets shorter. */
export function courseOf(pod: Pod, observed: Observed): Course {
  const { deletion, failure } = observed;
  const deadlines: number[] = [];
  if (deletion) deadlines.push(deletion.at + deletion.graceSeconds * second);
  if (failure)
    deadlines.push(
      failure.at + (failure.graceSeconds === undefined ? graceOf(pod) : failure.graceSeconds * second),
    );
  const completed = completedAt(pod, observed);
  if (completed !== undefined) deadlines.push(completed + graceOf(pod));
  // It was told to have ended: what still runs should not.
  if (isTerminal(pod.status?.phase)) deadlines.push(observed.startTime);
  return deadlines.length > 0 ? { kind: 'ending', deadline: Math.min(...deadlines) } : { kind: 'on' };
}
