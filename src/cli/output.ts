/** Rows for people, documents for programs. */

/** A column of a table: its head, and how a row fills it. */
export type Column<R> = readonly [head: string, cell: (row: R) => string];

/** Control characters of a name or label must not reach a terminal. */
export const printable = (text: string): string => text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?');

export function table<R>(rows: readonly R[], columns: readonly Column<R>[]): string {
  const lines = [
    columns.map(([head]) => head),
    ...rows.map(row => columns.map(([, cell]) => printable(cell(row)))),
  ];
  const widths = columns.map((_column, at) => Math.max(...lines.map(line => line[at]?.length ?? 0)));
  return lines
    .map(
      line =>
        `${line
          .map((cell, at) => cell.padEnd(widths[at] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

/** Prints any value as JSON, or as YAML where `-o` asks for that. */
export async function print(value: unknown, format: string | undefined): Promise<void> {
  if (format === 'yaml') process.stdout.write((await import('yaml')).stringify(value));
  else process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** How a list of one kind is shown. */
export interface List<R> {
  /** What stands for a row in a table, where that is not one line. */
  readonly lines?: (row: R) => readonly R[];
  readonly columns: readonly Column<R>[];
  /** What `-q` prints of a row. */
  readonly key: (row: R) => string;
}

/** Prints a list in the format that `-o` asks for, or its keys alone with `-q`. */
export async function printList<R>(
  rows: readonly R[],
  { lines = row => [row], columns, key }: List<R>,
  { output, quiet }: { readonly output: string | undefined; readonly quiet?: boolean },
): Promise<void> {
  if (quiet) process.stdout.write(rows.map(row => `${key(row)}\n`).join(''));
  else if (output === undefined || output === 'table')
    process.stdout.write(table(rows.flatMap(lines), columns));
  else await print(rows, output);
}

/** `12.3 MB`, in powers of 1000 as podman has it. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, count)) / 3)));
  const value = count / 1000 ** power;
  return `${power === 0 ? value : value.toPrecision(3)} ${units[power]}`;
}

const minute = 60;
const hour = 60 * minute;
const day = 24 * hour;

/** From how many seconds on a unit is used, its length, and what stands for one of it. */
const lengths = [
  [2 * 365 * day, 365 * day, 'year'],
  [60 * day, 30 * day, 'month'],
  [14 * day, 7 * day, 'week'],
  [48 * hour, day, 'day'],
  [hour, hour, 'hour', 'About an hour'],
  [minute, minute, 'minute', 'About a minute'],
  [1, 1, 'second', '1 second'],
] as const;

/** How long something took, or is ago, as podman and docker say it: `5 minutes`, `About an hour`. */
export function duration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const found = lengths.find(([least]) => seconds >= least);
  if (!found) return 'Less than a second';
  const [, length, unit, one] = found;
  const count = Math.floor(seconds / length);
  return count === 1 && one !== undefined ? one : `${count} ${unit}s`;
}

/** `5 minutes ago`, of milliseconds since 1970. */
export const ago = (then: number, now: number): string => `${duration(now - then)} ago`;

/** Milliseconds since 1970 as RFC 3339 has it; null where the time is not known. */
export const rfc3339 = (time: number | undefined): string | null =>
  time === undefined || !(time > 0) ? null : new Date(time).toISOString();
