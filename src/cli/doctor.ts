import type { Diagnosis } from '../app/doctor/diagnosis.ts';
import { defineCommand, outputOption } from './command.ts';
import { print, printable } from './output.ts';

const width = 80;

/** Breaks at spaces; a word that is longer than a line stays whole. */
function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > columns) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

/** A row for each finding, within 80 columns. What is not ok says what it is needed for, and its fix. */
export function report(rows: readonly Diagnosis[]): string {
  const head = Math.max(...rows.map(({ name }) => name.length), 'CHECK'.length) + 2;
  const verdictWidth = 'missing'.length + 2;
  const indent = head + verdictWidth;
  const cell = (first: string, verdict: string, text: string) =>
    wrap(printable(text), width - indent)
      .map((line, at) =>
        at === 0
          ? `${first.padEnd(head)}${verdict.padEnd(verdictWidth)}${line}\n`
          : `${' '.repeat(indent)}${line}\n`,
      )
      .join('');
  const lines = rows.map(row => {
    const about = row.verdict === 'ok' ? '' : cell('', '', `(${row.purpose})`);
    const fix = row.fix === undefined ? '' : cell('', '', `fix: ${row.fix}`);
    return `${cell(row.name, row.verdict, row.finding)}${about}${fix}`;
  });
  const bad = rows.filter(row => row.verdict === 'missing').length;
  const end = bad === 0 ? 'Containers run here.' : `${bad} of ${rows.length} checks found something missing.`;
  return `${cell('CHECK', 'RESULT', 'FINDING')}${lines.join('')}\n${end}\n`;
}

export const doctor = defineCommand({
  name: 'doctor',
  group: 'Host',
  summary: 'Tell what this host can and cannot do',
  synopsis: '[-o FORMAT]',
  arity: [0, 0],
  options: outputOption,
  examples: [
    ['spawnlet doctor', 'each finding with its fix; exit code 1 if something is missing'],
    ['spawnlet doctor -o json', 'for scripts'],
  ],
  async run({ options }, { host, signal }) {
    const [{ diagnose, isHealthy }, { makePlace, probes }] = await Promise.all([
      import('../app/doctor/diagnosis.ts'),
      import('../app/doctor/probes.ts'),
    ]);
    await using place = await makePlace(host);
    const rows = await diagnose(probes, place, signal);
    if (options.output === undefined || options.output === 'table') process.stdout.write(report(rows));
    else await print(rows, options.output);
    return isHealthy(rows) ? 0 : 1;
  },
});
