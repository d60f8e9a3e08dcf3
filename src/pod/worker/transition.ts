import type { ResourceRequirements } from '../api/kubernetes.ts';
import type { Start, Stop } from '../restart/decision.ts';
import type {
  Backoff,
  ContainerObserved,
  ContainerState,
  Observed,
  ProbeName,
  Running,
  StartFailure,
  Stopping,
  Terminated,
  Verdict,
} from '../status/observed.ts';

/** What becomes of what is known of a container: pure, one function for each thing that happens to it. */

type Change = (container: ContainerObserved) => ContainerObserved;

/** The run before this one becomes the last. */
const former = ({ state, last }: ContainerObserved): Pick<ContainerObserved, 'last'> => {
  const known = state.kind === 'terminated' ? state : last;
  return known ? { last: known } : {};
};

/** A start was decided. */
export const starting =
  (start: Start): Change =>
  container => ({
    ...container,
    ...former(container),
    state: {
      kind: 'starting',
      attempt: start.attempt,
      restartCount: start.restartCount,
      ...(container.state.kind === 'waiting' &&
        container.state.failure && { failure: container.state.failure }),
    },
    ...(start.backOff && { backOff: start.backOff }),
  });

/** Its image and bundle are there: the unit is started next. */
export const created =
  (image: Pick<ContainerObserved, 'image' | 'imageID'>): Change =>
  container => ({
    ...container,
    ...image,
    state: container.state.kind === 'starting' ? { ...container.state, created: true } : container.state,
  });

/** It did not come to a run, so none is counted. */
export const notStarted =
  (failure: StartFailure, pullBackOff?: Backoff): Change =>
  container => ({
    ...container,
    state: { kind: 'waiting', failure },
    ...(pullBackOff && { pullBackOff }),
  });

/** A probe has come to something in the present run. */
export const probed =
  (containerID: string, probe: ProbeName, verdict: Verdict): Change =>
  container => {
    const { state } = container;
    if (state.kind !== 'running' || state.containerID !== containerID) return container;
    return { ...container, state: { ...state, probes: { ...state.probes, [probe]: verdict } } };
  };

/** Its program runs, and its postStart hook is over. */
export const running =
  (run: Pick<Running, 'containerID' | 'startedAt' | 'hookFailed' | 'attempt' | 'restartCount'>): Change =>
  container => ({
    ...container,
    state: {
      kind: 'running',
      probes: {},
      ...run,
      ...('stopping' in container.state &&
        container.state.stopping && { stopping: container.state.stopping }),
    },
  });

/** Its unit has been given resources. */
export const given =
  (resources: ResourceRequirements): Change =>
  container => ({ ...container, resources });

/** Only a new run has what is asked for now. One that is about to begin has it. */
export const outdated =
  (cause: NonNullable<Running['outdated']>): Change =>
  container =>
    container.state.kind === 'running'
      ? { ...container, state: { ...container.state, outdated: cause } }
      : container;

export const ended =
  (end: Terminated): Change =>
  container => {
    const stopping = 'stopping' in container.state ? container.state.stopping : undefined;
    return {
      ...container,
      state: {
        ...end,
        ...(stopping && { stopped: { cause: stopping.cause, message: stopping.message } }),
      },
    };
  };

const isAlive = (state: ContainerState) => state.kind === 'running' || state.kind === 'starting';

/** A stop was decided: its hook runs, or it is told to end. */
export const stopping =
  (stop: Stop): Change =>
  container => {
    const { cause, message, deadline } = stop;
    const stage: Stopping['stage'] = stop.kind === 'preStop' ? 'hook' : 'term';
    if (!isAlive(container.state)) return container;
    return {
      ...container,
      state: { ...container.state, stopping: { cause, message, deadline, stage } },
    };
  };

/** The preStop hook is over. */
export const hookDone: Change = container => {
  const { state } = container;
  if (!('stopping' in state) || state.stopping?.stage !== 'hook') return container;
  return {
    ...container,
    state: { ...state, stopping: { ...state.stopping, stage: 'turn' } },
  };
};

/** What failed for want of an object need not wait for its turn: there may be one now. The same if nothing waits for one. */
export function triedAgain(observed: Observed): Observed {
  const { sandbox } = observed;
  const waiting = Object.entries(observed.containers).flatMap(([name, container]) => {
    const { state } = container;
    if (state.kind !== 'waiting' || state.failure?.reason !== 'CreateContainerConfigError') return [];
    return [[name, { ...container, state: { ...state, failure: { ...state.failure, at: 0 } } }] as const];
  });
  if (sandbox.kind !== 'failed' && waiting.length === 0) return observed;
  return {
    ...observed,
    ...(sandbox.kind === 'failed' && { sandbox: { ...sandbox, at: 0 } }),
    containers: { ...observed.containers, ...Object.fromEntries(waiting) },
  };
}
