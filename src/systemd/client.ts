import { SpawnletError } from '../host/error.ts';
import { abortable } from './abortable.ts';
import { type Address, ConnectionLost, privateAddress, systemBusAddress } from './connection.ts';
import { type Job, type JobType, unitFailed } from './job.ts';
import {
  changesOf,
  getAll,
  idOf,
  managerCall,
  refusal,
  service,
  type TransientProperty,
  type UnitFileChange,
  variants,
} from './manager.ts';
import {
  type PropertyMap,
  readProperty,
  type UnitLevelProperty,
  type UnitProperties,
  unitPath,
  unitProperties,
} from './properties.ts';
import { References } from './references.ts';
import { Session } from './session.ts';
import type { UnitWatch } from './watch.ts';
import type { Outgoing, Value } from './wire.ts';

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
  readonly #session: Session;
  #references: References | undefined;

  private constructor(session: Session) {
    this.#session = session;
  }

  /** Throws `ERR_NO_SYSTEMD` where systemd is not PID 1. */
  static async connect(options: ConnectOptions): Promise<SystemdClient> {
    const addresses = options.addresses ?? [privateAddress, systemBusAddress];
    return new SystemdClient(await Session.open(addresses, options.signal));
  }

  /** How systemd was reached. */
  get address(): Address | undefined {
    return this.#session.address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#session[Symbol.asyncDispose](), this.#references?.[Symbol.asyncDispose]()]);
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
      return this.#session.jobs.add(idOf(body[0]), type, name);
    };
    try {
      return await this.#session.call(call, signal, take);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw refusal(error, name);
      const id = (await this.unitProperties(name, signal)).Job;
      if (id !== 0) return this.#session.jobs.add(id, type, name);
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
  async startUnit(
    name: string,
    mode: JobMode,
    signal: AbortSignal,
    queued: () => void = () => {},
  ): Promise<void> {
    await this.#done(await this.enqueue('start', name, mode, signal, queued), signal);
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

  /** True if systemd has the unit in memory. Other than a look at its properties this does not search the disk for it. */
  async isLoaded(name: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#session.read(managerCall('GetUnit', 's', [name]), signal);
      return true;
    } catch (cause) {
      const error = refusal(cause, name);
      if (error instanceof SpawnletError && error.code === 'ERR_NO_SUCH_UNIT') return false;
      throw error;
    }
  }

  /** Loaded units whose names match one of the glob patterns; all if there is none. */
  async listUnits(patterns: readonly string[], signal: AbortSignal): Promise<UnitRow[]> {
    const [rows] = await this.#session.read(
      managerCall('ListUnitsByPatterns', 'asas', [[], patterns]),
      signal,
    );
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
    return readProperty(property, (await this.#session.read(call, signal))[0]);
  }

  /** Any properties of any object: `''` for those of all its interfaces. */
  async rawProperties(path: string, ofInterface: string, signal: AbortSignal): Promise<PropertyMap> {
    const [map] = await this.#session.read(getAll(path, ofInterface), signal);
    return map as PropertyMap;
  }

  /** Reads changed unit files. New ones need none of it, and it holds PID 1 up: 0.5 s at 400 units. */
  async reload(signal: AbortSignal): Promise<void> {
    await this.#session.call(managerCall('Reload'), signal, body => body, reloadDeadline);
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
    return this.#session.watch(unitPath(name), signal);
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
      if (change.kind === 'changed') state = { ...state, ...change.changed };
      // systemd drops every unit as it reloads or re-executes, and loads them again.
      else if (await this.isLoaded(name, signal)) state = await this.#fresh(name, watch, signal);
      else state = { ...state, ActiveState: 'inactive', SubState: 'dead', MainPID: 0, Job: 0 };
      if (predicate(state)) return state;
    }
    throw new ConnectionLost(`the watch of ${name} ended`);
  }

  async #fresh(name: string, watch: UnitWatch, signal: AbortSignal): Promise<UnitProperties> {
    return this.#session.read(getAll(unitPath(name), ''), signal, body => {
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
      if (change.kind === 'changed') state = { ...state, ...change.changed };
      else if (await this.isLoaded(name, signal)) state = await this.#fresh(name, watch, signal);
      else break;
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
      return await this.#session.call(call, signal, body => body);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw refusal(error, subject);
      throw new SpawnletError('ERR_SYSTEMD_LOST', `systemd went away during ${call.member} of ${subject}`, {
        hint: `systemctl status ${subject}`,
        cause: error,
      });
    }
  }
}
