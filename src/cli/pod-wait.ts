import { SpawnletError } from '../host/error.ts';
import { type DirectoryWatch, watchDirectory } from '../host/watch.ts';
import { agentLock, agentUnit } from '../kubelet/unit.ts';
import { podsDirectory } from '../names.ts';
import { directoryOf } from '../pod/unit/names.ts';
import type { Context } from './context.ts';

/** What commands of pods share that wait for the agent. */

const states = ['active', 'activating', 'reloading'];

/** Undefined while the agent runs, as a unit or by hand; else what to tell whoever would wait for it. */
export async function agentMissing(context: Context): Promise<SpawnletError | undefined> {
  const { host, signal } = context;
  if (host.locks.holder(agentLock)) return undefined;
  const { LoadState, ActiveState } = await (await context.systemd()).unitProperties(agentUnit, signal);
  // It was started, and has not come to its lock yet.
  if (states.includes(ActiveState)) return undefined;
  return new SpawnletError('ERR_NO_AGENT', 'the agent that runs pods does not run', {
    hint:
      LoadState === 'loaded'
        ? `systemctl start ${agentUnit}; journalctl -u ${agentUnit} says why it ended`
        : 'spawnlet kubelet install',
  });
}

/** Tells on standard error that nothing happens to pods now. */
export function sayAgentMissing({ message, hint }: SpawnletError): void {
  process.stderr.write(`${message}: ${hint}\n`);
}

/** The flag of commands that wait. */
export const timeoutOption = {
  timeout: { type: 'string', value: 'TIME', help: 'wait so long at most, as in 30s or 2m (no limit)' },
} as const;

/** A limit to waiting: undefined waits as long as it takes. */
export interface Patience {
  /** Milliseconds. */
  readonly limit: number | undefined;
  /** What is told at the end of it. */
  readonly over: () => Promise<SpawnletError>;
}

/** Calls `look` whenever something of a pod was recorded, until it gives something. @throws what `over` gives */
export async function eachChange<T>(
  uids: readonly string[],
  look: () => Promise<T | undefined>,
  { limit, over }: Patience,
  { host, signal: interrupted }: Context,
): Promise<T> {
  const late = limit === undefined ? undefined : AbortSignal.timeout(limit);
  const signal = late ? AbortSignal.any([interrupted, late]) : interrupted;
  let news = Promise.withResolvers<void>();
  const watchers = new Map<string, DirectoryWatch>();
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  aborted.catch(() => undefined);
  await host.files.makeDirectory(podsDirectory, 0o700);
  watchers.set(
    '',
    watchDirectory(podsDirectory, () => news.resolve()),
  );
  try {
    for (;;) {
      for (const uid of uids)
        if (!watchers.has(uid) && (await host.files.look(directoryOf(uid))))
          watchers.set(
            uid,
            watchDirectory(directoryOf(uid), () => news.resolve()),
          );
      const found = await look();
      if (found !== undefined) return found;
      await Promise.race([news.promise, aborted]).catch(async (reason: unknown) => {
        throw late?.aborted && !interrupted.aborted ? await over() : reason;
      });
      news = Promise.withResolvers();
    }
  } finally {
    for (const watcher of watchers.values()) watcher.close();
  }
}
