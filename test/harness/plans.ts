import { makeApplier, type Plan, type Watchers } from '../../src/host/apply.ts';
import { SpawnletError } from '../../src/host/error.ts';
import { FakeFiles } from '../../src/host/files.ts';
import { FakeLocks } from '../../src/host/lock.ts';
import { type Executors, type HostStep, hostExecutors } from '../../src/host/step.ts';

/** A step that does nothing but tell; `fails` says where. */
type Told = { readonly do: 'tell'; readonly name: string; readonly fails?: 'apply' | 'undo' | 'clean' };
export type TestStep = HostStep | Told;

export const journals = '/state/journal';
/** Of plans that nobody aborts. */
export const signal = new AbortController().signal;

/** A host of fakes, and processes that apply plans on it. */
export class World {
  readonly files = new FakeFiles();
  readonly told: string[] = [];
  readonly done = new Set<string>();
  /** Steps that fail no more. */
  readonly mended = new Set<string>();
  locks = new FakeLocks('spawnlet run web');

  #executors(): Executors<TestStep> {
    const say = (what: 'apply' | 'undo' | 'clean', { name, fails }: Told) => {
      this.told.push(`${what} ${name}`);
      if (fails === what && !this.mended.has(name))
        throw new SpawnletError('ERR_TOLD', `${name} cannot ${what}`);
    };
    return {
      ...hostExecutors(this.files),
      tell: {
        describe: step => `tell ${step.name}`,
        satisfied: async step => this.done.has(step.name),
        apply: async step => {
          say('apply', step);
          this.done.add(step.name);
        },
        undo: async step => {
          say('undo', step);
          this.done.delete(step.name);
        },
        clean: async step => say('clean', step),
      },
    };
  }

  applier(watchers: Watchers = {}) {
    return makeApplier<TestStep>(this.#executors(), this.files, this.locks, journals, watchers);
  }

  /** Applies a plan in a process that is killed when it has passed `border` borders. False if it goes through. */
  async killedAt(plan: Plan<TestStep>, border: number): Promise<boolean> {
    let passed = 0;
    const killed = Promise.withResolvers<true>();
    const applier = this.applier({
      border: () => {
        if (++passed < border) return;
        killed.resolve(true);
        return new Promise<void>(() => undefined);
      },
    });
    const wasKilled = await Promise.race([killed.promise, applier.apply(plan, signal).then(() => false)]);
    this.locks.die();
    this.locks = this.locks.next('spawnlet ps');
    return wasKilled;
  }

  /** All but the journal's directory. */
  tree(): Record<string, string> {
    const { [`${journals}/`]: _directory, '/state/': _state, ...rest } = this.files.tree();
    return rest;
  }

  journal(): string | undefined {
    return Object.entries(this.files.tree()).find(([path]) => path.endsWith('.jsonl'))?.[1];
  }
}

export const undoable = (...steps: TestStep[]): Plan<TestStep> => ({
  title: 'run web',
  ifInterrupted: 'undo',
  steps,
});
export const finished = (...steps: TestStep[]): Plan<TestStep> => ({
  title: 'rm web',
  ifInterrupted: 'finish',
  steps,
});
export const directory = (path: string, owns?: 'everything'): TestStep => ({
  do: 'make-directory',
  path,
  mode: 0o700,
  ...(owns && { owns }),
});
export const file = (path: string, content: string): TestStep => ({
  do: 'write-file',
  path,
  content,
  mode: 0o600,
});
export const tell = (name: string, fails?: Told['fails']): TestStep => ({
  do: 'tell',
  name,
  ...(fails && { fails }),
});
