import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { watchDirectory } from './watch.ts';

/** Waits until there is something at a path, or nothing, in a directory that is there. */
export async function until(what: 'there' | 'gone', path: string, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const look = () => existsSync(path) === (what === 'there') && resolve();
  const abort = () => reject(signal.reason);
  const watcher = watchDirectory(dirname(path), look);
  signal.addEventListener('abort', abort, { once: true });
  try {
    if (signal.aborted) abort();
    look();
    await promise;
  } finally {
    signal.removeEventListener('abort', abort);
    watcher.close();
  }
}
