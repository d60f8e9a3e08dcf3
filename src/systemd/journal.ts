import { once } from 'node:events';
import { type Children, ended } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import { ExportParser, type JournalFields } from './journal-export.ts';

export type OutputStream = 'stdout' | 'stderr';

/** One entry of the journal, as a container's output. */
export interface JournalEntry {
  /** systemd's name of this place in the journal: where a later reader goes on. */
  readonly cursor: string;
  /** When journald received it, microseconds since 1970. */
  readonly timestamp: number;
  /** Empty if journald did not find out. */
  readonly unit: string;
  /** InvocationID of the run, 32 hex digits; empty if it is not known. */
  readonly invocation: string;
  /** By priority: conmon logs standard output with 6 (info) and standard error with 3 (err). */
  readonly stream: OutputStream;
  /** As it is in the journal; {@link bytesOf} gives what was written. */
  readonly message: Buffer;
  /** The line goes on in the next entry of its stream, or ended without a newline. */
  readonly partial: boolean;
  /** What ended the line: journald also cuts what it reads itself at NUL. */
  readonly ending: '\n' | '\0' | '';
}

/**
 * Whose lines. journald looks up the unit and the invocation of a sender when it reads the message, and a process
 * that has ended by then has none: the last lines of a short run are not found by `unit`. conmon writes its own
 * `CONTAINER_NAME` (`--name`) and `CONTAINER_ID_FULL` (`--cid`) into each line, so a container that is
 * started with the unit's `$INVOCATION_ID` as `--cid` is found whole, and without what the unit's other programs say.
 */
export type JournalSource =
  /** `transport`: only what came over the standard streams, without what programs tell journald themselves. */
  | {
      readonly kind: 'unit';
      readonly unit: string;
      readonly invocation?: string;
      readonly transport?: 'stdout';
    }
  | { readonly kind: 'container'; readonly name: string; readonly invocation?: string };

export interface JournalQuery {
  readonly of: JournalSource;
  readonly stream?: OutputStream;
  /** Goes on with what comes, until the signal aborts. */
  readonly follow?: boolean;
  /** Microseconds since 1970. */
  readonly since?: number;
  readonly until?: number;
  /** The last so many entries only. */
  readonly tail?: number;
  readonly afterCursor?: string;
  /** From this entry on. */
  readonly cursor?: string;
  /** The latest first. */
  readonly reverse?: boolean;
  readonly namespace?: string;
}

const fields = [
  'MESSAGE',
  'PRIORITY',
  'CONTAINER_ID_FULL',
  'CONTAINER_PARTIAL_MESSAGE',
  '_LINE_BREAK',
  '_SYSTEMD_UNIT',
  '_SYSTEMD_INVOCATION_ID',
];

const seconds = (microseconds: number) =>
  `@${Math.floor(microseconds / 1e6)}.${String(microseconds % 1e6).padStart(6, '0')}`;

function matchesOf({ of, stream }: JournalQuery): string[] {
  const [name, run] =
    of.kind === 'unit'
      ? [`_SYSTEMD_UNIT=${of.unit}`, '_SYSTEMD_INVOCATION_ID']
      : [`CONTAINER_NAME=${of.name}`, 'CONTAINER_ID_FULL'];
  return [
    name,
    ...(of.invocation === undefined ? [] : [`${run}=${of.invocation}`]),
    ...(of.kind === 'unit' && of.transport !== undefined ? [`_TRANSPORT=${of.transport}`] : []),
    ...(stream === undefined ? [] : [stream === 'stderr' ? 'PRIORITY=3' : 'PRIORITY=6']),
  ];
}

/** The command that reads what the query asks for. */
export function journalCommand(query: JournalQuery): string[] {
  return [
    'journalctl',
    '--quiet',
    '--no-pager',
    // Exact for every byte, and half the time of JSON (37,500 lines: 0.55 and 1.1 s of journalctl).
    '--output=export',
    `--output-fields=${fields.join(',')}`,
    ...(query.namespace === undefined ? [] : [`--namespace=${query.namespace}`]),
    ...(query.follow ? ['--follow'] : []),
    ...(query.tail === undefined ? ['--no-tail'] : [`--lines=${query.tail}`]),
    ...(query.since === undefined ? [] : [`--since=${seconds(query.since)}`]),
    ...(query.until === undefined ? [] : [`--until=${seconds(query.until)}`]),
    ...(query.cursor === undefined ? [] : [`--cursor=${query.cursor}`]),
    ...(query.reverse ? ['--reverse'] : []),
    ...(query.afterCursor === undefined ? [] : [`--after-cursor=${query.afterCursor}`]),
    ...matchesOf(query),
  ];
}

function entryOf(found: JournalFields): JournalEntry {
  const text = (name: string) => found.get(name)?.toString('latin1') ?? '';
  const lineBreak = text('_LINE_BREAK');
  const partial = text('CONTAINER_PARTIAL_MESSAGE') === 'true' || (lineBreak !== '' && lineBreak !== 'nul');
  return {
    cursor: text('__CURSOR'),
    timestamp: Number(text('__REALTIME_TIMESTAMP')),
    unit: found.get('_SYSTEMD_UNIT')?.toString() ?? '',
    invocation: text('CONTAINER_ID_FULL') || text('_SYSTEMD_INVOCATION_ID'),
    stream: Number(text('PRIORITY') || '6') <= 3 ? 'stderr' : 'stdout',
    message: found.get('MESSAGE') ?? Buffer.alloc(0),
    partial,
    ending: partial ? '' : lineBreak === 'nul' ? '\0' : '\n',
  };
}

const newline = 0x0a;

/**
 * The bytes that the container wrote: the message, with what ended the line unless it is partial. conmon up to 2.1.12
 * keeps the newline in the message; a message without one has it added, as journald takes it off what it reads itself.
 */
export function bytesOf(entry: JournalEntry): Buffer {
  if (entry.ending === '\n' && entry.message.at(-1) === newline) return entry.message;
  return Buffer.concat([entry.message, Buffer.from(entry.ending)]);
}

/**
 * Reads the journal, oldest first. The reader's pace is journalctl's: what is not asked for is not read. journalctl is
 * ended when the loop is left. A journal namespace that has nothing yet gives nothing.
 */
export async function* readJournal(
  children: Children,
  query: JournalQuery,
  signal: AbortSignal,
): AsyncGenerator<JournalEntry, void, undefined> {
  signal.throwIfAborted();
  const child = children.spawn(journalCommand(query), { stdio: ['ignore', 'pipe', 'pipe'] });
  const end = ended(child);
  end.catch(() => undefined);
  const abort = () => child.kill('SIGTERM');
  signal.addEventListener('abort', abort, { once: true });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-2000);
  });
  try {
    const parser = new ExportParser();
    for await (const chunk of child.stdout ?? []) {
      for (const found of parser.push(chunk as Buffer)) yield entryOf(found);
      signal.throwIfAborted();
    }
    const code = await end;
    signal.throwIfAborted();
    if (code !== 0) throw new SpawnletError('ERR_JOURNAL', `journalctl ended with ${code}: ${said.trim()}`);
  } finally {
    signal.removeEventListener('abort', abort);
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      child.kill('SIGTERM');
      await once(child, 'close');
    }
  }
}

/**
 * Where the last so many lines of the query's entries begin: a long line is several entries. Reads backwards, no further than that.
 *
 * @returns undefined if there are no more lines than that
 */
export async function startOfLines(
  children: Children,
  { follow: _follow, ...query }: JournalQuery,
  lines: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  let found = 0;
  let start: string | undefined;
  for await (const { partial, cursor } of readJournal(children, { ...query, reverse: true }, signal)) {
    // An end of a line, or what the last one has of it so far.
    if (!partial || start === undefined) found += 1;
    if (found > lines) return start;
    start = cursor;
  }
  return undefined;
}
