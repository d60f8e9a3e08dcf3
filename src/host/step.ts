import { type Children, check } from './child.ts';
import type { Files } from './files.ts';

/** One change to the host, as a value that can be printed, journalled and undone. Closed unions are made of these. */
export interface Step {
  readonly do: string;
}

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** The steps that need nothing but files. */
export type HostStep =
  | { readonly do: 'make-directory'; readonly path: string; readonly mode: number }
  | {
      readonly do: 'write-file';
      readonly path: string;
      readonly content: string;
      readonly mode: number;
      /** What `--dry-run` prints instead of the content: the same text with its secrets redacted. */
      readonly shown?: string;
    }
  | { readonly do: 'make-link'; readonly path: string; readonly target: string }
  | { readonly do: 'make-fifo'; readonly path: string; readonly mode: number }
  /** Removes a file or a tree; what was there cannot come back, so it stands in plans that are finished, not undone. */
  | { readonly do: 'remove'; readonly path: string };

/** How one kind of step is seen, done and undone. */
export interface Executor<S extends Step> {
  /** One line for `--dry-run`: `write /etc/systemd/system/web.service (0644)`. */
  describe(step: S): string;
  /** What follows that line: a file's text. */
  body?(step: S): string | undefined;
  /** True when the world is already as the step wants it. */
  satisfied(step: S): Promise<boolean>;
  /** What {@link undo} has to know of the world before; journalled before {@link apply} runs. */
  prior?(step: S): Promise<Json>;
  apply(step: S, signal: AbortSignal): Promise<void>;
  /** Puts back what was; must be right also if `apply` was cut off anywhere, and if it runs twice. */
  undo?(step: S, prior: Json): Promise<void>;
}

/** One executor for each kind of a closed union: a kind that is missing does not compile. */
export type Executors<S extends Step> = { readonly [K in S['do']]: Executor<Extract<S, { do: K }>> };

const octal = (mode: number) => mode.toString(8).padStart(4, '0');

/** Executors of {@link HostStep}. */
export function hostExecutors(files: Files, children: Children): Executors<HostStep> {
  return {
    'make-directory': {
      describe: step => `make directory ${step.path} (${octal(step.mode)})`,
      satisfied: async step => (await files.look(step.path))?.kind === 'directory',
      apply: step => files.makeDirectory(step.path, step.mode),
      undo: step => files.remove(step.path),
    },
    'write-file': {
      describe: step => `write ${step.path} (${octal(step.mode)})`,
      body: step => step.shown ?? step.content,
      satisfied: async step => {
        const entry = await files.look(step.path);
        return (
          entry?.kind === 'file' && entry.mode === step.mode && (await files.read(step.path)) === step.content
        );
      },
      prior: async step => (await files.read(step.path)) ?? null,
      apply: step => files.write(step.path, step.content, step.mode),
      undo: async (step, prior) => {
        if (typeof prior === 'string') await files.write(step.path, prior, step.mode);
        else await files.remove(step.path);
      },
    },
    'make-link': {
      describe: step => `link ${step.path} -> ${step.target}`,
      satisfied: async step => {
        const entry = await files.look(step.path);
        return entry?.kind === 'link' && entry.target === step.target;
      },
      apply: step => files.link(step.path, step.target),
      undo: step => files.remove(step.path),
    },
    'make-fifo': {
      describe: step => `make fifo ${step.path} (${octal(step.mode)})`,
      satisfied: async step => (await files.look(step.path))?.kind === 'other',
      apply: async step => {
        await check(children, ['mkfifo', `--mode=${octal(step.mode)}`, step.path]);
      },
      undo: step => files.remove(step.path),
    },
    remove: {
      describe: step => `remove ${step.path}`,
      satisfied: async step => (await files.look(step.path)) === undefined,
      apply: step => files.remove(step.path),
    },
  };
}
