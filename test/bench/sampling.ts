/** Samples of the same work done by different programs, taken in turns. */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { ended } from '../../src/host/child.ts';

/** One way to do a row's work. */
export interface Subject {
  readonly name: string;
  /** What has to be undone or made before a sample; not measured. */
  readonly prepare?: () => Promise<void>;
  /** Does the work once and gives what was measured, in the row's unit. */
  readonly measure: () => Promise<number>;
}

export type Samples = ReadonlyMap<string, readonly number[]>;

/** Takes `count` samples of each subject, A B C A B C …, so that what else the machine does hits all alike. */
export async function interleave(
  subjects: readonly Subject[],
  count: number,
  warmUps: number,
): Promise<Samples> {
  const samples = new Map(subjects.map(({ name }) => [name, [] as number[]]));
  for (let round = -warmUps; round < count; round++) {
    for (const { name, prepare, measure } of subjects) {
      await prepare?.();
      const value = await measure();
      if (round >= 0) samples.get(name)?.push(value);
    }
  }
  return samples;
}

/** Milliseconds from the start of a command to its exit. A command that fails is no sample but an error. */
export async function timeOf(argv: readonly string[]): Promise<number> {
  const begin = performance.now();
  const child = spawn(argv[0] ?? '', argv.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
  const closed = ended(child);
  const said = text(child.stderr);
  const end = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => resolve(performance.now()));
  });
  const code = await closed;
  if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code}: ${(await said).trim()}`);
  return end - begin;
}

export const timed = (name: string, argv: readonly string[]): Subject => ({
  name,
  measure: () => timeOf(argv),
});

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
