import type { Pod } from '../api/kubernetes.ts';
import type { ContainerObserved, Observed, Stopping, Terminated, Verdicts } from '../status/observed.ts';
import { members } from '../status/roles.ts';
import { latestEnd, observedOf } from '../status/runs.ts';
import type { Decision, Start, Stop } from './decision.ts';

/**
 * An agent of tests that carries out decisions on what is observed, and the world around it: containers that come up,
 * end, are probed. Functions give what is observed afterwards.
 */

const withContainer = (observed: Observed, name: string, container: ContainerObserved): Observed => ({
  ...observed,
  containers: { ...observed.containers, [name]: container },
});

const containerOf = (observed: Observed, name: string): ContainerObserved =>
  observed.containers[name] ?? { state: { kind: 'waiting' } };

function start(observed: Observed, { container: name, attempt, restartCount, backOff }: Start): Observed {
  const container = containerOf(observed, name);
  const end = latestEnd(container);
  const failure = container.state.kind === 'waiting' ? container.state.failure : undefined;
  return withContainer(observed, name, {
    ...container,
    state: { kind: 'starting', attempt, restartCount, ...(failure && { failure }) },
    ...(end && { last: end }),
    ...(backOff && { backOff }),
  });
}

function stop(observed: Observed, { kind, container: name, cause, message, deadline }: Stop): Observed {
  const container = containerOf(observed, name);
  const { state } = container;
  if (state.kind !== 'running' && state.kind !== 'starting') throw new Error(`${name} is not alive`);
  const stopping: Stopping = { cause, message, deadline, stage: kind === 'stop' ? 'term' : 'hook' };
  return withContainer(observed, name, { ...container, state: { ...state, stopping } });
}

/** Records a decision, as far as it is about what is observed. */
export function carryOut(observed: Observed, decision: Decision, now: number): Observed {
  switch (decision.kind) {
    case 'createSandbox':
      return { ...observed, attempt: decision.attempt, sandbox: { kind: 'making' } };
    case 'restartAll':
      return { ...observed, attempt: decision.attempt, restartedAll: decision.attempt };
    case 'start':
      return start(observed, decision);
    case 'preStop':
    case 'stop':
      return stop(observed, decision);
    case 'fail':
      return { ...observed, failure: { reason: decision.reason, message: decision.message, at: now } };
    case 'finish':
      return { ...observed, sandbox: { kind: 'none' } };
  }
}

/** A container that was starting is up. */
export function comesUp(observed: Observed, name: string, now: number): Observed {
  const container = containerOf(observed, name);
  const { state } = container;
  if (state.kind !== 'starting') return observed;
  const { attempt, restartCount, stopping } = state;
  const run = { attempt, restartCount, containerID: `${name}-${restartCount}`, startedAt: now, probes: {} };
  return withContainer(observed, name, {
    ...container,
    state: { kind: 'running', ...run, ...(stopping && { stopping }) },
  });
}

/** A container that was starting could not be. */
export function cannotStart(observed: Observed, name: string, now: number): Observed {
  const container = containerOf(observed, name);
  if (container.state.kind !== 'starting') return observed;
  const failure = { reason: 'ErrImagePull', message: 'no route to host', at: now } as const;
  return withContainer(observed, name, { ...container, state: { kind: 'waiting', failure } });
}

/** A running container has ended. */
export function ends(observed: Observed, name: string, exitCode: number, now: number): Observed {
  const container = containerOf(observed, name);
  const { state } = container;
  if (state.kind !== 'running') return observed;
  const { attempt, restartCount, containerID, startedAt, stopping } = state;
  const end: Terminated = {
    kind: 'terminated',
    attempt,
    restartCount,
    containerID,
    startedAt,
    exitCode,
    reason: exitCode === 0 ? 'Completed' : 'Error',
    finishedAt: now,
    ...(stopping && { stopped: { cause: stopping.cause, message: stopping.message } }),
  };
  return withContainer(observed, name, { ...container, state: end });
}

/** A probe of a running container has come to a verdict. */
export function isProbed(observed: Observed, name: string, verdicts: Verdicts): Observed {
  const container = containerOf(observed, name);
  const { state } = container;
  if (state.kind !== 'running') return observed;
  const probes = { ...state.probes, ...verdicts };
  return withContainer(observed, name, { ...container, state: { ...state, probes } });
}

/** The preStop hook of a container is over. */
export function hookEnds(observed: Observed, name: string): Observed {
  const container = containerOf(observed, name);
  const { state } = container;
  if (state.kind !== 'running' || state.stopping?.stage !== 'hook') return observed;
  const stopping: Stopping = { ...state.stopping, stage: 'turn' };
  return withContainer(observed, name, { ...container, state: { ...state, stopping } });
}

/** Names of the containers whose state is of one of these kinds. */
export const namesWith = (
  pod: Pod,
  observed: Observed,
  ...kinds: readonly ContainerObserved['state']['kind'][]
): string[] =>
  members(pod)
    .filter(member => kinds.includes(observedOf(observed, member).state.kind))
    .map(member => member.spec.name);
