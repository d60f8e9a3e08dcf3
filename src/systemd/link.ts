import { existsSync } from 'node:fs';
import { type Clock, systemClock } from '../host/clock.ts';
import { SpawnletError } from '../host/error.ts';
import { type Address, Connection, ConnectionLost, isAbsent, type SignalListener } from './connection.ts';

/** Milliseconds between attempts to come back: doubled from the first to the last. */
const firstPause = 5;
const lastPause = 250;
/** Milliseconds until a peer that does not come back is given up. A re-execution takes some hundred. */
const patience = 30_000;
/** The same for one that did not answer yet. */
const firstPatience = 5_000;

export interface LinkEvents {
  /** Also from connections that are not up, or never will be. */
  readonly signal: SignalListener;
  /** Runs on each new connection before anybody else uses it. `again` is false for the first. */
  up(connection: Connection, again: boolean, signal: AbortSignal): Promise<void>;
  /** Whether somebody waits for signals, so that a lost connection must come back by itself. */
  wanted(): boolean;
  /** The peer did not come back. */
  gaveUp(error: unknown): void;
}

/** A connection to systemd that comes back when systemd or the bus is re-executed. */
export class Link implements AsyncDisposable {
  readonly #addresses: readonly Address[];
  readonly #events: LinkEvents;
  readonly #clock: Clock;
  readonly #end = new AbortController();
  #current: Promise<Connection> | undefined;
  #address: Address | undefined;

  /** Tries the addresses in order; the first that answers is the one that it comes back to. */
  constructor(addresses: readonly Address[], events: LinkEvents, clock: Clock = systemClock) {
    this.#addresses = addresses;
    this.#events = events;
    this.#clock = clock;
  }

  /** How systemd is reached; undefined before the first connection. */
  get address(): Address | undefined {
    return this.#address;
  }

  /** The connection, made or being made. */
  connection(): Promise<Connection> {
    if (this.#end.signal.aborted) return Promise.reject(new ConnectionLost('this client is closed'));
    if (!this.#current) {
      const opening = this.#address ? this.#comeBack(this.#address) : this.#first();
      this.#current = opening;
      void this.#guard(opening);
    }
    return this.#current;
  }

  /** Follows a connection to its end. */
  async #guard(opening: Promise<Connection>): Promise<void> {
    try {
      const connection = await opening;
      await connection.closed;
    } catch (error) {
      this.#current = undefined;
      if (this.#address && !this.#end.signal.aborted) this.#events.gaveUp(error);
      return;
    }
    if (this.#current !== opening) return;
    this.#current = undefined;
    // A failure to come back reaches those who wait through `gaveUp`.
    if (!this.#end.signal.aborted && this.#events.wanted()) this.connection().catch(() => undefined);
  }

  async #open(address: Address, again: boolean): Promise<Connection> {
    const signal = this.#end.signal;
    const connection = await Connection.open(address, this.#events.signal, signal);
    try {
      await this.#events.up(connection, again, signal);
    } catch (error) {
      connection.close();
      throw error;
    }
    return connection;
  }

  /** A systemd that is booted but does not answer is being re-executed. */
  async #first(): Promise<Connection> {
    const until = this.#clock.now() + firstPatience;
    for (let pause = firstPause; ; pause = Math.min(pause * 2, lastPause)) {
      let failure: unknown;
      for (const address of this.#addresses) {
        try {
          const connection = await this.#open(address, false);
          this.#address = address;
          return connection;
        } catch (error) {
          this.#end.signal.throwIfAborted();
          failure = error;
        }
      }
      const reason = unreachable(failure);
      if (reason.code !== 'ERR_SYSTEMD_LOST' || this.#clock.now() >= until) throw reason;
      await this.#clock.sleep(pause, this.#end.signal);
    }
  }

  async #comeBack(address: Address): Promise<Connection> {
    const until = this.#clock.now() + patience;
    for (let pause = firstPause; ; pause = Math.min(pause * 2, lastPause)) {
      try {
        return await this.#open(address, true);
      } catch (error) {
        this.#end.signal.throwIfAborted();
        if (this.#clock.now() >= until) throw unreachable(error);
      }
      await this.#clock.sleep(pause, this.#end.signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const current = this.#current;
    this.#end.abort(new ConnectionLost('this client is closed'));
    try {
      const connection = await current;
      await connection?.[Symbol.asyncDispose]();
    } catch {
      // There was no connection to close.
    }
  }
}

function unreachable(error: unknown): SpawnletError {
  if (error instanceof SpawnletError) return error;
  const booted = existsSync('/run/systemd/system');
  if (!booted)
    return new SpawnletError('ERR_NO_SYSTEMD', 'systemd is not PID 1 of this system', {
      hint: 'spawnlet lab up makes an embedded systemd host',
      cause: error,
    });
  if (!isAbsent(error) && process.getuid?.() !== 0)
    return new SpawnletError('ERR_NOT_ROOT', 'only root may speak to systemd', {
      hint: 'run spawnlet as root',
      cause: error,
    });
  return new SpawnletError('ERR_SYSTEMD_LOST', 'systemd does not answer', {
    hint: 'systemctl status; systemctl daemon-reexec',
    cause: error,
  });
}
