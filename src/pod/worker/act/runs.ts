import type { EndedRun } from '../end.ts';

/** The runs of a pod's containers that this process follows. */
export class Runs {
  /** Aborted when the run's end has come. */
  readonly #watched = new Map<string, AbortController>();
  /** Those that are begun, until they are recorded as running. */
  readonly #begun = new Map<string, EndedRun>();

  /** A signal that lasts as long as the run that begins. */
  watch(name: string, signal: AbortSignal): AbortSignal {
    const watch = new AbortController();
    this.#watched.set(name, watch);
    return AbortSignal.any([signal, watch.signal]);
  }

  /** A signal of what is done in the present run. */
  during(name: string, signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#watched.get(name)?.signal ?? signal]);
  }

  begin(name: string, run: EndedRun): void {
    this.#begun.set(name, run);
  }

  begun(name: string): EndedRun | undefined {
    return this.#begun.get(name);
  }

  end(name: string): void {
    this.#watched.get(name)?.abort();
    this.#watched.delete(name);
    this.#begun.delete(name);
  }

  /** What waits in a run waits no more; the runs go on. */
  letGo(): void {
    for (const watch of this.#watched.values()) watch.abort();
  }
}
