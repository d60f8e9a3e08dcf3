import { join } from 'node:path';
import { messageOf, SpawnletError } from './error.ts';
import type { Files } from './files.ts';
import type { Locks } from './lock.ts';
import type { Holder } from './process.ts';
import { unique } from './process.ts';
import type { Executor, Json, LoadableExecutors, Step } from './step.ts';

/** What a command wants to change, in order. */
export interface Plan<S extends Step> {
  /** What it is for: `run web`. */
  readonly title: string;
  /** What is right if the command dies half way: take back what was done, or do the rest. */
  readonly ifInterrupted: 'undo' | 'finish';
  readonly steps: readonly S[];
}

export interface Watchers {
  /** Where a test stops a plan: before step `index` is journalled, before its effect, or after it. What is performed has no journal. */
  border?(index: number, side: 'before' | 'journalled' | 'after'): void | Promise<void>;
  /** What a killed command had begun has been undone or finished. */
  recovered?(title: string): void;
  /**
   * It could not be: the journal stays, the next command tries again, and until then nothing that it is about can be
   * changed. Without this, the error is thrown.
   */
  unrecovered?(error: SpawnletError): void;
}

export interface Applier<S extends Step> {
  /** The steps that would change something now, in order. An empty list is what idempotence looks like. */
  pending(plan: Plan<S>): Promise<S[]>;
  /** What {@link apply} would do, as text for people. */
  dryRun(plan: Plan<S>): Promise<string>;
  /**
   * Does what is not done yet, after {@link recover}. If a step fails its error is thrown, after a plan that can be
   * undone is. One that is to be finished stays journalled once it has got past its first step.
   */
  apply(plan: Plan<S>, signal: AbortSignal): Promise<void>;
  /**
   * Does what is not done yet of steps whose owner has recorded them, and begins them anew after it was killed: nothing is
   * journalled or taken back.
   */
  perform(steps: readonly S[], signal: AbortSignal): Promise<void>;
  /** Undoes or finishes what killed commands had begun. Gives their titles. */
  recover(signal: AbortSignal): Promise<string[]>;
}

interface Head<S extends Step> extends Plan<S> {
  readonly version: 1;
  readonly holder: Holder;
}

/** A step that is about to run. */
interface Entry {
  readonly step: number;
  readonly prior: Json;
}

/** The holder lives, and has given the plan up: whoever comes next is to recover it. */
interface GivenUp {
  readonly givenUp: true;
}

interface Journal<S extends Step> {
  readonly head: Head<S>;
  readonly entries: readonly Entry[];
  readonly open: boolean;
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
  executors: LoadableExecutors<S>,
  files: Files,
  locks: Locks,
  journals: string,
  watchers: Watchers = {},
): Applier<S> {
  /** What plans that could not be recovered had begun with: targets of their steps, and the errors. */
  let unfinished = new Map<string, SpawnletError>();

  async function executorOf(step: S): Promise<Executor<S>> {
    const entry: unknown = executors[step.do as S['do']];
    const found: unknown = typeof entry === 'function' ? await entry() : entry;
    if (!found)
      throw new SpawnletError('ERR_JOURNAL', `this spawnlet does not know the step '${step.do}'`, {
        hint: 'use the version of spawnlet that began it',
      });
    // A union's executor fits the step that its key names; TypeScript cannot follow that through an index.
    return found as Executor<S>;
  }

  async function undo(plan: Plan<S>, entries: readonly Entry[]): Promise<void> {
    for (const entry of entries.toReversed()) {
      const step = plan.steps[entry.step];
      if (step) await (await executorOf(step)).undo?.(step, entry.prior);
    }
  }

  /** Runs what is not done yet; `begin` makes the journal before the first step, `entries` gets every one. */
  async function run(
    plan: Plan<S>,
    journal: string,
    entries: Entry[],
    begin: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    for (const [index, step] of plan.steps.entries()) {
      signal.throwIfAborted();
      const executor = await executorOf(step);
      if (await executor.satisfied(step)) continue;
      await watchers.border?.(index, 'before');
      const entry: Entry = { step: index, prior: (await executor.prior?.(step)) ?? null };
      if (entries.length === 0) await begin();
      await files.append(journal, `${JSON.stringify(entry)}\n`, 0o600);
      entries.push(entry);
      await watchers.border?.(index, 'journalled');
      await executor.apply(step, signal);
      await watchers.border?.(index, 'after');
    }
  }

  /** Undefined if there is none, or none that this version can read. */
  async function read(path: string): Promise<Journal<S> | undefined> {
    const [first, ...rest] = ((await files.read(path)) ?? '').split('\n');
    const head = parse<Head<S>>(first);
    if (head?.version !== 1) return undefined;
    const lines = rest.flatMap(line => parse<Entry | GivenUp>(line) ?? []);
    return {
      head,
      entries: lines.filter(line => 'step' in line),
      open: locks.isAlive(head.holder) && !lines.some(line => 'givenUp' in line),
    };
  }

  async function recoverOne(path: string, signal: AbortSignal): Promise<string | undefined> {
    const seen = await read(path);
    if (!seen || seen.open) return undefined;
    await using _lock = await locks.wait(`journal-${path.slice(path.lastIndexOf('/') + 1)}`, signal);
    const found = await read(path);
    if (!found || found.open) return undefined;
    const { head, entries } = found;
    try {
      // Ends a line that a kill cut short.
      await files.append(path, '\n', 0o600);
      for (const { step: index } of entries) {
        const step = head.steps[index];
        if (step) await (await executorOf(step)).clean?.(step, signal);
      }
      if (head.ifInterrupted === 'undo') await undo(head, entries);
      else await run(head, path, [...entries], async () => undefined, signal);
    } catch (cause) {
      signal.throwIfAborted();
      throw blocked(head, entries, path, cause);
    }
    await files.remove(path);
    return head.title;
  }

  function blocked(plan: Plan<S>, entries: readonly Entry[], path: string, cause: unknown): SpawnletError {
    const what = plan.ifInterrupted === 'undo' ? 'taken back' : 'finished';
    const hint = cause instanceof SpawnletError && cause.hint ? `${cause.hint}; then ` : '';
    const error = new SpawnletError(
      'ERR_UNFINISHED',
      `'${plan.title}' was cut off and could not be ${what}: ${messageOf(cause)}`,
      {
        cause,
        hint: `${hint}any spawnlet command tries again (its steps are in ${path})`,
      },
    );
    for (const { step: index } of entries) {
      const step = plan.steps[index];
      const target = step && targetOf(step);
      if (target !== undefined) unfinished.set(target, error);
    }
    return error;
  }

  /** A step of an unfinished plan would later be undone or done on top of what a new plan makes of the same thing. */
  function refuseUnfinished(plan: Plan<S>): void {
    if (unfinished.size === 0) return;
    for (const step of plan.steps) {
      const error = unfinished.get(targetOf(step) ?? '');
      if (error) throw error;
    }
  }

  /** What stays of a plan that has failed: nothing, or a journal for the next command. */
  async function giveUp(plan: Plan<S>, entries: Entry[], journal: string, error: unknown): Promise<unknown> {
    const keep = () =>
      files.append(journal, `${JSON.stringify({ givenUp: true } satisfies GivenUp)}\n`, 0o600);
    if (plan.ifInterrupted === 'finish' && entries.length > 1) {
      await keep();
      return error;
    }
    try {
      if (plan.ifInterrupted === 'undo') await undo(plan, entries);
    } catch (cause) {
      await keep();
      return new SpawnletError(
        'ERR_UNFINISHED',
        `${messageOf(error)}; and taking it back failed: ${messageOf(cause)}`,
        { cause: error, hint: `any spawnlet command tries again (the steps are in ${journal})` },
      );
    }
    await files.remove(journal);
    return error;
  }

  async function recover(signal: AbortSignal): Promise<string[]> {
    const titles: string[] = [];
    unfinished = new Map();
    await files.sweep(journals);
    await locks.sweep();
    for (const name of await files.list(journals)) {
      if (!name.endsWith('.jsonl')) continue;
      try {
        const title = await recoverOne(join(journals, name), signal);
        if (title === undefined) continue;
        titles.push(title);
        watchers.recovered?.(title);
      } catch (error) {
        if (!watchers.unrecovered || !(error instanceof SpawnletError)) throw error;
        watchers.unrecovered(error);
      }
    }
    return titles;
  }

  return {
    recover,
    async pending(plan) {
      const open = await Promise.all(
        plan.steps.map(async step => !(await (await executorOf(step)).satisfied(step))),
      );
      return plan.steps.filter((_step, index) => open[index]);
    },
    async dryRun(plan) {
      const rows: string[] = [];
      for (const step of await this.pending(plan)) {
        const executor = await executorOf(step);
        const body = executor.body?.(step);
        const before = body ? await executor.before?.(step) : undefined;
        const shown = body && (before === undefined ? indent(body) : changes(before, body));
        rows.push(executor.describe(step) + (shown ? `\n${shown}` : ''));
      }
      return rows.length === 0 ? 'nothing to do\n' : `${rows.join('\n')}\n`;
    },
    async perform(steps, signal) {
      for (const [index, step] of steps.entries()) {
        signal.throwIfAborted();
        const executor = await executorOf(step);
        if (await executor.satisfied(step)) continue;
        await watchers.border?.(index, 'before');
        await executor.apply(step, signal);
        await watchers.border?.(index, 'after');
      }
    },
    async apply(plan, signal) {
      // A command may have been killed since this one began; what it left would be undone on top of what is made here.
      await recover(signal);
      refuseUnfinished(plan);
      const journal = join(journals, `${locks.self.pid}-${unique()}.jsonl`);
      const entries: Entry[] = [];
      const begin = async () => {
        const head: Head<S> = { version: 1, holder: locks.self, ...plan };
        await files.makeDirectory(journals, 0o700);
        await files.write(journal, `${JSON.stringify(head)}\n`, 0o600);
      };
      try {
        await run(plan, journal, entries, begin, signal);
      } catch (error) {
        throw entries.length === 0 ? error : await giveUp(plan, entries, journal, error);
      }
      if (entries.length > 0) await files.remove(journal);
    },
  };
}

/** What a step is about, if one thing: a path or a name. Directories are shared by many plans, unless one owns them. */
function targetOf(step: Step): string | undefined {
  const { path, name, owns } = step as Step & Readonly<Partial<Record<'path' | 'name' | 'owns', unknown>>>;
  if (step.do === 'make-directory' && owns === undefined) return undefined;
  const target = path ?? name;
  return typeof target === 'string' ? target : undefined;
}

/** A line that a kill cut short is no line. */
function parse<T>(line: string | undefined): T | undefined {
  try {
    return line ? (JSON.parse(line) as T) : undefined;
  } catch {
    return undefined;
  }
}

/** Lines of context around a change. */
const context = 2;

/** A text that replaces another as `diff -u` has it: what goes, what comes, and a few lines around. */
function changes(before: string, after: string): string {
  const { diff } = process.getBuiltinModule('node:util');
  const marks = { '1': '-', '0': ' ', '-1': '+' } as const;
  const lines = diff(before.trimEnd().split('\n'), after.trimEnd().split('\n'));
  const isNear = (at: number) =>
    lines.slice(Math.max(0, at - context), at + context + 1).some(([operation]) => operation !== 0);
  return lines
    .flatMap(([operation, line], at) => {
      if (isNear(at)) return [`  ${marks[operation]} ${line}`.trimEnd()];
      return isNear(at + 1) ? ['    …'] : [];
    })
    .join('\n');
}

const indent = (text: string) => text.trimEnd().replaceAll(/^(?=.)/gm, '  + ');
