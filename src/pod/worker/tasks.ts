/** What goes on beside a worker's loop. */
export class Tasks {
  readonly #going = new Set<Promise<void>>();
  readonly #failed: (error: unknown) => void;

  /** @param failed told what a task has thrown, unless its signal had ended it */
  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  run(work: () => Promise<void>, signal: AbortSignal): void {
    const task = work()
      .catch(error => {
        if (!signal.aborted) this.#failed(error);
      })
      .finally(() => this.#going.delete(task));
    this.#going.add(task);
  }

  /** Resolves when all that was begun has ended. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#going);
  }
}
