import type { Diagnosis } from '../app/doctor/diagnosis.ts';
import { parseMachineName } from '../machine/names.ts';
import type { MachineSpec } from '../machine/spec.ts';
import { defineCommand, outputOption } from './command.ts';
import type { Context } from './context.ts';
import { machines } from './machines.ts';
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
export function report(rows: readonly Diagnosis[], end = outcome(rows)): string {
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
  return `${cell('CHECK', 'RESULT', 'FINDING')}${lines.join('')}\n${end}\n`;
}

function outcome(rows: readonly Diagnosis[]): string {
  const bad = rows.filter(row => row.verdict === 'missing').length;
  return bad === 0 ? 'Containers run here.' : `${bad} of ${rows.length} checks found something missing.`;
}

/** What it takes to give a machine a profile more. */
function remedy(rows: readonly Diagnosis[], { name, profiles }: MachineSpec): string {
  const denied = rows.filter(row => row.verdict !== 'ok').length;
  if (denied === 0) return `${name} is denied nothing of this.`;
  const has = profiles.filter(profile => profile !== 'default').map(profile => `${profile},`);
  return `${name} is denied ${denied} of ${rows.length}. A profile is given to it by:
  spawnlet machine set ${name} profiles=${has.join('')}PROFILE && spawnlet machine restart ${name}`;
}

async function aboutMachine(name: string, output: string | undefined, context: Context): Promise<number> {
  const api = await machines(context);
  const rows = await api.diagnose(parseMachineName(name), context.signal);
  if (output === undefined || output === 'table')
    process.stdout.write(report(rows, remedy(rows, await api.spec(name, context.signal))));
  else await print(rows, output);
  return 0;
}

export const doctor = defineCommand({
  name: 'doctor',
  group: 'Host',
  summary: 'Tell what this host can and cannot do',
  synopsis: '[--machine NAME] [-o FORMAT]',
  arity: [0, 0],
  options: {
    machine: {
      type: 'string',
      value: 'NAME',
      help: 'tell what a machine is denied, and what would allow it',
    },
    ...outputOption,
  },
  examples: [
    ['spawnlet doctor', 'each finding with its fix; exit code 1 if something is missing'],
    ['spawnlet doctor --machine web', 'each thing that its profiles deny, with the line that would allow it'],
    ['spawnlet doctor -o json', 'for scripts'],
  ],
  async run({ options }, context) {
    if (options.machine !== undefined) return aboutMachine(options.machine, options.output, context);
    const { host, signal } = context;
    const [{ diagnose, isHealthy }, { makePlace, probes }, { podProbes }] = await Promise.all([
      import('../app/doctor/diagnosis.ts'),
      import('../app/doctor/probes.ts'),
      import('../kubelet/doctor.ts'),
    ]);
    await using place = await makePlace(host);
    const rows = await diagnose([...probes, ...podProbes], place, signal);
    if (options.output === undefined || options.output === 'table') process.stdout.write(report(rows));
    else await print(rows, options.output);
    return isHealthy(rows) ? 0 : 1;
  },
});
