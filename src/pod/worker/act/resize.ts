import type { Pod } from '../../api/kubernetes.ts';
import { members } from '../../status/roles.ts';
import { limitProperties, type Resources } from '../../unit/limits.ts';
import { sliceOf, unitOf } from '../../unit/names.ts';
import { containerResources } from '../run.ts';
import { podResources } from '../sandbox.ts';
import { messageText, type Work } from './work.ts';

/** Gives what runs the resources of the pod as it is asked for now, where they were others before. */
export async function resize(
  { deps, identity, qos, record }: Work,
  before: Pod,
  signal: AbortSignal,
): Promise<void> {
  const { node } = deps;
  const { pod } = record;
  const systemd = await deps.systemd();
  const set = async (unit: string, old: Resources, now: Resources) => {
    if (JSON.stringify(old) !== JSON.stringify(now) && (await systemd.isLoaded(unit, signal)))
      await systemd.setUnitProperties(unit, 'runtime', limitProperties(now), signal);
  };
  try {
    await set(sliceOf(identity, qos), podResources(before, node), podResources(pod, node));
    for (const { spec } of members(pod)) {
      const old = members(before).find(each => each.spec.name === spec.name);
      if (old) await set(unitOf(identity, spec.name), containerResources(old.spec), containerResources(spec));
    }
    record.event('Normal', 'ResizeCompleted', 'Pod resize completed');
  } catch (error) {
    signal.throwIfAborted();
    record.event('Warning', 'ResizeError', messageText(error));
  }
}
