import type { ContainerStateWaiting, Pod } from '../api/kubernetes.ts';
import { isPullFailure, restartAt } from '../restart/backoff.ts';
import { runsAgain, shouldRestart } from '../restart/policy.ts';
import type { StartFailure, Terminated } from './observed.ts';
import type { Member } from './roles.ts';
import { observedOf } from './runs.ts';
import type { Scene } from './scene.ts';
import { startError } from './termination.ts';
import { goDuration } from './time.ts';

/** What a container waits for that has never been tried, or whose try has not come to anything yet. */
const untried = (pod: Pod): ContainerStateWaiting => ({
  reason: (pod.spec?.initContainers ?? []).length > 0 ? 'PodInitializing' : 'ContainerCreating',
});

/** A pull that failed shows itself for a moment, then the time until the next one. */
function ofFailure(scene: Scene, member: Member, failure: StartFailure): ContainerStateWaiting {
  const { reason, message } = failure;
  if (!isPullFailure(failure) || scene.now < failure.at + scene.limits.shown) return { reason, message };
  const image = JSON.stringify(member.spec.image ?? '');
  return { reason: 'ImagePullBackOff', message: `Back-off pulling image ${image}: ${reason}: ${message}` };
}

function ofEnd(scene: Scene, member: Member, end: Terminated): ContainerStateWaiting | undefined {
  const { pod, observed, now, limits } = scene;
  if (scene.ending || !runsAgain(pod, observed, member, end)) return undefined;
  if (end.attempt < (observed.restartedAll ?? 0))
    return { reason: 'RestartingAllContainers', message: 'All containers of the pod run again' };
  if (end.attempt < observed.attempt) return untried(pod);
  const container = observedOf(observed, member);
  if (end.finishedAt <= now && now < (restartAt(member.spec, container, end, limits) ?? now)) {
    const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
    const delay = goDuration(container.backOff?.delay ?? 0);
    const message = `back-off ${delay} restarting failed container=${member.spec.name} pod=${name}_${namespace}(${uid})`;
    return { reason: 'CrashLoopBackOff', message };
  }
  if (end.stopped?.cause === 'postStart')
    return { reason: 'PostStartHookError', message: end.stopped.message };
  // The API lets no container leave such an end: it is told as the last state only.
  if (end.stopped && shouldRestart(pod, member.spec, end.exitCode) === 'leave') return untried(pod);
  if (end.reason === startError) return { reason: 'RunContainerError', message: end.message ?? '' };
  return undefined;
}

/** Why a container does not run although it will; undefined if it runs, or has ended and nothing delays it. */
export function waitingOf(scene: Scene, member: Member): ContainerStateWaiting | undefined {
  const { state } = observedOf(scene.observed, member);
  switch (state.kind) {
    case 'waiting':
    case 'starting':
      return state.failure ? ofFailure(scene, member, state.failure) : untried(scene.pod);
    case 'running':
      return state.hookFailed === undefined
        ? undefined
        : { reason: 'PostStartHookError', message: state.hookFailed };
    case 'terminated':
      return ofEnd(scene, member, state);
  }
}
