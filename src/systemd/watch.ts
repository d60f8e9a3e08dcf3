import type { UnitProperties } from './properties.ts';

/** What happens to a unit that is watched. */
export type UnitChange =
  | { readonly kind: 'changed'; readonly changed: Partial<UnitProperties> }
  /** systemd has forgotten the unit: it is inactive, and its last run can no longer be read. */
  | { readonly kind: 'unloaded' };

/** Changes of one unit, from the moment that it was made; kept until they are read. */
export class UnitWatch implements AsyncIterableIterator<UnitChange>, AsyncDisposable {
  readonly #queue: UnitChange[] = [];
  readonly #close: (watch: UnitWatch) => void;
  readonly #signal: AbortSignal;
  readonly #abort = () => this.fail(this.#signal.reason);
  #waiting: PromiseWithResolvers<IteratorResult<UnitChange, undefined>> | undefined;
  #failure: { readonly error: unknown } | undefined;
  #ended = false;

  constructor(signal: AbortSignal, close: (watch: UnitWatch) => void) {
    this.#signal = signal;
    this.#close = close;
    if (signal.aborted) this.#abort();
    else signal.addEventListener('abort', this.#abort, { once: true });
  }

  push(change: UnitChange): void {
    if (this.#ended || this.#failure) return;
    if (this.#waiting) this.#waiting.resolve({ done: false, value: change });
    else this.#queue.push(change);
    this.#waiting = undefined;
  }

  /** Forgets what was not read yet: a newer reading of the whole replaces it. */
  clear(): void {
    this.#queue.length = 0;
  }

  /** What was pushed before is still read, then `error` is thrown. */
  fail(error: unknown): void {
    if (this.#ended || this.#failure) return;
    this.#failure = { error };
    this.#waiting?.reject(error);
    this.#waiting = undefined;
    this.#stop();
  }

  #stop(): void {
    this.#signal.removeEventListener('abort', this.#abort);
    this.#close(this);
  }

  async next(): Promise<IteratorResult<UnitChange, undefined>> {
    if (this.#signal.aborted) throw this.#signal.reason;
    const value = this.#queue.shift();
    if (value) return { done: false, value };
    if (this.#failure) throw this.#failure.error;
    if (this.#ended) return { done: true, value: undefined };
    this.#waiting ??= Promise.withResolvers();
    return this.#waiting.promise;
  }

  async return(): Promise<IteratorResult<UnitChange, undefined>> {
    if (!this.#ended && !this.#failure) {
      this.#ended = true;
      this.#waiting?.resolve({ done: true, value: undefined });
      this.#stop();
    }
    return { done: true, value: undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
