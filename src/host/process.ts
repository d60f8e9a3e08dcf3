import { readdirSync, readFileSync } from 'node:fs';

/** Who holds a lock, wrote a journal or a temporary file: enough to tell whether that very process still runs. */
export interface Holder {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat, ticks since boot: tells a process from a later one with its number. */
  readonly start: string;
  readonly boot: string;
  readonly command: string;
}

/** Undefined if there is no such process, or nothing of it but the number that its parent has yet to ask for. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // The first thread of a process that is being killed may be gone while others end a write.
    if (fields[0] === 'Z' && readdirSync(`/proc/${pid}/task`).length <= 1) return undefined;
    return fields[19];
  } catch {
    return undefined;
  }
}

let boot: string | undefined;
const bootId = () => (boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim());

let ownStart: string | undefined;
const startOfSelf = () => (ownStart ??= startOf(process.pid) ?? '');

/** This process. */
export function holderHere(command: string): Holder {
  return { pid: process.pid, start: startOfSelf(), boot: bootId(), command };
}

export function isAlive(holder: Pick<Holder, 'pid' | 'start' | 'boot'>): boolean {
  return holder.boot === bootId() && startOf(holder.pid) === holder.start;
}

/** Eight hex digits that tell apart what one process makes; no secret, so node's cryptography is not loaded for it. */
export const unique = (): string =>
  Math.floor(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, '0');

/** A name, in the directory of the file that it is to become, for what this process is writing. */
export function temporaryName(): string {
  return `.${process.pid}-${startOfSelf()}-${unique()}~`;
}

/** True for a {@link temporaryName} that a process which is gone has left. */
export function isLeftOver(name: string): boolean {
  const [, pid, start = ''] = /^\.(\d+)-(\d+)-[0-9a-f]{8}~$/.exec(name) ?? [];
  return pid !== undefined && startOf(Number(pid)) !== start;
}

/** Words that begin a command of this very program. */
export const ownWords = (): string[] => [process.execPath, ...process.execArgv, process.argv[1] ?? ''];
