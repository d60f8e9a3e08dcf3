import type { Stop } from '../../restart/decision.ts';
import { unitOf } from '../../unit/names.ts';
import { preStop } from './hooks.ts';
import type { Work } from './work.ts';

/** Runs the hook, or stops the unit: TERM now, KILL at the deadline. */
export async function stopContainer(work: Work, stop: Stop, signal: AbortSignal): Promise<void> {
  if (stop.kind === 'preStop') return preStop(work, stop, signal);
  const { deps, identity } = work;
  const { clock } = deps.host;
  const { container: name, deadline } = stop;
  const systemd = await deps.systemd();
  const unit = unitOf(identity, name);
  const job = await systemd.enqueue('stop', unit, 'replace', signal);
  const late = new AbortController();
  const wait = Math.max(0, deadline - clock.now());
  const kill = clock
    .sleep(wait, AbortSignal.any([signal, late.signal]))
    .then(() => systemd.killUnit(unit, 'all', 9, signal))
    .catch(() => undefined);
  try {
    await job.done;
  } finally {
    late.abort();
    await kill;
  }
}
