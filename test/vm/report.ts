/** Lines like TAP's, with what was seen and the time that it took. They are counted across the guest's two boots. */
import { readFileSync, writeFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';

/** Something to see on the machine: gives what was seen, throws what was seen instead. */
export interface Check {
  readonly title: string;
  readonly see: () => Promise<string>;
}

export interface Counts {
  passed: number;
  failed: number;
}

const file = '/var/lib/smoke.json';

/** What was counted before the reboot; undefined at the first boot. */
export function earlierCounts(): Counts | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Counts;
  } catch {
    return undefined;
  }
}

export const keepCounts = (counts: Counts): void => writeFileSync(file, JSON.stringify(counts));

export const say = (text: string): unknown => process.stdout.write(`${text}\n`);

/** The last line that the machine's owner waits for. */
export const closing = (counts: Counts): string => `# pass ${counts.passed} fail ${counts.failed}`;

const printable = (text: string) =>
  stripVTControlCharacters(text)
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .trim();

/** Runs checks one after the other; one that fails leaves the others their turn. */
export async function report(checks: readonly Check[], counts: Counts): Promise<void> {
  for (const { title, see } of checks) {
    const begin = performance.now();
    const outcome = await see().then(
      seen => ({ word: 'ok', seen }),
      (error: unknown) => ({ word: 'not ok', seen: error instanceof Error ? error.message : String(error) }),
    );
    counts[outcome.word === 'ok' ? 'passed' : 'failed']++;
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    say(
      `${outcome.word} ${counts.passed + counts.failed} - ${title}: ${printable(outcome.seen)} (${seconds} s)`,
    );
  }
}
