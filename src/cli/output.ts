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

/** Prints any value as JSON or YAML. */
export async function print(value: unknown, format: string): Promise<void> {
  if (format === 'json') process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
  else process.stdout.write((await import('yaml')).stringify(value));
}

/** Prints a list in the format that `-o` asks for. */
export async function printList<R>(
  rows: readonly R[],
  columns: readonly Column<R>[],
  format: string | undefined,
): Promise<void> {
  if (format === undefined || format === 'table') process.stdout.write(table(rows, columns));
  else await print(rows, format);
}

/** `12.3 MB`, in powers of 1000 as podman has it. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, count)) / 3)));
  const value = count / 1000 ** power;
  return `${power === 0 ? value : value.toPrecision(3)} ${units[power]}`;
}

/** `5 minutes ago`. */
export function ago(then: number, now: number): string {
  const seconds = Math.max(0, Math.round((now - then) / 1000));
  for (const [unit, size] of [
    ['day', 86400],
    ['hour', 3600],
    ['minute', 60],
  ] as const) {
    const count = Math.floor(seconds / size);
    if (count > 0) return `${count} ${unit}${count === 1 ? '' : 's'} ago`;
  }
  return `${seconds} second${seconds === 1 ? '' : 's'} ago`;
}
