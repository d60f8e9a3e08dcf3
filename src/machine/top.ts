import { ended } from '../host/child.ts';
import type { Host } from '../host/host.ts';
import type { SystemdClient } from '../systemd/client.ts';
import { machineUnit } from './drop-in.ts';

/** What a machine uses now; undefined where systemd does not account for it. */
export interface MachineUse {
  readonly name: string;
  /** Nanoseconds since it was started. */
  readonly cpu?: number;
  /** Bytes. */
  readonly memory?: number;
  readonly tasks?: number;
  /** Bytes since it was started. */
  readonly read?: number;
  readonly written?: number;
}

/** What D-Bus has for "not known": all bits set. */
const unknown = 2n ** 64n - 1n;

/** The numbers of systemd's own accounting, machine by machine. */
export async function usesOf(
  names: readonly string[],
  systemd: SystemdClient,
  signal: AbortSignal,
): Promise<MachineUse[]> {
  const { unitPath } = await import('../systemd/properties.ts');
  return await Promise.all(
    names.map(async name => {
      const path = unitPath(machineUnit(name));
      const all = await systemd.rawProperties(path, 'org.freedesktop.systemd1.Service', signal);
      const number = (property: string) => {
        const value = all.get(property);
        const known = typeof value === 'bigint' || typeof value === 'number' ? BigInt(value) : unknown;
        return known === unknown ? undefined : Number(known);
      };
      const numbers = {
        cpu: number('CPUUsageNSec'),
        memory: number('MemoryCurrent'),
        tasks: number('TasksCurrent'),
        read: number('IOReadBytes'),
        written: number('IOWriteBytes'),
      };
      const known = Object.entries(numbers).filter(([, value]) => value !== undefined);
      return { name, ...(Object.fromEntries(known) as Omit<MachineUse, 'name'>) };
    }),
  );
}

/** systemd-cgtop(1) on what runs in machines, or in one, until the user leaves. */
export async function showTop(host: Host, cgroup: string, signal: AbortSignal): Promise<number> {
  const child = host.children.spawn(['systemd-cgtop', '--order=memory', cgroup], { stdio: 'inherit' });
  const abort = () => child.kill('SIGTERM');
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await ended(child);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
