import { SpawnletError } from '../host/error.ts';
import { abortable } from './abortable.ts';
import {
  type Address,
  BusError,
  type Connection,
  ConnectionLost,
  privateAddress,
  systemBusAddress,
} from './connection.ts';
import { type Job, type JobResult, JobTable, type JobType, unitFailed } from './job.ts';
import { Link } from './link.ts';
import {
  bus,
  changesOf,
  getAll,
  idOf,
  managerCall,
  managerPath,
  refusal,
  service,
  type TransientProperty,
  type UnitFileChange,
  variants,
} from './manager.ts';
import {
  changedProperties,
  isUnitPath,
  type PropertyMap,
  readProperty,
  type UnitLevelProperty,
  type UnitProperties,
  unitPath,
  unitProperties,
} from './properties.ts';
import { References } from './references.ts';
import { UnitWatch } from './watch.ts';
import type { Incoming, Outgoing, Value } from './wire.ts';

/** A reload or re-execution reads every unit file: milliseconds. */
const reloadDeadline = 120_000;

/** How a job treats jobs that are queued already; `systemctl(1)`, `--job-mode=`. */
export type JobMode = 'replace' | 'fail' | 'isolate' | 'ignore-dependencies' | 'ignore-requirements';

/** One row of {@link SystemdClient.listUnits}. */
export interface UnitRow {
  readonly name: string;
  readonly description: string;
  readonly loadState: string;
  readonly activeState: string;
  readonly subState: string;
}

export interface ConnectOptions {
  readonly signal: AbortSignal;
  /** Where systemd is looked for, in order. */
  readonly addresses?: readonly Address[];
}

/**
 * systemd's manager over D-Bus: `org.freedesktop.systemd1(5)`.
 *
 * It speaks to systemd's private socket, as `systemctl` does as root: no bus in between, no `Hello`, and it works while
 * no bus runs. The system bus is the fallback, and carries {@link ref}, which systemd takes from bus clients only. When
 * systemd or the bus is re-executed the client comes back, and reads again what somebody waits for.
 */
export class SystemdClient implements AsyncDisposable {
  readonly #link: Link;
  readonly #jobs = new JobTable();
  readonly #watches = new Map<string, Set<UnitWatch>>();
  #references: References | undefined;

  private constructor(addresses: readonly Address[]) {
    this.#link = new Link(addresses, {
      signal: message => this.#onSignal(message),
      up: (connection, again, signal) => this.#onUp(connection, again, signal),
      wanted: () => this.#jobs.size > 0 || this.#watches.size > 0,
      gaveUp: error => this.#onGaveUp(error),
    });
  }

  /** Throws `ERR_NO_SYSTEMD` where systemd is not PID 1. */
  static async connect(options: ConnectOptions): Promise<SystemdClient> {
    const client = new SystemdClient(options.addresses ?? [privateAddress, systemBusAddress]);
    try {
      await abortable(client.#link.connection(), options.signal);
    } catch (error) {
      await client[Symbol.asyncDispose]();
      throw error;
    }
    return client;
  }

  /** How systemd was reached. */
  get address(): Address | undefined {
    return this.#link.address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#onGaveUp(new ConnectionLost('this client is closed'));
    await Promise.all([this.#link[Symbol.asyncDispose](), this.#references?.[Symbol.asyncDispose]()]);
  }

  // Jobs

  /**
   * Queues a job and gives its handle; `done` never has to be awaited. `queued` runs as systemd's answer is read, before
   * any signal that came after it. If the connection is lost before systemd answers
   * and no such job is there afterwards, it is not known whether it ran: `ERR_SYSTEMD_LOST`.
   */
  async enqueue(
    type: JobType,
    name: string,
    mode: JobMode,
    signal: AbortSignal,
    queued: () => void = () => {},
  ): Promise<Job> {
    const method = { start: 'StartUnit', stop: 'StopUnit', restart: 'RestartUnit', reload: 'ReloadUnit' }[
      type
    ];
    const call = managerCall(method, 'ss', [name, mode]);
    return this.#queued(type, name, call, signal, queued);
  }

  async #queued(
    type: JobType,
    name: string,
    call: Outgoing,
    signal: AbortSignal,
    queued: () => void = () => {},
  ): Promise<Job> {
    const take = (body: Value[]) => {
      queued();
      return this.#jobs.add(idOf(body[0]), type, name);
    };
    try {
      return await this.#once(call, signal, take);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw refusal(error, name);
      const id = (await this.unitProperties(name, signal)).Job;
      if (id !== 0) return this.#jobs.add(id, type, name);
      throw new SpawnletError('ERR_SYSTEMD_LOST', `systemd went away while it was asked to ${type} ${name}`, {
        hint: `systemctl status ${name}`,
        cause: error,
      });
    }
  }

  async #done(job: Job, signal: AbortSignal): Promise<void> {
    const result = await abortable(job.done, signal);
    if (result === 'done' || result === 'skipped') return;
    throw unitFailed(job, result, await this.unitProperties(job.unit, signal));
  }

  /** Starts a unit and waits for the job; throws `ERR_UNIT_FAILED` with systemd's result. Needs no reload for a new file. */
  async startUnit(name: string, mode: JobMode, signal: AbortSignal): Promise<void> {
    await this.#done(await this.enqueue('start', name, mode, signal), signal);
  }

  /** Stops a unit and waits until it is down. A unit that is not loaded is down. */
  async stopUnit(name: string, mode: JobMode, signal: AbortSignal): Promise<void> {
    try {
      await this.#done(await this.enqueue('stop', name, mode, signal), signal);
    } catch (error) {
      if (!(error instanceof SpawnletError && error.code === 'ERR_NO_SUCH_UNIT')) throw error;
    }
  }

  /** Stops a unit that runs, starts it in any case, and waits. */
  async restartUnit(name: string, mode: JobMode, signal: AbortSignal): Promise<void> {
    await this.#done(await this.enqueue('restart', name, mode, signal), signal);
  }

  /** Makes and starts a unit that has no file, and waits for the job. */
  async startTransientUnit(
    name: string,
    properties: readonly TransientProperty[],
    signal: AbortSignal,
    mode: JobMode = 'fail',
  ): Promise<void> {
    const call = managerCall('StartTransientUnit', 'ssa(sv)a(sa(sv))', [
      name,
      mode,
      variants(properties),
      [],
    ]);
    await this.#done(await this.#queued('start', name, call, signal), signal);
  }

  // Units

  /** Sends signal number `number` to processes of a unit. */
  async killUnit(
    name: string,
    who: 'main' | 'control' | 'all',
    number: number,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#manager(name, managerCall('KillUnit', 'ssi', [name, who, number]), signal);
  }

  /** Forgets that a unit failed. One that is not loaded has not failed. */
  async resetFailedUnit(name: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#manager(name, managerCall('ResetFailedUnit', 's', [name]), signal);
    } catch (error) {
      if (!(error instanceof SpawnletError && error.code === 'ERR_NO_SUCH_UNIT')) throw error;
    }
  }

  /** Sets properties of a loaded unit, until the next boot or in a drop-in that stays. */
  async setUnitProperties(
    name: string,
    lifetime: 'runtime' | 'persistent',
    properties: readonly TransientProperty[],
    signal: AbortSignal,
  ): Promise<void> {
    const body = [name, lifetime === 'runtime', variants(properties)];
    await this.#manager(name, managerCall('SetUnitProperties', 'sba(sv)', body), signal);
  }

  /** Loaded units whose names match one of the glob patterns; all if there is none. */
  async listUnits(patterns: readonly string[], signal: AbortSignal): Promise<UnitRow[]> {
    const [rows] = await this.#read(managerCall('ListUnitsByPatterns', 'asas', [[], patterns]), signal);
    return (rows as string[][]).map(
      ([name = '', description = '', loadState = '', activeState = '', subState = '']) => ({
        name,
        description,
        loadState,
        activeState,
        subState,
      }),
    );
  }

  /** What systemd knows of a unit now. One that has no file has `LoadState` `not-found`. */
  async unitProperties(name: string, signal: AbortSignal): Promise<UnitProperties> {
    return unitProperties(await this.rawProperties(unitPath(name), '', signal));
  }

  /** One property: a quarter of the time of all, where one is enough. */
  async unitProperty<P extends UnitLevelProperty>(
    name: string,
    property: P,
    signal: AbortSignal,
  ): Promise<UnitProperties[P]> {
    const body = [`${service}.Unit`, property];
    const call = { ...getAll(unitPath(name), ''), member: 'Get', signature: 'ss', body };
    return readProperty(property, (await this.#read(call, signal))[0]);
  }

  /** Any properties of any object: `''` for those of all its interfaces. */
  async rawProperties(path: string, ofInterface: string, signal: AbortSignal): Promise<PropertyMap> {
    const [map] = await this.#read(getAll(path, ofInterface), signal);
    return map as PropertyMap;
  }

  /** Reads changed unit files. New ones need none of it, and it holds PID 1 up: 0.5 s at 400 units. */
  async reload(signal: AbortSignal): Promise<void> {
    await this.#once(managerCall('Reload'), signal, body => body, reloadDeadline);
  }

  /** Makes the links of `[Install]`, for this boot or for good. */
  async enableUnitFiles(
    names: readonly string[],
    lifetime: 'runtime' | 'persistent',
    signal: AbortSignal,
  ): Promise<UnitFileChange[]> {
    const call = managerCall('EnableUnitFiles', 'asbb', [names, lifetime === 'runtime', true]);
    return changesOf((await this.#manager(names.join(' '), call, signal))[1]);
  }

  async disableUnitFiles(
    names: readonly string[],
    lifetime: 'runtime' | 'persistent',
    signal: AbortSignal,
  ): Promise<UnitFileChange[]> {
    const call = managerCall('DisableUnitFiles', 'asb', [names, lifetime === 'runtime']);
    return changesOf((await this.#manager(names.join(' '), call, signal))[0]);
  }

  // Signals

  /**
   * Changes of a unit from this call on: what happens before the first `next()` is kept. After a reconnection all
   * properties come as one change. Ends with the client's error, or the signal's.
   */
  watchUnit(name: string, signal: AbortSignal): UnitWatch {
    const path = unitPath(name);
    const watches = this.#watches.get(path) ?? new Set();
    const watch = new UnitWatch(signal, closed => {
      watches.delete(closed);
      if (watches.size === 0 && this.#watches.get(path) === watches) this.#watches.delete(path);
    });
    if (!signal.aborted) this.#watches.set(path, watches.add(watch));
    return watch;
  }

  /**
   * Waits until the unit is as `predicate` wants it, and gives it as it was then. A unit that systemd forgets counts as
   * `inactive` with what is known of its last run.
   */
  async waitUntil(
    name: string,
    predicate: (properties: UnitProperties) => boolean,
    signal: AbortSignal,
  ): Promise<UnitProperties> {
    await using watch = this.watchUnit(name, signal);
    // Signals that came before the reply are older than it; those are taken off the queue by the reply's arrival.
    let state = await this.#fresh(name, watch, signal);
    if (predicate(state)) return state;
    for await (const change of watch) {
      state =
        change.kind === 'changed'
          ? { ...state, ...change.changed }
          : { ...state, ActiveState: 'inactive', SubState: 'dead', MainPID: 0, Job: 0 };
      if (predicate(state)) return state;
    }
    throw new ConnectionLost(`the watch of ${name} ended`);
  }

  async #fresh(name: string, watch: UnitWatch, signal: AbortSignal): Promise<UnitProperties> {
    return this.#read(getAll(unitPath(name), ''), signal, body => {
      watch.clear();
      return unitProperties(body[0] as PropertyMap);
    });
  }

  /**
   * Starts a unit and waits until its run has ended; gives it as it was at the end, also when systemd forgets it at
   * once. Throws `ERR_UNIT_FAILED` if it could not be started; a program that fails later is told by `Result`.
   */
  async runUnit(name: string, mode: JobMode, signal: AbortSignal): Promise<UnitProperties> {
    await using watch = this.watchUnit(name, signal);
    const job = await this.enqueue('start', name, mode, signal, () => watch.clear());
    let state: UnitProperties = unitProperties(new Map());
    // Until the job has ended, every change names it in `Job`.
    for await (const change of watch) {
      if (change.kind === 'unloaded') break;
      state = { ...state, ...change.changed };
      if (state.Job === 0 && (state.ActiveState === 'inactive' || state.ActiveState === 'failed')) break;
    }
    const result = await abortable(job.done, signal);
    if (result === 'done' || result === 'skipped' || state.ExecMainStartTimestamp > 0) return state;
    throw unitFailed(job, result, state);
  }

  // References

  /** Keeps a unit loaded after it has ended, until {@link unref} or until this client is closed. */
  async ref(name: string, signal: AbortSignal): Promise<void> {
    this.#references ??= new References();
    await this.#references.ref(name, signal);
  }

  async unref(name: string, signal: AbortSignal): Promise<void> {
    await this.#references?.unref(name, signal);
  }

  // Calls

  async #manager(subject: string, call: Outgoing, signal: AbortSignal): Promise<Value[]> {
    try {
      return await this.#once(call, signal, body => body);
    } catch (error) {
      throw refusal(error, subject);
    }
  }

  async #once<T>(
    call: Outgoing,
    signal: AbortSignal,
    use: (body: Value[]) => T,
    deadline?: number,
  ): Promise<T> {
    const connection = await abortable(this.#link.connection(), signal);
    return connection.call(call, signal, use, deadline);
  }

  /** A call that changes nothing is asked again when the connection was lost under it. */
  async #read<T = Value[]>(
    call: Outgoing,
    signal: AbortSignal,
    use: (body: Value[]) => T = body => body as T,
  ): Promise<T> {
    try {
      return await this.#once(call, signal, use);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw refusal(error, call.path);
      return this.#once(call, signal, use);
    }
  }

  #onSignal(message: Incoming): void {
    if (message.member === 'PropertiesChanged' && isUnitPath(message.path)) {
      const watches = this.#watches.get(message.path);
      if (!watches) return;
      const changed = changedProperties(message.body()[1] as PropertyMap);
      for (const watch of watches) watch.push({ kind: 'changed', changed });
    } else if (message.member === 'JobRemoved' && this.#jobs.size > 0) {
      const [id, , , result] = message.body();
      this.#jobs.removed(Number(id), result as JobResult);
    } else if (message.member === 'UnitRemoved' && this.#watches.size > 0) {
      const path = message.body()[1] as string;
      for (const watch of this.#watches.get(path) ?? []) watch.push({ kind: 'unloaded' });
    } else if (message.member === 'NameOwnerChanged' && message.body()[2] === '') {
      // systemd left the bus: what it says after it comes back belongs to a new start of the conversation.
      this.#link.drop();
    }
  }

  async #onUp(connection: Connection, again: boolean, signal: AbortSignal): Promise<void> {
    if (connection.address.kind === 'bus') {
      const rules = [
        `type='signal',sender='${service}',path_namespace='${managerPath}'`,
        `type='signal',sender='${bus.destination}',member='NameOwnerChanged',arg0='${service}'`,
      ];
      await Promise.all([
        ...rules.map(rule =>
          connection.call({ ...bus, member: 'AddMatch', signature: 's', body: [rule] }, signal),
        ),
        connection.call(managerCall('Subscribe'), signal).catch((error: unknown) => {
          if (!(error instanceof BusError && error.errorName === `${service}.AlreadySubscribed`)) throw error;
        }),
      ]);
    }
    if (!again) return;
    const jobs = this.#jobs.pending().map(async job => {
      try {
        await connection.call(managerCall('GetJob', 'u', [job.id]), signal);
      } catch (error) {
        if (!(error instanceof BusError)) throw error;
        const [map] = await connection.call(getAll(unitPath(job.unit), ''), signal);
        this.#jobs.missed(job, unitProperties(map as PropertyMap));
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
    this.#jobs.fail(error);
    for (const set of this.#watches.values()) for (const watch of set) watch.fail(error);
  }
}
