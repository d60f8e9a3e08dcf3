import { SpawnletError } from '../host/error.ts';
import { abortable } from './abortable.ts';
import { type Address, BusError, type Connection, ConnectionLost } from './connection.ts';
import { type JobResult, JobTable } from './job.ts';
import { Link } from './link.ts';
import { bus, getAll, managerCall, managerPath, refusal, service } from './manager.ts';
import { changedProperties, isUnitPath, type PropertyMap, unitPath, unitProperties } from './properties.ts';
import { UnitWatch } from './watch.ts';
import type { Incoming, Outgoing, Value } from './wire.ts';

/** How often a read is asked again: one re-execution can end several connections, each as it came up. */
const rereads = 4;

/** Calls to systemd and what waits for its signals, kept over reconnections. */
export class Session implements AsyncDisposable {
  readonly #link: Link;
  /** Jobs that somebody may wait for. */
  readonly jobs = new JobTable();
  readonly #watches = new Map<string, Set<UnitWatch>>();
  /** systemd's own name on the bus, where anybody may send a signal to a client. */
  #owner = '';

  private constructor(addresses: readonly Address[]) {
    this.#link = new Link(addresses, {
      signal: (message, connection) => this.#onSignal(message, connection),
      up: (connection, again, signal) => this.#onUp(connection, again, signal),
      wanted: () => this.jobs.size > 0 || this.#watches.size > 0,
      gaveUp: error => this.#onGaveUp(error),
    });
  }

  static async open(addresses: readonly Address[], signal: AbortSignal): Promise<Session> {
    const session = new Session(addresses);
    try {
      await abortable(session.#link.connection(), signal);
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw error;
    }
    return session;
  }

  get address(): Address | undefined {
    return this.#link.address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#onGaveUp(new ConnectionLost('this client is closed'));
    await this.#link[Symbol.asyncDispose]();
  }

  /** Asks once: `use` runs as the answer is read, before any signal that came after it. */
  async call<T>(
    call: Outgoing,
    signal: AbortSignal,
    use: (body: Value[]) => T,
    deadline?: number,
  ): Promise<T> {
    const connection = await abortable(this.#link.connection(), signal);
    return connection.call(call, signal, use, deadline);
  }

  /** A call that changes nothing is asked again when the connection was lost under it. */
  async read<T = Value[]>(
    call: Outgoing,
    signal: AbortSignal,
    use: (body: Value[]) => T = body => body as T,
  ): Promise<T> {
    for (let again = rereads; ; again--) {
      try {
        return await this.call(call, signal, use);
      } catch (error) {
        if (again === 0 || !(error instanceof ConnectionLost)) throw refusal(error, call.path);
      }
    }
  }

  /** A call that changes something, once. Its error is what people read of `subject`. */
  async change(subject: string, call: Outgoing, signal: AbortSignal): Promise<Value[]> {
    try {
      return await this.call(call, signal, body => body);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw refusal(error, subject);
      throw new SpawnletError('ERR_SYSTEMD_LOST', `systemd went away during ${call.member} of ${subject}`, {
        hint: `systemctl status ${subject}`,
        cause: error,
      });
    }
  }

  /** Changes of the unit whose object is at `path`. */
  watch(path: string, signal: AbortSignal): UnitWatch {
    const watches = this.#watches.get(path) ?? new Set();
    const watch = new UnitWatch(signal, closed => {
      watches.delete(closed);
      if (watches.size === 0 && this.#watches.get(path) === watches) this.#watches.delete(path);
    });
    if (!signal.aborted) this.#watches.set(path, watches.add(watch));
    return watch;
  }

  #onSignal(message: Incoming, connection: Connection): void {
    // A private connection has no senders, also when the bus was tried before it.
    if (connection.address.kind === 'bus' && message.sender !== this.#owner) {
      const moved = message.sender === bus.destination && message.member === 'NameOwnerChanged';
      // systemd left the bus or came back to it: the conversation starts anew.
      if (moved && message.body()[2] !== this.#owner) connection.close();
      return;
    }
    if (message.member === 'PropertiesChanged' && isUnitPath(message.path)) {
      const watches = this.#watches.get(message.path);
      if (!watches) return;
      const changed = changedProperties(message.body()[1] as PropertyMap);
      for (const watch of watches) watch.push({ kind: 'changed', changed });
    } else if (message.member === 'JobRemoved' && this.jobs.size > 0) {
      const [id, , , result] = message.body();
      this.jobs.removed(Number(id), result as JobResult);
    } else if (message.member === 'UnitRemoved' && this.#watches.size > 0) {
      const path = message.body()[1] as string;
      for (const watch of this.#watches.get(path) ?? []) watch.push({ kind: 'unloaded' });
    }
  }

  async #onUp(connection: Connection, again: boolean, signal: AbortSignal): Promise<void> {
    if (connection.address.kind === 'bus') {
      const rules = [
        `type='signal',sender='${service}',path_namespace='${managerPath}'`,
        `type='signal',sender='${bus.destination}',member='NameOwnerChanged',arg0='${service}'`,
      ];
      this.#owner = '';
      const nameOwner = { ...bus, member: 'GetNameOwner', signature: 's', body: [service] };
      await Promise.all([
        connection.call(nameOwner, signal, ([owner]) => {
          this.#owner = owner as string;
        }),
        ...rules.map(rule =>
          connection.call({ ...bus, member: 'AddMatch', signature: 's', body: [rule] }, signal),
        ),
        connection.call(managerCall('Subscribe'), signal).catch((error: unknown) => {
          if (!(error instanceof BusError && error.errorName === `${service}.AlreadySubscribed`)) throw error;
        }),
      ]);
    }
    if (!again) return;
    const jobs = this.jobs.pending().map(async job => {
      try {
        await connection.call(managerCall('GetJob', 'u', [job.id]), signal);
      } catch (error) {
        if (!(error instanceof BusError)) throw error;
        const [map] = await connection.call(getAll(unitPath(job.unit), ''), signal);
        this.jobs.missed(job, unitProperties(map as PropertyMap));
      }
    });
    const watches = [...this.#watches].map(([path, set]) =>
      connection.call(getAll(path, ''), signal, ([map]) => {
        const changed = unitProperties(map as PropertyMap);
        for (const watch of set) watch.push({ kind: 'changed', changed });
      }),
    );
    await Promise.all([...jobs, ...watches]);
  }

  #onGaveUp(error: unknown): void {
    this.jobs.fail(error);
    for (const set of this.#watches.values()) for (const watch of set) watch.fail(error);
  }
}
