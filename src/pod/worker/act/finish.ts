import { directoryOf } from '../../unit/names.ts';
import { mountUnitsThere, planVolumeRemoval } from '../../volumes/removal.ts';
import { sandboxRemoval } from '../sandbox.ts';
import type { Work } from './work.ts';

/** Nothing runs any more: what the pod had goes; its directory too, if the pod is to go. @returns whether it is gone */
export async function finish({ deps, identity, qos, record }: Work, signal: AbortSignal): Promise<boolean> {
  const { host, node } = deps;
  const { uid } = identity;
  if (!record.isFinished) {
    const units = await mountUnitsThere(uid, host.files);
    await deps.perform(sandboxRemoval(record.pod, identity, qos, node), signal);
    await deps.perform(planVolumeRemoval(uid, units), signal);
    await record.keep({ observed: { ...record.observed, sandbox: { kind: 'none' } }, finished: true });
  }
  if (!record.observed.deletion) return false;
  await record.tell();
  await deps.perform([{ do: 'remove-tree', path: directoryOf(uid) }], signal);
  return true;
}
