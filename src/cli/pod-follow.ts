import { type JournalEntry, type JournalQuery, readJournal } from '../systemd/journal.ts';
import { syncJournal } from '../systemd/journal-sync.ts';
import type { Context } from './context.ts';

/**
 * Writes what the journal has of a run, and what comes until it ends, its last lines too.
 *
 * @param write gives true when that is enough
 */
export async function followRun(
  { host, signal, systemd }: Pick<Context, 'host' | 'signal' | 'systemd'>,
  unit: string,
  invocation: string,
  query: JournalQuery,
  write: (entry: JournalEntry) => Promise<boolean>,
): Promise<void> {
  const ended = new AbortController();
  const over = (await systemd())
    .waitUntil(
      unit,
      now => now.InvocationID !== invocation || ['inactive', 'failed'].includes(now.ActiveState),
      signal,
    )
    .finally(() => ended.abort(ended));
  over.catch(() => undefined);
  let cursor: string | undefined;
  try {
    const either = AbortSignal.any([signal, ended.signal]);
    for await (const entry of readJournal(host.children, { ...query, follow: true }, either)) {
      if (await write(entry)) return;
      cursor = entry.cursor;
    }
  } catch (error) {
    if (error !== ended) throw error;
  }
  await syncJournal(query.namespace, signal);
  const { tail: _tail, since: _since, ...rest } = query;
  const last = cursor === undefined ? query : { ...rest, afterCursor: cursor };
  for await (const entry of readJournal(host.children, last, signal)) if (await write(entry)) return;
}
