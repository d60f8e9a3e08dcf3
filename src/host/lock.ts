import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Clock } from './clock.ts';
import { isErrno, SpawnletError } from './error.ts';
import { type Holder, holderHere, isAlive, isLeftOver, temporaryName } from './process.ts';
import { watchDirectory } from './watch.ts';

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
  /** Who holds the lock; undefined if nobody does. */
  holder(name: string): Holder | undefined;
  /** Removes the files of locks whose holders are gone. */
  sweep(): Promise<void>;
}

/** How often a waiter looks whether the holder was killed; a release is told by inotify at once. */
const holderCheck = 500;

/** Milliseconds between two looks at a lock that is being taken from a dead holder, and how often to look. */
const graveCheck = 2;
const graveChecks = 500;

export const busy = (name: string, holder: Holder): SpawnletError =>
  new SpawnletError('ERR_BUSY', `${name} is in use by '${holder.command}' (process ${holder.pid})`, {
    hint: 'wait for it to end, or end it',
  });

/**
 * Locks as files in a directory of this boot.
 *
 * A lock is a file with the holder's identity, made by link(2), which fails if it is there. A holder that was killed
 * leaves its file behind: who finds it takes a second lock, named after the dead holder, under which nobody else
 * can replace the file, looks again, and renames its own file over it. The second lock is taken in the same way.
 */
export function fileLocks(directory: string, command: string, clock: Clock): Locks {
  const self = holderHere(command);
  const pathOf = (name: string) => join(directory, `${name.replaceAll(/[^\w.@-]/g, '_')}.lock`);

  function holderOf(path: string): Holder | undefined {
    try {
      return JSON.parse(readFileSync(path, 'utf8')) as Holder;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** Undefined if this process now holds `path`, else who does. */
  async function attempt(path: string): Promise<Holder | undefined> {
    const mine = join(directory, temporaryName());
    try {
      writeFileSync(mine, JSON.stringify(self), { mode: 0o600 });
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      writeFileSync(mine, JSON.stringify(self), { mode: 0o600 });
    }
    try {
      for (let checks = 0; ; ) {
        try {
          linkSync(mine, path);
          return undefined;
        } catch (error) {
          if (!isErrno(error, 'EEXIST')) throw error;
        }
        const holder = holderOf(path);
        if (holder === undefined) continue;
        if (isAlive(holder)) return holder;
        const grave = `${path}.${holder.pid}-${holder.start}`;
        const digger = await attempt(grave);
        if (digger) {
          // Who digs may want the lock or only sweep; it takes no longer than a few calls.
          if (++checks > graveChecks) return digger;
          await clock.sleep(graveCheck);
          continue;
        }
        try {
          const now = holderOf(path);
          if (now?.pid !== holder.pid || now.start !== holder.start) continue;
          renameSync(mine, path);
          return undefined;
        } finally {
          rmSync(grave, { force: true });
        }
      }
    } finally {
      rmSync(mine, { force: true });
    }
  }

  const held = (path: string): Lock => ({
    async [Symbol.asyncDispose]() {
      rmSync(path, { force: true });
    },
  });

  return {
    self,
    isAlive,
    async take(name) {
      const path = pathOf(name);
      const holder = await attempt(path);
      if (!holder) return held(path);
      throw busy(name, holder);
    },
    async wait(name, signal) {
      const path = pathOf(name);
      for (;;) {
        signal.throwIfAborted();
        if (!(await attempt(path))) return held(path);
        const wake = new AbortController();
        const watcher = watchDirectory(dirname(path), file => {
          if (file === null || file === basename(path)) wake.abort();
        });
        try {
          if (holderOf(path))
            await clock.sleep(holderCheck, AbortSignal.any([signal, wake.signal])).catch(() => undefined);
        } finally {
          watcher.close();
        }
      }
    },
    holder(name) {
      const holder = holderOf(pathOf(name));
      return holder && isAlive(holder) ? holder : undefined;
    },
    async sweep() {
      const names = existsSync(directory) ? readdirSync(directory) : [];
      for (const name of names) {
        const path = join(directory, name);
        if (name.endsWith('~')) {
          if (isLeftOver(name)) rmSync(path, { force: true });
          continue;
        }
        if (!/\.lock(?:\.\d+-\d+)*$/.test(name)) continue;
        const holder = holderOf(path);
        if (holder && !isAlive(holder) && !(await attempt(path))) rmSync(path, { force: true });
      }
    },
  };
}

/** Locks of a test, in memory: {@link FakeLocks.next} is another process that sees the same ones. */
export class FakeLocks implements Locks {
  readonly self: Holder;
  readonly #held: Map<string, { holder: Holder; freed: PromiseWithResolvers<void> }>;
  readonly #dead: Set<number>;

  constructor(command = 'a test', others?: FakeLocks) {
    this.#held = others ? others.#held : new Map();
    this.#dead = others ? others.#dead : new Set();
    const pid = others ? others.self.pid + 1 : 1;
    this.self = { pid, start: '1', boot: 'fake', command };
  }

  /** What a process with the next number has. */
  next(command: string): FakeLocks {
    return new FakeLocks(command, this);
  }

  /** The process of these locks is gone: what it held is free. */
  die(): void {
    this.#dead.add(this.self.pid);
    for (const [name, { holder, freed }] of this.#held) {
      if (holder.pid !== this.self.pid) continue;
      this.#held.delete(name);
      freed.resolve();
    }
  }

  /** Names of the locks that are held. */
  held(): string[] {
    return [...this.#held.keys()].sort();
  }

  isAlive(holder: Holder): boolean {
    return !this.#dead.has(holder.pid);
  }

  async take(name: string): Promise<Lock> {
    const other = this.#held.get(name);
    if (other) throw busy(name, other.holder);
    const freed = Promise.withResolvers<void>();
    this.#held.set(name, { holder: this.self, freed });
    return {
      [Symbol.asyncDispose]: async () => {
        if (this.#held.get(name)?.freed === freed) this.#held.delete(name);
        freed.resolve();
      },
    };
  }

  async wait(name: string, signal: AbortSignal): Promise<Lock> {
    const aborted = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    aborted.catch(() => undefined);
    for (let other = this.#held.get(name); other; other = this.#held.get(name)) {
      signal.throwIfAborted();
      await Promise.race([other.freed.promise, aborted]);
    }
    signal.throwIfAborted();
    return this.take(name);
  }

  holder(name: string): Holder | undefined {
    return this.#held.get(name)?.holder;
  }

  async sweep(): Promise<void> {}
}
