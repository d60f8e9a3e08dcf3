import { capture, type ProcessSpec } from '../../../engine/exec.ts';
import { until } from '../../../host/presence.ts';
import type { Container } from '../../api/kubernetes.ts';
import type { ProbeTools } from '../../probes/ask.ts';
import { handlerOf } from '../../probes/handler.ts';
import { runHook } from '../../probes/hook.ts';
import { type ProbeNews, probeRun, probesOf } from '../../probes/run.ts';
import type { Stop } from '../../restart/decision.ts';
import type { Member } from '../../status/roles.ts';
import { containerDirectory } from '../../unit/names.ts';
import { engineOf } from '../engine.ts';
import { hookDone, probed } from '../transition.ts';
import { addressOf, memberOf, type Work } from './work.ts';

/** Hooks and probes of a run. */

/** What they are carried out with. */
function toolsOf({ deps: { host }, identity, record }: Work, name: string): ProbeTools {
  const exec: ProbeTools['exec'] = async (args, signal) => {
    const text = await host.files.read(`${containerDirectory(identity.uid, name)}/config.json`);
    const { process } = JSON.parse(text ?? '{}') as { readonly process: ProcessSpec };
    const { consoleSize: _size, ...own } = process;
    const wanted = { ...own, args, terminal: false };
    return capture(
      (stdio, begun) => engineOf(record.pod).exec(host, { identity, name }, wanted, stdio, begun, signal),
      signal,
    );
  };
  return { clock: host.clock, exec };
}

/** Waits until the program runs, then for its hook. What that said if it failed; nothing else keeps it. */
export async function postStart(
  work: Work,
  container: Container,
  run: AbortSignal,
): Promise<string | undefined> {
  const { name, lifecycle } = container;
  const action = lifecycle?.postStart;
  try {
    await until('there', `${containerDirectory(work.identity.uid, name)}/started`, run);
    if (!action) return undefined;
    const handler = handlerOf(action, container, addressOf(work));
    const end = await runHook(handler, toolsOf(work, name), undefined, run);
    if (end.kind === 'done') return undefined;
    work.record.event('Warning', 'FailedPostStartHook', end.message, name);
    return end.message;
  } catch (error) {
    // The run is over: its end is told by its unit.
    if (run.aborted) return undefined;
    throw error;
  }
}

export async function preStop(work: Work, stop: Stop, signal: AbortSignal): Promise<void> {
  const { deps, record, runs } = work;
  const { container: name, deadline } = stop;
  const { spec: container } = memberOf(work, name);
  const run = runs.during(name, signal);
  const action = container.lifecycle?.preStop ?? {};
  const left = Math.max(0, deadline - deps.host.clock.now());
  try {
    const handler = handlerOf(action, container, addressOf(work));
    const end = await runHook(handler, toolsOf(work, name), left, run);
    if (end.kind === 'failed') record.event('Warning', 'FailedPreStopHook', end.message, name);
  } catch (error) {
    if (!run.aborted) throw error;
  }
  signal.throwIfAborted();
  await record.container(name, hookDone);
}

/** Asks the probes of a run until it is over. @param spread the part of a period that the first ones wait, 0 to 1 */
export async function askProbes(
  work: Work,
  container: Member['spec'],
  spread: number,
  run: AbortSignal,
): Promise<void> {
  const { record } = work;
  const state = record.observed.containers[container.name]?.state;
  const probes = probesOf(container);
  if (state?.kind !== 'running' || Object.keys(probes).length === 0) return;
  const { containerID, startedAt, probes: verdicts } = state;
  const { name, ports } = container;
  const tell = (news: ProbeNews) => {
    if (news.kind === 'event') record.event('Warning', news.reason, news.message, name);
    else void record.container(name, probed(containerID, news.probe, news.verdict));
  };
  await probeRun(
    { probes, podIP: addressOf(work), startedAt, verdicts, spread, ...(ports && { ports }) },
    toolsOf(work, name),
    tell,
    run,
  );
}
