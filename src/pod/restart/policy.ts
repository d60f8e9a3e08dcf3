import type { Container, ContainerRestartRule, Pod } from '../api/kubernetes.ts';
import type { Observed, Terminated } from '../status/observed.ts';
import { initMembers, type Member, mainMembers } from '../status/roles.ts';
import { observedOf } from '../status/runs.ts';

export type RestartPolicy = 'Always' | 'OnFailure' | 'Never';

/** What an exit code leads to: nothing, another run, or all containers of the pod from the beginning. */
export type AfterExit = 'leave' | 'restart' | 'restartAll';

/** The part of a container that speaks of restarts. */
export type RestartRules = Pick<Container, 'restartPolicy' | 'restartPolicyRules'>;

/** The container's own policy, else the pod's; `Always` where neither says anything. */
export function policyOf(pod: Pod, container: RestartRules): RestartPolicy {
  const policy = container.restartPolicy ?? pod.spec?.restartPolicy;
  return policy === 'Never' || policy === 'OnFailure' ? policy : 'Always';
}

/** The first rule that speaks of this exit code; only a container with a policy of its own has rules. */
function ruleFor(container: RestartRules, exitCode: number): ContainerRestartRule | undefined {
  if (container.restartPolicy === undefined) return undefined;
  return container.restartPolicyRules?.find(({ exitCodes }) => {
    const listed = exitCodes?.values?.includes(exitCode) ?? false;
    if (exitCodes?.operator === 'In') return listed;
    return exitCodes?.operator === 'NotIn' && !listed;
  });
}

/** Rules first, in their order, then the policy of the container, then that of the pod. */
export function shouldRestart(pod: Pod, container: RestartRules, exitCode: number): AfterExit {
  const action = ruleFor(container, exitCode)?.action;
  if (action === 'RestartAllContainers') return 'restartAll';
  if (action === 'Restart') return 'restart';
  const policy = policyOf(pod, container);
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0) ? 'restart' : 'leave';
}

/** True if an exit code of a container may bring all of them to a restart: their states may then leave any end. */
export const mayRestartAll = (pod: Pod): boolean =>
  [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].some(container =>
    container.restartPolicyRules?.some(rule => rule.action === 'RestartAllContainers'),
  );

/** The container whose end in the present attempt asks for a restart of all; undefined if none does. */
export function restartsAll(pod: Pod, observed: Observed): string | undefined {
  const by = [...initMembers(pod), ...mainMembers(pod)].find(member => {
    const { state } = observedOf(observed, member);
    if (state.kind !== 'terminated' || state.attempt !== observed.attempt) return false;
    return shouldRestart(pod, member.spec, state.exitCode) === 'restartAll';
  });
  return by?.spec.name;
}

/** True if there is an end after which this container runs again. */
export const isRestartable = (pod: Pod, container: RestartRules): boolean =>
  policyOf(pod, container) !== 'Never' || (container.restartPolicyRules ?? []).length > 0;

/**
 * Whether a container runs again after this end, in a pod that goes on. What spawnlet ended itself, to have it anew,
 * is not judged by its exit code; an init container that is done has to run again in a new attempt.
 */
export function runsAgain(pod: Pod, observed: Observed, member: Member, end: Terminated): boolean {
  const { role, spec } = member;
  if (role === 'ephemeral') return false;
  const restartedAll = end.attempt < (observed.restartedAll ?? 0);
  if (role === 'sidecar' || restartedAll) return true;
  if (role === 'init' && end.attempt < observed.attempt) return true;
  if (role === 'init' && end.exitCode === 0) return false;
  switch (end.stopped?.cause) {
    case 'image':
    case 'resources':
    case 'restartAll':
      return true;
    case 'liveness':
    case 'startup':
    case 'sandbox':
      return policyOf(pod, spec) !== 'Never';
    case 'podEnd':
    case 'postStart':
    case undefined:
      return shouldRestart(pod, spec, end.exitCode) !== 'leave';
  }
}
