import { initMembers, type Member, mainMembers } from './roles.ts';
import { hasStarted, latestEnd, mainHasBegun, observedOf } from './runs.ts';
import type { Scene } from './scene.ts';

export type Phase = 'Pending' | 'Running' | 'Succeeded' | 'Failed';

/** True for a phase that no pod leaves. */
export const isTerminal = (phase: string | undefined): phase is 'Succeeded' | 'Failed' =>
  phase === 'Succeeded' || phase === 'Failed';

/** An init container that has not ended in the present attempt; one that failed holds the main ones back by itself. */
function initPends({ observed }: Scene, member: Member): boolean {
  const { state, last } = observedOf(observed, member);
  if (state.kind === 'terminated') return state.attempt !== observed.attempt;
  return state.kind !== 'waiting' || last === undefined;
}

function sidecarPends({ observed }: Scene, member: Member): boolean {
  const { state, last } = observedOf(observed, member);
  if (state.kind === 'running') return !hasStarted(member, state);
  return state.kind !== 'terminated' && last === undefined;
}

/** Never begun, or not yet for the first time. */
function waits({ observed }: Scene, member: Member): boolean {
  const container = observedOf(observed, member);
  return container.state.kind !== 'running' && latestEnd(container) === undefined;
}

/** Of a pod that is not over. */
function activePhase(scene: Scene): 'Pending' | 'Running' {
  const { pod, observed } = scene;
  const inits = initMembers(pod);
  const sidecars = inits.filter(member => member.role === 'sidecar');
  const mains = mainMembers(pod);
  const pending =
    inits.some(member => member.role === 'init' && initPends(scene, member)) ||
    (!mainHasBegun(pod, observed) && sidecars.some(member => sidecarPends(scene, member))) ||
    [...sidecars, ...mains].some(member => waits(scene, member));
  return pending ? 'Pending' : 'Running';
}

/** Of a pod that is over: it succeeded if all main containers did. */
function finalPhase({ pod, observed }: Scene): 'Succeeded' | 'Failed' {
  if (observed.failure) return 'Failed';
  const succeeded = mainMembers(pod).every(member => latestEnd(observedOf(observed, member))?.exitCode === 0);
  return succeeded ? 'Succeeded' : 'Failed';
}

/** The phase by the kubelet's rules: no pod is told to have ended while a process of it may run, and none comes back. */
export function phaseOf(scene: Scene): Phase {
  if (isTerminal(scene.former.phase)) return scene.former.phase;
  return scene.over ? finalPhase(scene) : activePhase(scene);
}
