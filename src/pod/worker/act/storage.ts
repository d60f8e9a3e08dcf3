import type { Pod } from '../../api/kubernetes.ts';
import { exceeded, storageLimits, usageOf } from '../../volumes/tree/usage.ts';
import type { Work } from './work.ts';

/** How often the kubelet looks whether pods hold more than they may, in milliseconds. */
const period = 10_000;

/** Counting takes no more than this part of the time, however many files there are. */
const share = 0.05;

/** What the kubelet leaves a pod that holds too much, in seconds. */
const graceSeconds = 1;

/** A pod without such a limit is not looked at. */
export const hasStorageLimits = (pod: Pod): boolean => storageLimits(pod).length > 0;

/** Measures what the pod keeps on the disk, and has it fail when that is more than it may be, until the signal. */
export async function watchStorage(
  { deps, record }: Pick<Work, 'deps' | 'record'>,
  signal: AbortSignal,
): Promise<void> {
  const { clock, children } = deps.host;
  for (;;) {
    const { failure, deletion } = record.observed;
    if (failure || deletion || record.isFinished) return;
    const begin = clock.now();
    const limits = storageLimits(record.pod);
    const usage = await usageOf([...new Set(limits.flatMap(({ paths }) => paths))], children, signal);
    const message = exceeded(limits, usage);
    const at = clock.now();
    if (message !== undefined) {
      const condition = { type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet' } as const;
      await record.observe(observed => ({
        ...observed,
        failure: { reason: 'Evicted', message, at, graceSeconds },
        conditions: [...(observed.conditions ?? []), { ...condition, message }],
      }));
      return;
    }
    await clock.sleep(Math.max(period, (at - begin) / share), signal);
  }
}
