import type { Files } from '../../host/files.ts';

/** What the processes of a cgroup use, as the kubelet tells it to `kubectl top`. */

/** One look at a cgroup. */
export interface Sample {
  /** Nanoseconds of CPU time since the cgroup was made. */
  readonly cpu: bigint;
  /** Bytes: the working set, which is all memory but the pages of files that were not used lately. */
  readonly memory: number;
}

export interface Usage {
  /** Billionths of a CPU. */
  readonly cpu: number;
  /** Bytes, as in {@link Sample}. */
  readonly memory: number;
}

const root = '/sys/fs/cgroup';

const field = (text: string, name: string): string | undefined =>
  new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1];

/**
 * Where a cgroup is accounted for: version 2; version 1, where CPU time may be in a tree of its own; and beside that of version 1 the
 * tree that systemd has for itself, which counts CPU time also without controllers.
 */
const cpuSources: readonly {
  readonly file: (group: string) => string;
  readonly nanoseconds: (text: string) => bigint;
}[] = [
  { file: group => `${root}${group}/cpu.stat`, nanoseconds: fromStat },
  { file: group => `${root}/cpu,cpuacct${group}/cpuacct.usage`, nanoseconds: text => BigInt(text.trim()) },
  { file: group => `${root}/cpuacct${group}/cpuacct.usage`, nanoseconds: text => BigInt(text.trim()) },
  { file: group => `${root}/unified${group}/cpu.stat`, nanoseconds: fromStat },
];

function fromStat(text: string): bigint {
  return BigInt(field(text, 'usage_usec') ?? 0) * 1000n;
}

const memorySources = [
  { current: 'memory.current', inactive: 'inactive_file', at: root },
  { current: 'memory.usage_in_bytes', inactive: 'total_inactive_file', at: `${root}/memory` },
] as const;

async function cpuOf(files: Pick<Files, 'read'>, group: string): Promise<bigint | undefined> {
  for (const { file, nanoseconds } of cpuSources) {
    const text = await files.read(file(group));
    if (text) return nanoseconds(text);
  }
  return undefined;
}

async function memoryOf(files: Pick<Files, 'read'>, group: string): Promise<number | undefined> {
  for (const { current, inactive, at } of memorySources) {
    const [used, stat] = await Promise.all(
      [current, 'memory.stat'].map(name => files.read(`${at}${group}/${name}`)),
    );
    if (used && stat) return Math.max(0, Number(used) - Number(field(stat, inactive) ?? 0));
  }
  return undefined;
}

/** Undefined if there is no such cgroup. @param group its path, as systemd has it: `/kubepods.slice/…` */
export async function sampleOf(files: Pick<Files, 'read'>, group: string): Promise<Sample | undefined> {
  const [cpu, memory] = await Promise.all([cpuOf(files, group), memoryOf(files, group)]);
  return cpu === undefined || memory === undefined ? undefined : { cpu, memory };
}

/** @param milliseconds between the two; a cgroup that was made anew between them has used what it has used since */
export function usageOf(before: Sample, after: Sample, milliseconds: number): Usage {
  const used = after.cpu < before.cpu ? after.cpu : after.cpu - before.cpu;
  return { cpu: Math.round((Number(used) * 1000) / Math.max(1, milliseconds)), memory: after.memory };
}
