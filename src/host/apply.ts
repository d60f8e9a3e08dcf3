import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { messageOf } from './error.ts';
import type { Files } from './files.ts';
import type { Holder, Locks } from './lock.ts';
import type { Executor, Executors, Json, Step } from './step.ts';

/** What a command wants to change, in order. */
export interface Plan<S extends Step> {
  /** What it is for: `run web`. */
  readonly title: string;
  /** What is right if the command dies half way: take back what was done, or do the rest. */
  readonly ifInterrupted: 'undo' | 'finish';
  readonly steps: readonly S[];
}

/** Where a plan is when a test stops it: before or after the effect of step `index`. */
export type Border = (index: number, side: 'before' | 'after') => void | Promise<void>;

export interface Applier<S extends Step> {
  /** The steps that would change something now, in order. An empty list is what idempotence looks like. */
  pending(plan: Plan<S>): Promise<S[]>;
  /** What {@link apply} would do, as text for people. */
  dryRun(plan: Plan<S>): Promise<string>;
  /** Does what is not done yet. If a step fails, a plan that can be undone is, and the step's error is thrown. */
  apply(plan: Plan<S>, signal: AbortSignal): Promise<void>;
  /** Undoes or finishes what killed commands had begun. Gives their titles. */
  recover(signal: AbortSignal): Promise<string[]>;
}

interface Head<S extends Step> extends Plan<S> {
  readonly version: 1;
  readonly holder: Holder;
}

interface Entry {
  readonly step: number;
  readonly prior: Json;
}

/**
 * The only way to change the host.
 *
 * A plan is journalled: a file of JSON lines, the first the plan and who applies it, then one for each step that is
 * about to run. The file is there only while the plan runs. One that is left behind by a process that is gone
 * tells the next command what to undo or finish. It protects against a killed process; after a crash of
 * the machine the steps of a plan may have reached the disk in any order, and are undone or finished all the same.
 */
export function makeApplier<S extends Step>(
  executors: Executors<S>,
  files: Files,
  locks: Locks,
  journals: string,
  border: Border = () => undefined,
): Applier<S> {
  // A union's executor fits the step that its key names; TypeScript cannot follow that through an index.
  const executorOf = (step: S) => executors[step.do as S['do']] as unknown as Executor<S>;

  async function undo(plan: Plan<S>, entries: readonly Entry[]): Promise<void> {
    for (const entry of entries.toReversed()) {
      const step = plan.steps[entry.step];
      if (step) await executorOf(step).undo?.(step, entry.prior);
    }
  }

  async function run(plan: Plan<S>, journal: string, signal: AbortSignal, entries: Entry[]): Promise<void> {
    for (const [index, step] of plan.steps.entries()) {
      signal.throwIfAborted();
      const executor = executorOf(step);
      if (await executor.satisfied(step)) continue;
      await border(index, 'before');
      const entry: Entry = { step: index, prior: (await executor.prior?.(step)) ?? null };
      if (entries.length === 0) {
        const head: Head<S> = { version: 1, holder: locks.self, ...plan };
        await files.makeDirectory(journals, 0o700);
        await files.write(journal, `${JSON.stringify(head)}\n`, 0o600);
      }
      await files.append(journal, `${JSON.stringify(entry)}\n`, 0o600);
      entries.push(entry);
      await executor.apply(step, signal);
      await border(index, 'after');
    }
  }

  async function recoverOne(journal: string, signal: AbortSignal): Promise<string | undefined> {
    const lines = ((await files.read(journal)) ?? '').split('\n');
    const head = parse<Head<S>>(lines[0]);
    if (!head) {
      // Written by rename, so a file without a head is not ours to act on.
      await files.remove(journal);
      return undefined;
    }
    if (locks.isAlive(head.holder)) return undefined;
    await using _lock = await locks.wait(`journal-${journal.slice(journal.lastIndexOf('/') + 1)}`, signal);
    if ((await files.look(journal)) === undefined) return undefined;
    const entries = lines.slice(1).flatMap(line => parse<Entry>(line) ?? []);
    if (head.ifInterrupted === 'undo') await undo(head, entries);
    else await run(head, journal, signal, [...entries, { step: -1, prior: null }]);
    await files.remove(journal);
    return head.title;
  }

  return {
    async pending(plan) {
      const open = await Promise.all(plan.steps.map(async step => !(await executorOf(step).satisfied(step))));
      return plan.steps.filter((_step, index) => open[index]);
    },
    async dryRun(plan) {
      const rows = (await this.pending(plan)).map(step => {
        const executor = executorOf(step);
        const body = executor.body?.(step);
        return body === undefined ? executor.describe(step) : `${executor.describe(step)}\n${indent(body)}`;
      });
      return rows.length === 0 ? 'nothing to do\n' : `${rows.join('\n')}\n`;
    },
    async apply(plan, signal) {
      const journal = join(journals, `${locks.self.pid}-${randomBytes(4).toString('hex')}.jsonl`);
      const entries: Entry[] = [];
      try {
        await run(plan, journal, signal, entries);
      } catch (error) {
        if (plan.ifInterrupted === 'undo') {
          try {
            await undo(plan, entries);
          } catch (undoing) {
            throw new Error(`${messageOf(error)}; and taking it back failed: ${messageOf(undoing)}`, {
              cause: error,
            });
          }
        }
        if (entries.length > 0) await files.remove(journal);
        throw error;
      }
      if (entries.length > 0) await files.remove(journal);
    },
    async recover(signal) {
      const titles: string[] = [];
      for (const name of await files.list(journals)) {
        if (!name.endsWith('.jsonl')) continue;
        const title = await recoverOne(join(journals, name), signal);
        if (title !== undefined) titles.push(title);
      }
      return titles;
    },
  };
}

/** A line that a kill cut short is no line. */
function parse<T>(line: string | undefined): T | undefined {
  try {
    return line ? (JSON.parse(line) as T) : undefined;
  } catch {
    return undefined;
  }
}

const indent = (text: string) => text.trimEnd().replaceAll(/^(?=.)/gm, '  + ');
