import { SpawnletError } from '../host/error.ts';
import { type Address, privateAddress, systemBusAddress } from './connection.ts';
import type { Job, JobType } from './job.ts';
import {
  changesOf,
  getAll,
  managerCall,
  rowsOf,
  service,
  type TransientProperty,
  type UnitFileChange,
  type UnitRow,
  variants,
} from './manager.ts';
import {
  levelOf,
  type PropertyMap,
  readProperty,
  type ServiceLevelProperty,
  type UnitLevelProperty,
  type UnitProperties,
  unitPath,
  unitProperties,
} from './properties.ts';
import { enqueue, finished, type JobMode, queue } from './queue.ts';
import { References } from './references.ts';
import { Session } from './session.ts';
import { isLoaded, runUnit, waitUntil } from './unit-run.ts';
import type { UnitWatch } from './watch.ts';

/** A reload or re-execution reads every unit file: milliseconds. */
const reloadDeadline = 120_000;

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
  readonly #begun = new Map<string, Job>();
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
   * any signal that came after it. If the connection is lost before systemd answers and no such job is there
   * afterwards, it is not known whether it ran: `ERR_SYSTEMD_LOST`.
   */
  enqueue(
    type: JobType,
    name: string,
    mode: JobMode,
    signal: AbortSignal,
    queued?: () => void,
  ): Promise<Job> {
    return enqueue(this.#session, type, name, mode, signal, queued);
  }

  /** Starts a unit and waits for the job; throws `ERR_UNIT_FAILED` with systemd's result. Needs no reload for a new file. */
  async startUnit(name: string, mode: JobMode, signal: AbortSignal, queued?: () => void): Promise<void> {
    await finished(this.#session, await this.enqueue('start', name, mode, signal, queued), signal);
  }

  /** Queues the start of a unit, for which {@link started} waits. */
  async beginStart(name: string, mode: JobMode, signal: AbortSignal, queued?: () => void): Promise<void> {
    this.#begun.set(name, await this.enqueue('start', name, mode, signal, queued));
  }

  /** Waits for what {@link beginStart} has queued; throws `ERR_UNIT_FAILED` with systemd's result. */
  async started(name: string, signal: AbortSignal): Promise<void> {
    const job = this.#begun.get(name);
    if (job) await finished(this.#session, job, signal);
  }

  /** Stops a unit and waits until it is down. A unit that is not loaded is down. */
  async stopUnit(name: string, mode: JobMode, signal: AbortSignal): Promise<void> {
    try {
      await finished(this.#session, await this.enqueue('stop', name, mode, signal), signal);
    } catch (error) {
      if (!(error instanceof SpawnletError && error.code === 'ERR_NO_SUCH_UNIT')) throw error;
    }
  }

  /** Stops a unit that runs, starts it in any case, and waits. */
  async restartUnit(name: string, mode: JobMode, signal: AbortSignal, queued?: () => void): Promise<void> {
    await finished(this.#session, await this.enqueue('restart', name, mode, signal, queued), signal);
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
    await finished(this.#session, await queue(this.#session, 'start', name, call, signal), signal);
  }

  // Units

  /** Sends signal number `number` to processes of a unit. */
  async killUnit(
    name: string,
    who: 'main' | 'control' | 'all',
    number: number,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#session.change(name, managerCall('KillUnit', 'ssi', [name, who, number]), signal);
  }

  /** Stops the processes of a unit where they are. Systemd can where the unit has a cgroup of version 2. */
  async freezeUnit(name: string, signal: AbortSignal): Promise<void> {
    await this.#session.change(name, managerCall('FreezeUnit', 's', [name]), signal);
  }

  /** Lets them go on. */
  async thawUnit(name: string, signal: AbortSignal): Promise<void> {
    await this.#session.change(name, managerCall('ThawUnit', 's', [name]), signal);
  }

  /** Forgets that a unit failed. One that is not loaded has not failed. */
  async resetFailedUnit(name: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#session.change(name, managerCall('ResetFailedUnit', 's', [name]), signal);
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
    await this.#session.change(name, managerCall('SetUnitProperties', 'sba(sv)', body), signal);
  }

  /** True if systemd has the unit in memory. Other than a look at its properties this does not search the disk for it. */
  isLoaded(name: string, signal: AbortSignal): Promise<boolean> {
    return isLoaded(this.#session, name, signal);
  }

  /** Loaded units whose names match one of the glob patterns; all if there is none. */
  async listUnits(patterns: readonly string[], signal: AbortSignal): Promise<UnitRow[]> {
    const call = managerCall('ListUnitsByPatterns', 'asas', [[], patterns]);
    return rowsOf((await this.#session.read(call, signal))[0]);
  }

  /** What systemd knows of a unit now. One that has no file has `LoadState` `not-found`. */
  async unitProperties(name: string, signal: AbortSignal): Promise<UnitProperties> {
    return unitProperties(await this.rawProperties(unitPath(name), '', signal));
  }

  /** One property: a quarter of the time of all, where one is enough. */
  async unitProperty<P extends UnitLevelProperty | ServiceLevelProperty>(
    name: string,
    property: P,
    signal: AbortSignal,
  ): Promise<UnitProperties[P]> {
    const body = [`${service}.${levelOf(property)}`, property];
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
    return changesOf((await this.#session.change(names.join(' '), call, signal))[1]);
  }

  async disableUnitFiles(
    names: readonly string[],
    lifetime: 'runtime' | 'persistent',
    signal: AbortSignal,
  ): Promise<UnitFileChange[]> {
    const call = managerCall('DisableUnitFiles', 'asb', [names, lifetime === 'runtime']);
    return changesOf((await this.#session.change(names.join(' '), call, signal))[0]);
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
  waitUntil(
    name: string,
    predicate: (properties: UnitProperties) => boolean,
    signal: AbortSignal,
  ): Promise<UnitProperties> {
    return waitUntil(this.#session, name, predicate, signal);
  }

  /**
   * Starts a unit and waits until its run has ended; gives it as it was at the end, also when systemd forgets it at
   * once. Throws `ERR_UNIT_FAILED` if it could not be started; a program that fails later is told by `Result`.
   */
  runUnit(name: string, mode: JobMode, signal: AbortSignal): Promise<UnitProperties> {
    return runUnit(this.#session, name, mode, signal);
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
}
