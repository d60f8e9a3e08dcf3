import { randomBytes } from 'node:crypto';
import { readFileSync, watch } from 'node:fs';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Clock } from './clock.ts';
import { isErrno, SpawnletError } from './error.ts';

/** Who holds a lock or wrote a journal: enough to tell whether that very process still runs. */
export interface Holder {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat, ticks since boot: tells a process from a later one with its number. */
  readonly start: string;
  readonly boot: string;
  readonly command: string;
}

/** A lock that is held until disposed of, or until its holder's process ends, however it ends. */
export interface Lock extends AsyncDisposable {}

export interface Locks {
  /** Who this process is. */
  readonly self: Holder;
  isAlive(holder: Holder): boolean;
  /** Takes the lock or throws `ERR_BUSY`, naming who holds it. */
  take(name: string): Promise<Lock>;
  /** Takes the lock as soon as it is free. */
  wait(name: string, signal: AbortSignal): Promise<Lock>;
}

function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

const bootId = () => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();

/** How often a waiter looks whether the holder was killed; a release is told by inotify at once. */
const holderCheck = 500;

/**
 * Locks as files in a directory of this boot.
 *
 * A lock is a file with the holder's identity, made by link(2), which fails if it is there. A holder that was killed
 * leaves its file behind: who finds it takes a second lock, named after the dead holder, under which nobody else
 * can replace the file, looks again, and renames its own file over it. The second lock is taken in the same way.
 */
export function fileLocks(directory: string, command: string, clock: Clock): Locks {
  const self: Holder = { pid: process.pid, start: startOf(process.pid) ?? '', boot: bootId(), command };
  const isAlive = (holder: Holder) => holder.boot === self.boot && startOf(holder.pid) === holder.start;
  const pathOf = (name: string) => join(directory, `${name.replaceAll(/[^\w.@-]/g, '_')}.lock`);

  async function holderOf(path: string): Promise<Holder | undefined> {
    try {
      return JSON.parse(await readFile(path, 'utf8')) as Holder;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** Undefined if this process now holds `path`, else who does. */
  async function attempt(path: string): Promise<Holder | undefined> {
    const mine = `${path}.${self.pid}.${randomBytes(4).toString('hex')}~`;
    try {
      await writeFile(mine, JSON.stringify(self), { mode: 0o600 });
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeFile(mine, JSON.stringify(self), { mode: 0o600 });
    }
    try {
      for (;;) {
        try {
          await link(mine, path);
          return undefined;
        } catch (error) {
          if (!isErrno(error, 'EEXIST')) throw error;
        }
        const holder = await holderOf(path);
        if (holder === undefined) continue;
        if (isAlive(holder)) return holder;
        const grave = `${path}.${holder.pid}-${holder.start}`;
        const digger = await attempt(grave);
        if (digger) return digger;
        try {
          const now = await holderOf(path);
          if (now?.pid !== holder.pid || now.start !== holder.start) continue;
          await rename(mine, path);
          return undefined;
        } finally {
          await rm(grave, { force: true });
        }
      }
    } finally {
      await rm(mine, { force: true });
    }
  }

  const held = (path: string): Lock => ({ [Symbol.asyncDispose]: () => rm(path, { force: true }) });

  return {
    self,
    isAlive,
    async take(name) {
      const path = pathOf(name);
      const holder = await attempt(path);
      if (!holder) return held(path);
      throw new SpawnletError(
        'ERR_BUSY',
        `${name} is in use by '${holder.command}' (process ${holder.pid})`,
        {
          hint: 'wait for it to end, or end it',
        },
      );
    },
    async wait(name, signal) {
      const path = pathOf(name);
      for (;;) {
        signal.throwIfAborted();
        if (!(await attempt(path))) return held(path);
        const wake = new AbortController();
        const watcher = watch(dirname(path), (_event, file) => {
          if (file === basename(path)) wake.abort();
        });
        try {
          if (await holderOf(path))
            await clock.sleep(holderCheck, AbortSignal.any([signal, wake.signal])).catch(() => undefined);
        } finally {
          watcher.close();
        }
      }
    },
  };
}
