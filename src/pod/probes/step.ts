import type { Probe } from '../api/kubernetes.ts';
import type { ProbeName, Verdict } from '../status/observed.ts';
import type { Answer } from './answer.ts';

/** Where one probe of one run of a container is. */
export interface ProbeState {
  /** What the last answers were, and how many in a row. */
  readonly last?: Verdict;
  readonly count: number;
  /** What they have come to; stays until the other threshold is reached. */
  readonly verdict?: Verdict;
}

/** Before anything was asked; with the verdict of an earlier process on the same run, which holds until another. */
export const beginning = (verdict?: Verdict): ProbeState => ({ count: 0, ...(verdict && { verdict }) });

/** After an answer. One that is an error says nothing and leaves all as it is. */
export function probeStep(
  state: ProbeState,
  answer: Answer['kind'],
  probe: Pick<Probe, 'successThreshold' | 'failureThreshold'>,
): ProbeState {
  if (answer === 'error') return state;
  const last: Verdict = answer === 'failure' ? 'failure' : 'success';
  const count = last === state.last ? state.count + 1 : 1;
  const threshold = last === 'success' ? probe.successThreshold || 1 : probe.failureThreshold || 3;
  const verdict = count >= threshold ? last : state.verdict;
  return { last, count, ...(verdict && { verdict }) };
}

/** True for a verdict after which this run is not asked again: it has started, or it will be ended. */
export const isFinal = (name: ProbeName, verdict: Verdict | undefined): boolean =>
  name === 'startup' ? verdict !== undefined : name === 'liveness' && verdict === 'failure';
