import type { ContainerState, Running, StopCause } from '../status/observed.ts';
import { initMembers, type Member, mainMembers, members } from '../status/roles.ts';
import { isAlive, observedOf } from '../status/runs.ts';
import { graceOf } from './course.ts';
import { type Decision, type Next, nothing, type Stop } from './decision.ts';
import { policyOf } from './policy.ts';
import type { Look } from './start.ts';

type Alive = Extract<ContainerState, { kind: 'running' | 'starting' }>;

const second = 1000;

function aliveState(look: Look, member: Member): Alive | undefined {
  const { state } = observedOf(look.observed, member);
  return state.kind === 'running' || state.kind === 'starting' ? state : undefined;
}

/**
 * The next step of stopping one container: its preStop hook, then TERM. A stop that was decided is decided again only
 * when it has to be over earlier.
 *
 * @param turn whether it may be told to end; its hook need not wait for that
 */
function stepOf(look: Look, member: Member, wanted: Omit<Stop, 'kind' | 'container'>, turn: boolean): Next {
  const { now, limits } = look;
  const state = aliveState(look, member);
  if (!state) return nothing;
  const { stopping } = state;
  const deadline = Math.max(
    Math.min(wanted.deadline, stopping?.deadline ?? Number.POSITIVE_INFINITY),
    now + limits.leastGrace,
  );
  const { cause, message } = stopping ?? wanted;
  const stop: Stop = { kind: 'stop', container: member.spec.name, cause, message, deadline };
  if (stopping?.stage === 'term') return stopping.deadline > deadline ? { decisions: [stop] } : nothing;
  const timeIsUp = now >= Math.min(wanted.deadline, stopping?.deadline ?? wanted.deadline);
  if (timeIsUp) return { decisions: [stop] };
  const hooked = state.kind === 'running' && member.spec.lifecycle?.preStop !== undefined;
  if (hooked && !stopping) return { decisions: [{ ...stop, kind: 'preStop' }] };
  const hookRuns = stopping?.stage === 'hook';
  if (turn && !hookRuns) return { decisions: [stop] };
  return { decisions: [], lookAt: deadline };
}

/**
 * Stops all of a pod: main containers, running init containers and ephemeral ones together, sidecars in reverse order
 * once the main ones are gone. Only those that `which` names.
 *
 * @param deadline for those that have none yet
 */
export function stopAll(
  look: Look,
  cause: StopCause,
  deadline: number,
  which: (member: Member) => boolean = () => true,
): Next[] {
  const wanted = { cause, deadline };
  const alive = (member: Member) => isAlive(observedOf(look.observed, member));
  const sidecars = initMembers(look.pod).filter(({ role }) => role === 'sidecar');
  const mainsAreGone = !mainMembers(look.pod).some(alive);
  return members(look.pod)
    .filter(which)
    .map(member => {
      const later = sidecars.slice(sidecars.findIndex(({ spec }) => spec === member.spec) + 1);
      const turn = member.role !== 'sidecar' || (mainsAreGone && !later.some(alive));
      return stepOf(look, member, { ...wanted, message: `Stopping container ${member.spec.name}` }, turn);
    });
}

/** Why a running container of a pod that goes on has to be ended, and how long it may take; undefined if it stays. */
function faultOf(look: Look, member: Member, run: Running): Omit<Stop, 'kind' | 'container'> | undefined {
  const { pod, now } = look;
  const { name, livenessProbe, startupProbe } = member.spec;
  const within = (seconds?: number) => now + (seconds === undefined ? graceOf(pod) : seconds * second);
  const what = member.role === 'sidecar' ? 'Init container' : 'Container';
  const again =
    member.role === 'sidecar' || policyOf(pod, member.spec) !== 'Never' ? ', will be restarted' : '';
  if (run.hookFailed !== undefined)
    return { cause: 'postStart', message: run.hookFailed, deadline: within() };
  if (run.outdated !== undefined)
    return {
      cause: run.outdated,
      message: `${what} ${name} ${run.outdated === 'resources' ? 'resize requires restart' : 'definition changed, will be restarted'}`,
      deadline: within(),
    };
  if (run.probes.startup === 'failure')
    return {
      cause: 'startup',
      message: `${what} ${name} failed startup probe${again}`,
      deadline: within(startupProbe?.terminationGracePeriodSeconds),
    };
  if (run.probes.liveness === 'failure')
    return {
      cause: 'liveness',
      message: `${what} ${name} failed liveness probe${again}`,
      deadline: within(livenessProbe?.terminationGracePeriodSeconds),
    };
  return undefined;
}

/** Stops one container of a pod that goes on, if its probes, its hook or its spec ask for that. */
export function stopOfOne(look: Look, member: Member): Next {
  const state = aliveState(look, member);
  if (state?.kind !== 'running') return nothing;
  if (state.stopping) return stepOf(look, member, state.stopping, true);
  const fault = faultOf(look, member, state);
  return fault ? stepOf(look, member, fault, true) : nothing;
}

export const isStop = (decision: Decision): decision is Stop =>
  decision.kind === 'stop' || decision.kind === 'preStop';
