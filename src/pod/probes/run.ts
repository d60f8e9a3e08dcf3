import type { Container, ContainerPort, Probe } from '../api/kubernetes.ts';
import type { ProbeName, Verdict, Verdicts } from '../status/observed.ts';
import type { Answer } from './answer.ts';
import { askProbe, type ProbeTools } from './ask.ts';
import { handlerOf } from './handler.ts';
import { beginning, isFinal, probeStep } from './step.ts';
import { ticks } from './ticks.ts';

/** The probes of a container; those that it does not have are not here. */
export type Probes = { readonly [Name in ProbeName]?: Probe };

/** A run of a container that is to be probed. */
export interface ProbedRun {
  readonly probes: Probes;
  readonly ports?: readonly ContainerPort[];
  readonly podIP: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** What an earlier process has found out of this very run: it holds until another verdict. */
  readonly verdicts: Verdicts;
  /**
   * From 0 to 1: the part of a period that the first question is put off. 0 for a run that begins; a random one for
   * runs that are taken over, so that they are not asked all at once.
   */
  readonly spread: number;
}

/** What there is to tell of a run, as it comes. */
export type ProbeNews =
  | { readonly kind: 'verdict'; readonly probe: ProbeName; readonly verdict: Verdict }
  /** An event of the container, by Kubernetes' reasons. */
  | { readonly kind: 'event'; readonly reason: 'Unhealthy' | 'ProbeWarning'; readonly message: string };

/** Empty for a container without probes: there is nothing to run then. */
export function probesOf(
  container: Pick<Container, 'startupProbe' | 'livenessProbe' | 'readinessProbe'>,
): Probes {
  const { startupProbe: startup, livenessProbe: liveness, readinessProbe: readiness } = container;
  return { ...(startup && { startup }), ...(liveness && { liveness }), ...(readiness && { readiness }) };
}

const titles: Record<ProbeName, string> = {
  startup: 'Startup',
  liveness: 'Liveness',
  readiness: 'Readiness',
};

function eventOf(name: ProbeName, { kind, output }: Answer): ProbeNews[] {
  const reason = kind === 'warning' ? 'ProbeWarning' : 'Unhealthy';
  switch (kind) {
    case 'success':
      return [];
    case 'warning':
      return [{ kind: 'event', reason, message: `${titles[name]} probe warning: ${output}` }];
    case 'failure':
      return [{ kind: 'event', reason, message: `${titles[name]} probe failed: ${output}` }];
    case 'error':
      return [
        {
          kind: 'event',
          reason,
          message: `${titles[name]} probe errored and resulted in unknown state: ${output}`,
        },
      ];
  }
}

const second = 1000;

/** Asks one probe until its verdict is final or the signal says so. Gives the final verdict. */
async function watch(
  name: ProbeName,
  probe: Probe,
  run: ProbedRun,
  tools: ProbeTools,
  tell: (news: ProbeNews) => void,
  signal: AbortSignal,
): Promise<Verdict | undefined> {
  let state = beginning(run.verdicts[name]);
  if (isFinal(name, state.verdict)) return state.verdict;
  const handler = handlerOf(probe, run, run.podIP);
  const period = (probe.periodSeconds || 10) * second;
  const now = tools.clock.now();
  const delay = (probe.initialDelaySeconds ?? 0) * second;
  const begin = Math.min(Math.max(run.startedAt + delay, now), now + delay);
  for await (const _ of ticks(tools.clock, begin + run.spread * period, period, signal)) {
    const answer = await askProbe(handler, probe, tools, signal);
    for (const news of eventOf(name, answer)) tell(news);
    const { verdict: before } = state;
    state = probeStep(state, answer.kind, probe);
    if (state.verdict && state.verdict !== before)
      tell({ kind: 'verdict', probe: name, verdict: state.verdict });
    if (isFinal(name, state.verdict)) break;
  }
  return state.verdict;
}

/**
 * Probes a run of a container until it is over, by the signal, or there is nothing left to ask: the startup probe
 * first, then liveness and readiness side by side. Resolves either way.
 *
 * In a pod that ends only readiness is asked: begin again with that probe alone and the verdicts so far.
 */
export async function probeRun(
  run: ProbedRun,
  tools: ProbeTools,
  tell: (news: ProbeNews) => void,
  signal: AbortSignal,
): Promise<void> {
  const { startup, liveness, readiness } = run.probes;
  const one = (name: ProbeName, probe: Probe | undefined, whose = run) =>
    probe ? watch(name, probe, whose, tools, tell, signal) : undefined;
  try {
    if ((await one('startup', startup)) === 'failure') return;
    // After its startup a run is asked at once.
    const then = startup && run.verdicts.startup === undefined ? { ...run, spread: 0 } : run;
    await Promise.all([one('liveness', liveness, then), one('readiness', readiness, then)]);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
