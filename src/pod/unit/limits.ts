import type { TransientProperty } from '../../systemd/manager.ts';

/** What a pod or a container may use, in the kernel's measures. */
export interface Resources {
  /** Thousandths of a CPU that it is given when CPUs are short; undefined: the least. */
  readonly cpuRequest?: number;
  /** Thousandths of a CPU that it never gets more of. */
  readonly cpuLimit?: number;
  /** Bytes. */
  readonly memoryLimit?: number;
  /** Processes and threads. */
  readonly tasks?: number;
}

/** A CPU is 100, systemd's default for a unit; the kubelet's 1,024 shares. */
const weightOf = (milli: number) => Math.min(10_000, Math.max(1, Math.round(milli / 10)));

const unlimited = 2n ** 64n - 1n;
const microseconds = 1000n;

/** The same as properties of a unit that runs. A request for memory is for schedulers. */
export const limitProperties = ({ cpuRequest, cpuLimit, memoryLimit }: Resources): TransientProperty[] => [
  ['CPUWeight', 't', BigInt(weightOf(cpuRequest ?? 0))],
  [
    'CPUQuotaPerSecUSec',
    't',
    cpuLimit === undefined ? unlimited : BigInt(Math.max(10, cpuLimit)) * microseconds,
  ],
  ['MemoryMax', 't', memoryLimit === undefined ? unlimited : BigInt(memoryLimit)],
];

type Assignment = readonly [key: string, value: string];

/** Lines of a slice or service, systemd.resource-control(5). A quota below a hundredth of a CPU is that. */
export const limitLines = ({ cpuRequest, cpuLimit, memoryLimit, tasks }: Resources): Assignment[] => [
  ['CPUWeight', String(weightOf(cpuRequest ?? 0))],
  ...(cpuLimit === undefined ? [] : [['CPUQuota', `${Math.max(1, Math.round(cpuLimit / 10))}%`] as const]),
  ...(memoryLimit === undefined ? [] : [['MemoryMax', String(memoryLimit)] as const]),
  ...(tasks === undefined ? [] : [['TasksMax', String(tasks)] as const]),
];
