import { messageOf, SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';

/** `missing`: containers do not run, or not as they should. `note`: one thing is not there that not everybody needs. */
export type Verdict = 'ok' | 'missing' | 'note';

export interface Finding {
  readonly verdict: Verdict;
  /** What was seen. */
  readonly finding: string;
  /** What to do about it: a command where there is one. */
  readonly fix?: string;
}

/** What has to be there before a probe can look. */
export type Need = 'root' | 'systemd';

/** What a probe may use. */
export interface Place {
  readonly host: Host;
  /** A directory of this doctor's own on the file system of the store; empty without root. */
  readonly directory: string;
}

/** One question to the host, answered by trying. */
export interface Probe {
  readonly name: string;
  /** What spawnlet needs it for. */
  readonly purpose: string;
  readonly needs: readonly Need[];
  /** Anything that it throws is a finding too: `missing`, with the error's text and hint. */
  look(place: Place, signal: AbortSignal): Promise<Finding>;
}

/** A row of the report. */
export interface Diagnosis extends Finding {
  readonly name: string;
  readonly purpose: string;
}

export const ok = (finding: string): Finding => ({ verdict: 'ok', finding });
export const missing = (finding: string, fix: string): Finding => ({ verdict: 'missing', finding, fix });
export const note = (finding: string, fix?: string): Finding => ({
  verdict: 'note',
  finding,
  ...(fix !== undefined && { fix }),
});

/**
 * Asks all probes; those that give what others need come first. A probe whose needs are not met is a note: what is to
 * be done stands with what it needs.
 */
export async function diagnose(
  probes: readonly Probe[],
  place: Place,
  signal: AbortSignal,
): Promise<Diagnosis[]> {
  const met = new Map<string, boolean>();
  const ask = async (probe: Probe): Promise<Diagnosis> => {
    const absent = probe.needs.filter(need => met.get(need) !== true);
    const found =
      absent.length > 0
        ? note(`not looked at: needs ${absent.join(' and ')}`)
        : await probe.look(place, signal).catch(error => failed(error, signal));
    return { name: probe.name, purpose: probe.purpose, ...found };
  };
  const first: Diagnosis[] = [];
  for (const probe of probes.filter(({ name }) => isNeed(name))) {
    const row = await ask(probe);
    met.set(probe.name, row.verdict !== 'missing');
    first.push(row);
  }
  const rest = await Promise.all(probes.filter(({ name }) => !isNeed(name)).map(ask));
  return [...first, ...rest];
}

const isNeed = (name: string): boolean => name === 'root' || name === 'systemd';

function failed(error: unknown, signal: AbortSignal): Finding {
  signal.throwIfAborted();
  const hint = error instanceof SpawnletError ? error.hint : undefined;
  return { verdict: 'missing', finding: messageOf(error), ...(hint !== undefined && { fix: hint }) };
}

/** Whether containers run here. */
export const isHealthy = (rows: readonly Diagnosis[]): boolean =>
  rows.every(row => row.verdict !== 'missing');
