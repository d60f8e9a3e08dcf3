import { median, type Samples } from './sampling.ts';

/** What a row's median has to keep to. */
export type Target =
  /** In the row's unit. */
  | { readonly kind: 'at most'; readonly value: number }
  | { readonly kind: 'share of'; readonly peer: string; readonly value: number };

/** A row of the table, measured. */
export interface Row {
  readonly work: string;
  readonly unit: 'ms' | 's' | 'MB';
  readonly targets: readonly Target[];
  /** In the row's unit, by name; spawnlet's are {@link own}. */
  readonly samples: Samples;
  /** What else is to be known of the row. */
  readonly notes?: readonly string[];
}

/** The name of spawnlet among a row's samples. */
export const own = 'spawnlet';

const digits = { ms: 0, s: 2, MB: 1 };

const number = (value: number, unit: Row['unit']) => value.toFixed(value < 10 ? 2 : digits[unit]);
const measure = (value: number, unit: Row['unit']) => `${number(value, unit)} ${unit}`;

function medianOf(row: Row, name: string): number {
  return median(row.samples.get(name) ?? []);
}

function isMet(row: Row, target: Target): boolean {
  const mine = medianOf(row, own);
  return mine <= (target.kind === 'at most' ? target.value : target.value * medianOf(row, target.peer));
}

const describeTarget = (target: Target, unit: Row['unit']) =>
  target.kind === 'at most' ? `≤ ${target.value} ${unit}` : `≤ ${target.value} × ${target.peer}`;

function line(row: Row): string {
  const peers = [...row.samples.keys()].filter(name => name !== own);
  const mine = medianOf(row, own);
  const cells = [
    row.work,
    measure(mine, row.unit),
    row.targets.map(target => describeTarget(target, row.unit)).join(', '),
    peers.map(name => `${name} ${measure(medianOf(row, name), row.unit)}`).join(', ') || '–',
    peers.map(name => `${(mine / medianOf(row, name)).toFixed(2)} × ${name}`).join(', ') || '–',
    row.targets.every(target => isMet(row, target)) ? 'ok' : '**missed**',
  ];
  return `| ${cells.join(' | ')} |`;
}

/** The markdown table, and below it the smallest and all samples of every row. */
export function render(rows: readonly Row[]): string {
  const head = ['work', 'spawnlet', 'target', 'peers', 'ratio', 'result'];
  const details = rows.flatMap(row => [
    `- ${row.work}`,
    ...[...row.samples].map(
      ([name, values]) =>
        `  - ${name}: n ${values.length}, min ${measure(Math.min(...values), row.unit)}, samples ${values
          .map(value => number(value, row.unit))
          .join(' ')}`,
    ),
    ...(row.notes ?? []).map(note => `  - ${note}`),
  ]);
  return [
    `| ${head.join(' | ')} |`,
    `| ${head.map(() => '---').join(' | ')} |`,
    ...rows.map(line),
    '',
    ...details,
    '',
  ].join('\n');
}
