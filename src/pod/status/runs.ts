import type { Pod } from '../api/kubernetes.ts';
import type { ContainerObserved, ContainerState, Observed, Running, Terminated } from './observed.ts';
import { type Member, mainMembers } from './roles.ts';

const never: ContainerObserved = { state: { kind: 'waiting' } };

/** What is known of a container of the spec, also if nothing is. */
export const observedOf = (observed: Observed, member: Member): ContainerObserved =>
  observed.containers[member.spec.name] ?? never;

/** The latest run that was begun, or the one that is about to; undefined if there was none. */
export function latestRun(
  container: ContainerObserved,
): Exclude<ContainerState, { kind: 'waiting' }> | undefined {
  return container.state.kind === 'waiting' ? container.last : container.state;
}

/** How the latest run that has ended did so. */
export function latestEnd(container: ContainerObserved): Terminated | undefined {
  return container.state.kind === 'terminated' ? container.state : container.last;
}

/** True while a process of it may exist. */
export const isAlive = (container: ContainerObserved): boolean =>
  container.state.kind === 'running' || container.state.kind === 'starting';

/** True if a run of it was begun in the present attempt. */
export function ranNow(observed: Observed, container: ContainerObserved): boolean {
  return latestRun(container)?.attempt === observed.attempt;
}

export const anyAlive = (observed: Observed): boolean => Object.values(observed.containers).some(isAlive);

/** Main containers run only after all init containers: one that has begun proves that these are done. */
export const mainHasBegun = (pod: Pod, observed: Observed): boolean =>
  mainMembers(pod).some(member => ranNow(observed, observedOf(observed, member)));

/** True once the startup probe has succeeded, at once without one. */
export const hasStarted = (member: Member, run: Running): boolean =>
  member.spec.startupProbe === undefined || run.probes.startup === 'success';

/** True while its service may be used. */
export const isReady = (member: Member, run: Running): boolean =>
  hasStarted(member, run) && (member.spec.readinessProbe === undefined || run.probes.readiness === 'success');

/** True if an init container has ended well, or a sidecar is up, in the present attempt. */
export function isInitialized(observed: Observed, member: Member): boolean {
  const { state } = observedOf(observed, member);
  if (state.kind === 'waiting' || state.attempt !== observed.attempt) return false;
  if (member.role === 'sidecar') return state.kind === 'running' && hasStarted(member, state);
  return state.kind === 'terminated' && state.exitCode === 0;
}
