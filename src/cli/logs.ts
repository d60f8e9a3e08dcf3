import { once } from 'node:events';
import { noContainer } from '../app/observe.ts';
import { unitOf } from '../app/plan.ts';
import { parseCount } from '../app/request.ts';
import { SpawnletError } from '../host/error.ts';
import { quoted } from '../host/shell.ts';
import { logNamespace } from '../names.ts';
import {
  bytesOf,
  type JournalEntry,
  type JournalQuery,
  readJournal,
  startOfLines,
} from '../systemd/journal.ts';
import { syncJournal } from '../systemd/journal-sync.ts';
import { defineCommand } from './command.ts';
import { containers } from './containers.ts';
import type { Context } from './context.ts';

const units: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400 };

/** Microseconds since 1970 of `2026-11-22T10:00:00Z`, of seconds since 1970, or of `10m`, which is ten minutes ago. */
export function parseTime(text: string, now: number): number {
  const past = /^(\d+(?:\.\d+)?)([smhd])$/.exec(text);
  if (past) return Math.round((now - Number(past[1]) * (units[past[2] ?? ''] ?? 1) * 1000) * 1000);
  const then = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text);
  if (Number.isFinite(then)) return Math.round(then * 1000);
  throw new SpawnletError('ERR_FLAG_VALUE', `'${text}' is no time`, {
    hint: 'as in 10m, 2026-11-22T10:00:00Z, 1795341600',
  });
}

/** How many lines; undefined for all of them, as podman and docker take `all` and -1. */
const parseTail = (text: string | undefined): number | undefined =>
  text === undefined || text === 'all' || text === '-1' ? undefined : parseCount('tail', text, 0);

/** Writes entries to the stream that they came from, with the time before each line if that is wanted. */
function writer(timestamps: boolean): (entry: JournalEntry) => Promise<void> {
  const open = { stdout: false, stderr: false };
  return async entry => {
    const target = entry.stream === 'stderr' ? process.stderr : process.stdout;
    const stamp =
      timestamps && !open[entry.stream] ? `${new Date(entry.timestamp / 1000).toISOString()} ` : '';
    open[entry.stream] = entry.partial;
    if (!target.write(Buffer.concat([Buffer.from(stamp), bytesOf(entry)]))) await once(target, 'drain');
  };
}

/** The same query from where its last lines begin: a long line is several entries of the journal. */
async function lastLines(
  { host, signal }: Context,
  { since, ...query }: JournalQuery,
  lines: number,
): Promise<JournalQuery> {
  if (lines === 0) return { ...query, tail: 0 };
  const from = { ...query, ...(since !== undefined && { since }) };
  const cursor = await startOfLines(host.children, from, lines, signal);
  return cursor === undefined ? from : { ...query, cursor };
}

export const logs = defineCommand({
  name: 'logs',
  group: 'Containers',
  summary: 'Show what a container wrote',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: {
    follow: { type: 'boolean', short: 'f', help: 'go on with what comes, until the container ends' },
    since: { type: 'string', value: 'TIME', help: '10m, 2026-11-22T10:00:00Z, seconds since 1970' },
    until: { type: 'string', value: 'TIME', help: 'the same' },
    tail: { type: 'string', short: 'n', value: 'LINES', help: 'the last so many lines, or all' },
    timestamps: { type: 'boolean', short: 't', help: 'with the time of each line' },
    'last-run': { type: 'boolean', help: 'of the current or last run only' },
    stream: { type: 'string', value: 'STREAM', choices: ['stdout', 'stderr'], help: 'stdout or stderr only' },
  },
  examples: [
    ['spawnlet logs -f --tail 20 web', 'the last lines, then what comes'],
    ['journalctl --namespace=spawnlet -u web', 'the same without spawnlet'],
  ],
  async run({ options, arguments: [name = ''] }, context) {
    const apps = await containers(context);
    const app = await apps.find(name, context.signal);
    // What a container wrote stays when it is removed.
    const former = `journalctl --namespace=${logNamespace} -u ${quoted(name)}`;
    if (!app) throw noContainer(name, `spawnlet ps -a lists them; of one that was removed: ${former}`);
    const now = context.host.clock.now();
    // What an earlier container of that name wrote is not this one's.
    const since = Math.max(
      Date.parse(app.created) * 1000 || 0,
      options.since === undefined ? 0 : parseTime(options.since, now),
    );
    const tail = parseTail(options.tail);
    const all: JournalQuery = {
      of: {
        // conmon names the container in each line; what nspawn's streams carry is found by its unit.
        ...(app.request.engine === 'crun'
          ? { kind: 'container', name }
          : { kind: 'unit', unit: unitOf(name), transport: 'stdout' }),
        ...(options['last-run'] && { invocation: app.unit.InvocationID || (app.record?.invocation ?? '') }),
      },
      namespace: logNamespace,
      since,
      ...(options.until !== undefined && { until: parseTime(options.until, now) }),
      ...(options.stream === 'stdout' || options.stream === 'stderr' ? { stream: options.stream } : {}),
    };
    const put = writer(options.timestamps);
    const write = async (entry: JournalEntry) => {
      if (entry.timestamp >= since) await put(entry);
    };
    const read = (part: JournalQuery, signal: AbortSignal) =>
      readJournal(context.host.children, part, signal);
    await syncJournal(logNamespace, context.signal);
    const query = tail === undefined ? all : await lastLines(context, all, tail);
    const up = app.state.kind !== 'exited' && app.state.kind !== 'created';
    if (!options.follow || !up) {
      for await (const entry of read(query, context.signal)) await write(entry);
      return 0;
    }
    const ended = new AbortController();
    const over = apps.wait(name, context.signal).finally(() => ended.abort(ended));
    over.catch(() => undefined);
    let cursor: string | undefined;
    try {
      for await (const entry of read(
        { ...query, follow: true },
        AbortSignal.any([context.signal, ended.signal]),
      )) {
        await write(entry);
        cursor = entry.cursor;
      }
    } catch (error) {
      if (error !== ended) throw error;
    }
    // The follower was ended with the container; its last lines may not have come through it.
    await syncJournal(logNamespace, context.signal);
    const { since: _since, ...rest } = all;
    for await (const entry of read(
      cursor === undefined ? query : { ...rest, afterCursor: cursor },
      context.signal,
    ))
      await write(entry);
    return 0;
  },
});
