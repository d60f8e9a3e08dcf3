import type { UnitProperties } from '../../../systemd/properties.ts';
import { unitOf } from '../../unit/names.ts';
import { containerIdOf, readTraces, terminatedOf } from '../end.ts';
import { engineOf } from '../engine.ts';
import { lastWords } from '../last-words.ts';
import { ended } from '../transition.ts';
import { memberOf, type Work } from './work.ts';

type UnitChange =
  | { readonly kind: 'changed'; readonly changed: Partial<UnitProperties> }
  | { readonly kind: 'unloaded' };

export const isDown = ({ ActiveState, Job }: UnitProperties): boolean =>
  Job === 0 && (ActiveState === 'inactive' || ActiveState === 'failed');

/** In milliseconds. */
export const startOf = ({ ExecMainStartTimestamp }: UnitProperties): number =>
  Math.floor(ExecMainStartTimestamp / 1000);

/** Waits for the end of a run and records it. */
export async function follow(
  work: Work,
  name: string,
  changes: AsyncIterable<UnitChange>,
  begun: UnitProperties,
  signal: AbortSignal,
): Promise<void> {
  let state = begun;
  if (!isDown(state)) {
    for await (const change of changes) {
      if (change.kind === 'changed') state = { ...state, ...change.changed };
      else state = await (await work.deps.systemd()).unitProperties(unitOf(work.identity, name), signal);
      if (isDown(state)) break;
    }
  }
  await hasEnded(work, name, state, signal);
}

/** @param unit undefined after a boot: systemd knows nothing of that run */
export async function hasEnded(
  work: Work,
  name: string,
  unit: UnitProperties | undefined,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const { deps, identity, record, runs } = work;
  const { files, clock } = deps.host;
  const state = record.observed.containers[name]?.state;
  if (state?.kind !== 'running' && state?.kind !== 'starting') return;
  const { attempt, restartCount } = state;
  const run =
    state.kind === 'running'
      ? state
      : (runs.begun(name) ?? {
          attempt,
          restartCount,
          containerID: containerIdOf(unit?.InvocationID ?? ''),
          // Its end is told in whole seconds: without its begin it would be before the decision to start it.
          ...(unit && unit.ExecMainStartTimestamp > 0 && { startedAt: startOf(unit) }),
        });
  const traces = await readTraces(files, identity.uid, name);
  runs.end(name);
  const end = terminatedOf(run, traces, unit, clock.now());
  const message =
    end.message ??
    (await lastWords(deps.host, engineOf(record.pod), identity, memberOf(work, name).spec, end, signal));
  await record.container(name, ended({ ...end, ...(message && { message }) }));
}
