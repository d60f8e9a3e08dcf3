import { dirname } from 'node:path';
import { SpawnletError } from './error.ts';
import type { Files } from './files.ts';

/** One change to the host, as a value that can be printed, journalled and undone. Closed unions are made of these. */
export interface Step {
  readonly do: string;
}

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** The steps that need nothing but files. */
export type HostStep =
  | {
      readonly do: 'make-directory';
      readonly path: string;
      readonly mode: number;
      /** `everything`: all that comes to lie in it is the plan's, and goes with it; else it goes only if it is empty. */
      readonly owns?: 'everything';
    }
  | {
      readonly do: 'write-file';
      readonly path: string;
      readonly content: string;
      readonly mode: number;
      /** Whatever is there already stays as it is. */
      readonly ifAbsent?: true;
      /** Its content is whole after a power cut, or what it was before. */
      readonly durable?: true;
      /** What `--dry-run` prints instead of the content: the same text with its secrets redacted. */
      readonly shown?: string;
    }
  | { readonly do: 'make-link'; readonly path: string; readonly target: string }
  /** Removes a file or a tree; what was there cannot come back, so it stands in plans that are finished, not undone. */
  | { readonly do: 'remove'; readonly path: string };

/** How one kind of step is seen, done and undone. */
export interface Executor<S extends Step> {
  /** One line for `--dry-run`: `write /etc/systemd/system/web.service (0644)`. */
  describe(step: S): string;
  /** What follows that line: a file's text. */
  body?(step: S): string | undefined;
  /** What {@link body} replaces, of which only the change is shown; undefined if all of it is new, or secret. */
  before?(step: S): Promise<string | undefined>;
  /** True when the world is already as the step wants it. */
  satisfied(step: S): Promise<boolean>;
  /** What {@link undo} has to know of the world before; journalled before {@link apply} runs. */
  prior?(step: S): Promise<Json>;
  apply(step: S, signal: AbortSignal): Promise<void>;
  /** Puts back what was; must be right also if `apply` was cut off anywhere, and if it runs twice. */
  undo?(step: S, prior: Json): Promise<void>;
  /** Removes what an `apply` that was killed has left beside its effect. Called before the plan is undone or finished. */
  clean?(step: S, signal: AbortSignal): Promise<void>;
}

/** One executor for each kind of a closed union: a kind that is missing does not compile. */
export type Executors<S extends Step> = { readonly [K in S['do']]: Executor<Extract<S, { do: K }>> };

/** The same, where some are loaded only when a plan has a step of their kind. */
export type LoadableExecutors<S extends Step> = {
  readonly [K in S['do']]: Executor<Extract<S, { do: K }>> | (() => Promise<Executor<Extract<S, { do: K }>>>);
};

/** Executors of these kinds, of a room that is loaded when the first of them is needed. */
export function loadLater<S extends Step>(
  kinds: Readonly<Record<S['do'], true>>,
  load: () => Promise<Executors<S>>,
): LoadableExecutors<S> {
  const entries = (Object.keys(kinds) as S['do'][]).map(kind => [kind, async () => (await load())[kind]]);
  return Object.fromEntries(entries) as LoadableExecutors<S>;
}

const octal = (mode: number) => mode.toString(8).padStart(4, '0');

/** What a file was before it was written; null if nothing was there. */
type PriorFile = null | { readonly content: string; readonly mode: number } | { readonly target: string };

const inTheWay = (path: string, what: string) =>
  new SpawnletError('ERR_IN_THE_WAY', `${path} is there already, and is no ${what}`, {
    hint: `move it away: mv '${path}' '${path}.old'`,
  });

/** Executors of {@link HostStep}. */
export function hostExecutors(files: Files): Executors<HostStep> {
  const restore = async (path: string, prior: PriorFile) => {
    if (prior === null) await files.remove(path);
    else if ('target' in prior) await files.link(path, prior.target);
    else await files.write(path, prior.content, prior.mode);
  };
  const priorFile = async (path: string, what: string): Promise<PriorFile> => {
    const entry = await files.look(path);
    if (entry === undefined) return null;
    if (entry.kind === 'link') return { target: entry.target };
    if (entry.kind !== 'file') throw inTheWay(path, what);
    return { content: (await files.read(path)) ?? '', mode: entry.mode };
  };
  return {
    'make-directory': {
      describe: step => `make directory ${step.path} (${octal(step.mode)})`,
      satisfied: async step => (await files.look(step.path))?.kind === 'directory',
      prior: async step => {
        if ((await files.look(step.path)) !== undefined) throw inTheWay(step.path, 'directory');
        return null;
      },
      apply: step => files.makeDirectory(step.path, step.mode),
      undo: step => (step.owns ? files.remove(step.path) : files.removeEmpty(step.path)),
    },
    'write-file': {
      describe: step => `write ${step.path} (${octal(step.mode)})`,
      body: step => step.shown ?? step.content,
      before: async step => {
        const isFile = (await files.look(step.path))?.kind === 'file';
        return isFile && step.shown === undefined ? files.read(step.path) : undefined;
      },
      satisfied: async step => {
        const entry = await files.look(step.path);
        if (step.ifAbsent && entry?.kind === 'file') return true;
        return (
          entry?.kind === 'file' && entry.mode === step.mode && (await files.read(step.path)) === step.content
        );
      },
      prior: step => priorFile(step.path, 'file'),
      apply: step => files.write(step.path, step.content, step.mode, step.durable && 'durable'),
      clean: step => files.sweep(dirname(step.path)),
      undo: (step, prior) => restore(step.path, prior as PriorFile),
    },
    'make-link': {
      describe: step => `link ${step.path} -> ${step.target}`,
      satisfied: async step => {
        const entry = await files.look(step.path);
        return entry?.kind === 'link' && entry.target === step.target;
      },
      prior: step => priorFile(step.path, 'link'),
      apply: step => files.link(step.path, step.target),
      clean: step => files.sweep(dirname(step.path)),
      undo: (step, prior) => restore(step.path, prior as PriorFile),
    },
    remove: {
      describe: step => `remove ${step.path}`,
      satisfied: async step => (await files.look(step.path)) === undefined,
      apply: step => files.remove(step.path),
    },
  };
}
