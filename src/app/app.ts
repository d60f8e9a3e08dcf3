import { constants } from 'node:os';
import { crunWords } from '../engine/crun.ts';
import { engines } from '../engine/engines.ts';
import { capture, execIn, type ProcessSpec } from '../engine/exec.ts';
import { compiledFilter, keepFilter } from '../engine/filter-cache.ts';
import { runDirectoryOf, runsDirectory } from '../engine/script.ts';
import { signalName } from '../engine/signal.ts';
import type { Applier, Plan } from '../host/apply.ts';
import { programMissing } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { Holder } from '../host/process.ts';
import { hasProgram } from '../host/program.ts';
import type { HostStep } from '../host/step.ts';
import type { InUse } from '../image/garbage.ts';
import { lookupUser } from '../image/user.ts';
import { appsDirectory, unitPath } from '../names.ts';
import { type ContainerNetwork, readContainerNetwork } from '../network/container-file.ts';
import type { SystemdClient } from '../systemd/client.ts';
import type { SystemdStep } from '../systemd/executors.ts';
import type { UnitProperties } from '../systemd/properties.ts';
import { type Bundle, damaged, parseBundle, unknown } from './bundle-file.ts';
import { hostFacts, imageFacts } from './facts.ts';
import {
  afterResult,
  type Health,
  type Healthcheck,
  type HealthResult,
  healthOf,
  keptOutput,
  type OnFailure,
  parseHealth,
} from './health.ts';
import { type ImageAccess, imageFor } from './image.ts';
import type { DecidedNetwork } from './network.ts';
import {
  type AppStep,
  annotation,
  bundleFiles,
  planRemove,
  planRun,
  type RunPlan,
  unitOf,
  unitPathOf,
  waitingFileOf,
} from './plan.ts';
import type { RunRequest } from './request.ts';
import { Session } from './session.ts';
import { toBeRead } from './shown.ts';
import { containerOf, directoryOf, mergeEnv, processUser } from './spec.ts';
import { type AppState, parseRecord, type RunRecord, startFailure, stateOf } from './status.ts';

/** What apps are run with. */
export interface AppDependencies extends ImageAccess {
  readonly host: Host;
  readonly applier: Pick<Applier<AppStep>, 'apply' | 'dryRun'>;
  systemd(): Promise<SystemdClient>;
  /** Words that run this spawnlet. */
  readonly words: readonly string[];
}

/** A container as it is now. */
export interface App {
  readonly name: string;
  readonly request: RunRequest;
  readonly image: string;
  readonly imageDigest: string;
  readonly layers: readonly string[];
  readonly created: string;
  readonly bundle: Bundle;
  readonly unit: UnitProperties;
  readonly record: RunRecord | undefined;
  readonly state: AppState;
  /** Who waits until it is made, before its program has run; undefined if it was let run. */
  readonly waiting: Holder | undefined;
  /** What it has of spawnlet's own bridge; undefined if it is not on it. */
  readonly network: ContainerNetwork | undefined;
  /** How it is asked whether it is well, and what it said; undefined if it is not. */
  readonly health: { readonly check: Healthcheck; readonly known: Health } | undefined;
}

const placeOf = (name: string) => ({ name, unit: unitOf(name), directory: directoryOf(name) });

/** A container of `--rm` that has ended, and that its unit is about to remove. */
const isGoing = (app: App) => app.request.removeAfterwards && app.state.kind === 'stopping';

/** Milliseconds to take back a run that its user has broken off. */
const removalDeadline = 60_000;

/** A container of `--rm` whose conmon was killed before it could remove it, or that is just being made. */
const isLeftOver = (app: App) =>
  app.request.removeAfterwards && (app.state.kind === 'exited' || app.state.kind === 'created');

/** Undefined for a text that a power cut has left without its content, too. */
function parseWaiting(text: string | undefined): Holder | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Holder);
  } catch {
    return undefined;
  }
}

/** Whoever holds the lock of a container is making or removing it. */
function busyIsFine(error: unknown): void {
  if (!(error instanceof SpawnletError && error.code === 'ERR_BUSY')) throw error;
}

/** Containers of one image each, as units. */
export class Apps {
  readonly #deps: AppDependencies;

  constructor(deps: AppDependencies) {
    this.#deps = deps;
  }

  /** All that a `run` will do; nothing is done yet, but for the pull of an image. */
  async prepare(
    request: RunRequest,
    options: Pick<RunPlan, 'gate' | 'attached' | 'enable'>,
    signal: AbortSignal,
  ): Promise<RunPlan> {
    const { host, words } = this.#deps;
    const [{ name, image }, facts, store] = await Promise.all([
      imageFor(this.#deps, request.image, request.pull, signal),
      hostFacts(request),
      this.#deps.store(),
    ]);
    const found = imageFacts(store, image, { ...request, image: name });
    const network: DecidedNetwork =
      request.network === 'bridge'
        ? await (await import('./network.ts')).networkOf(host, request, found.config, signal)
        : { kind: request.network };
    const connection =
      network.kind === 'bridged'
        ? (await import('./network.ts')).connectionOf(request, network)
        : network.kind;
    const spec = containerOf(request, found, facts, connection);
    const health = healthOf(request, found.config);
    if (health && request.engine === 'nspawn')
      throw refusedBy('nspawn', 'health checks', 'leave them out: --no-healthcheck');
    const missing = engines[request.engine].refuse(spec);
    if (missing) throw refusedBy(request.engine, missing.flag, missing.hint);
    // What is only printed may be for another host.
    for (const program of options.gate ? engines[request.engine].programs : [])
      if (!(await hasProgram(host.files, program))) throw programMissing(program);
    const filter =
      request.engine === 'crun' && request.removeAfterwards
        ? await compiledFilter(host.files, spec.seccomp)
        : undefined;
    const now = host.clock.now();
    return {
      request,
      spec,
      image: found,
      network,
      now,
      health,
      self: host.locks.self,
      spawnlet: words,
      ...(filter && { filter }),
      ...options,
    };
  }

  /** True if the image has to be fetched before more can be told of a run. */
  async needsPull(request: RunRequest, signal: AbortSignal): Promise<boolean> {
    try {
      await imageFor(this.#deps, request.image, 'never', signal);
      return false;
    } catch (error) {
      if (error instanceof SpawnletError && error.code === 'ERR_IMAGE_NOT_FOUND') return true;
      throw error;
    }
  }

  /**
   * What {@link create} would do.
   *
   * @param systemd whether it is there, and can be asked for units that have no file
   */
  async dryRun(plan: RunPlan, systemd: boolean, signal: AbortSignal): Promise<string> {
    const { name } = plan.request;
    const isThere = (await this.#deps.host.files.look(`${directoryOf(name)}/config.json`)) !== undefined;
    const app = isThere && systemd ? await this.find(name, signal) : undefined;
    if (isThere && !(app && (isLeftOver(app) || isGoing(app) || this.#isAbandoned(app)))) throw taken(name);
    const found = isThere ? undefined : await this.#unitOfOthers(unitOf(name), systemd, signal);
    if (found !== undefined && found !== 'loaded') throw foreign(name, found.why);
    const text = await this.#deps.applier.dryRun(toBeRead(planRun(plan), plan.request));
    if (plan.network.kind !== 'bridged') return text;
    const { planBridge } = await import('./network.ts');
    const bridge = await this.#deps.applier.dryRun(planBridge(plan.network));
    return bridge === nothing ? text : `${text}${bridge}`;
  }

  /** Makes the container and starts its unit. Throws `ERR_NAME_TAKEN`. */
  async create(plan: RunPlan, signal: AbortSignal): Promise<void> {
    const { name } = plan.request;
    await using _lock = await this.#deps.host.locks.take(`app-${name}`);
    const { loaded } = await this.#refuseTaken(name, signal);
    const store = await this.#deps.store();
    await using _lease = await store.hold(plan.image.digest, plan.image.layerKeys, signal);
    const { applier, host } = this.#deps;
    if (plan.network.kind !== 'bridged') return applier.apply(planRun({ ...plan, loaded }), signal);
    const { connectionOf, decidedAgain, lockNetwork, planBridge } = await import('./network.ts');
    // Until the container is kept, nobody else is given its address, and nobody takes the bridge away.
    await using _network = await lockNetwork(host.locks, signal);
    const network = await decidedAgain(host, plan.network);
    await applier.apply(planBridge(network), signal);
    const spec = { ...plan.spec, network: connectionOf(plan.request, network) };
    await applier.apply(planRun({ ...plan, network, spec, loaded }), signal);
  }

  /** Tells whether systemd has the unit of an earlier container of this name in memory. */
  async #refuseTaken(name: string, signal: AbortSignal): Promise<{ readonly loaded: boolean }> {
    if (await this.#isThere(name, signal)) throw taken(name);
    const found = await this.#unitOfOthers(unitOf(name), true, signal);
    if (found === undefined) return { loaded: false };
    if (found !== 'loaded') throw foreign(name, found.why);
    // What has failed stays loaded though its file is gone, such as a run of `--rm` that was killed.
    await (await this.#deps.systemd()).resetFailedUnit(unitOf(name), signal);
    return { loaded: true };
  }

  /** True if there is a container of that name; one of `--rm` that has ended is let go first. */
  async #isThere(name: string, signal: AbortSignal): Promise<boolean> {
    const { files } = this.#deps.host;
    const path = `${directoryOf(name)}/config.json`;
    if ((await files.look(path)) === undefined) return false;
    const app = await this.find(name, signal);
    if (!app?.request.removeAfterwards && !(app && this.#isAbandoned(app))) return app !== undefined;
    if (isGoing(app)) await this.#down(name, signal);
    await this.#forgetLocked(name, signal);
    return (await files.look(path)) !== undefined;
  }

  /**
   * Removes a container of `--rm` that has ended and is there still: what was to remove it was killed, or it could not be
   * made at all.
   */
  async #forget(name: string, signal: AbortSignal): Promise<void> {
    await using _lock = await this.#deps.host.locks.take(`app-${name}`);
    await this.#forgetLocked(name, signal);
  }

  async #forgetLocked(name: string, signal: AbortSignal): Promise<void> {
    const app = await this.find(name, signal);
    if (!app) return;
    const isUp = app.state.kind === 'running' || app.state.kind === 'starting';
    if (this.#isAbandoned(app) || (app.request.removeAfterwards && !isUp))
      await this.#deps.applier.apply(this.#removal(app, []), signal);
  }

  /**
   * After a run that went wrong: a container whose program was not let run is removed, whatever keeps it from that. One that
   * could not be made stays to be looked at, but for that of `--rm`.
   */
  async abandon(plan: RunPlan, session: Session, error: unknown): Promise<void> {
    const { name, removeAfterwards } = plan.request;
    const failed = error instanceof SpawnletError && error.code === 'ERR_START';
    if (session.hasPassed || (failed && !removeAfterwards)) return;
    // The command's own signal may have been what went wrong.
    const signal = AbortSignal.timeout(removalDeadline);
    await using _lock = await this.#deps.host.locks.wait(`app-${name}`, signal);
    const app = await this.find(name, signal);
    if (app) await this.#deps.applier.apply(this.#removal(app, []), signal);
  }

  /**
   * Where a unit lies, that it runs, or that it is only in memory. Its properties would tell, but systemd goes through all of
   * its directories to say that it has no such unit: 10 ms.
   */
  async #unitOfOthers(
    unit: string,
    askSystemd: boolean,
    signal: AbortSignal,
  ): Promise<undefined | 'loaded' | { readonly why: string }> {
    for (const directory of unitPath) {
      const path = `${directory}/${unit}`;
      if (await this.#deps.host.files.look(path)) return { why: path };
    }
    if (!askSystemd) return undefined;
    const systemd = await this.#deps.systemd();
    if (!(await systemd.isLoaded(unit, signal))) return undefined;
    const state = await systemd.unitProperty(unit, 'ActiveState', signal);
    return ['active', 'activating'].includes(state) ? { why: 'it runs' } : 'loaded';
  }

  /** What attaches to a run of a container, and waits for it. */
  session(name: string): Session {
    return new Session(placeOf(name), this.#deps);
  }

  /** The session of the run that {@link create} has begun. */
  sessionOf(plan: RunPlan): Session {
    const { name, engine, removeAfterwards } = plan.request;
    const keep = engine === 'crun' && removeAfterwards && plan.filter === undefined;
    return new Session(placeOf(name), this.#deps, {
      whole: !removeAfterwards,
      made: async () => {
        if (keep) await keepFilter(this.#deps.host.files, name, plan.spec.seccomp);
      },
    });
  }

  /**
   * Removes directories of runs that systemd removes no more: it was reloaded between the end of a container of `--rm`, whose
   * unit file was gone already, and the end of the unit.
   */
  async #sweepRuns(names: readonly string[], signal: AbortSignal): Promise<void> {
    const { files, locks } = this.#deps.host;
    for (const name of await files.list(runsDirectory)) {
      const directory = runDirectoryOf(name);
      // Those of pods have no such file.
      if (names.includes(name) || !(await files.look(`${directory}/fifos`))) continue;
      if (await (await this.#deps.systemd()).isLoaded(unitOf(name), signal)) continue;
      try {
        await using _lock = await locks.take(`app-${name}`);
        if (!(await files.look(directoryOf(name)))) await files.remove(directory);
      } catch (error) {
        busyIsFine(error);
      }
    }
  }

  /** All containers, by name. */
  async list(signal: AbortSignal): Promise<App[]> {
    const names = await this.#deps.host.files.list(appsDirectory);
    await this.#sweepRuns(names, signal);
    const apps = await Promise.all(names.map(name => this.find(name, signal)));
    const there = apps.flatMap(app => (app && !isGoing(app) ? app : []));
    const left = there.filter(app => isLeftOver(app) || this.#isAbandoned(app));
    for (const { name } of left) await this.#forget(name, signal).catch(busyIsFine);
    return there.filter(app => !left.includes(app));
  }

  /** Its command was killed before it had let the program run. */
  #isAbandoned({ waiting }: App): boolean {
    return waiting !== undefined && !this.#deps.host.locks.isAlive(waiting);
  }

  async find(name: string, signal: AbortSignal): Promise<App | undefined> {
    const { files } = this.#deps.host;
    if (!/^[\w.-]+$/.test(name)) return undefined;
    const text = await files.read(`${directoryOf(name)}/config.json`);
    if (text === undefined) return undefined;
    const unit = await (await this.#deps.systemd()).unitProperties(unitOf(name), signal);
    const record = parseRecord(await files.read(`${directoryOf(name)}/record`));
    const bundle = parseBundle(text);
    if (!bundle) return this.#damaged(name, unit, record);
    const notes = bundle.annotations;
    const request = JSON.parse(notes[annotation.request] ?? '{}') as RunRequest;
    // systemd-nspawn tells nobody.
    const isMade = request.engine === 'nspawn' || (await files.look(`${runDirectoryOf(name)}/pid`));
    return {
      name,
      request,
      image: notes[annotation.image] ?? '',
      imageDigest: notes[annotation.digest] ?? '',
      layers: (notes[annotation.layers] ?? '').split(',').filter(Boolean),
      created: notes[annotation.created] ?? '',
      bundle,
      unit,
      record,
      state: stateOf(unit, record, constants.signals, isMade !== undefined),
      waiting: parseWaiting(await files.read(waitingFileOf(directoryOf(name)))),
      network: await readContainerNetwork(files, directoryOf(name)),
      health: await this.#healthOf(name, notes[annotation.health], unit.InvocationID),
    };
  }

  async #healthOf(name: string, note: string | undefined, invocation: string): Promise<App['health']> {
    if (note === undefined) return undefined;
    const text = await this.#deps.host.files.read(healthFileOf(name));
    return { check: JSON.parse(note) as Healthcheck, known: parseHealth(text, invocation) };
  }

  /**
   * Asks a running container whether it is well, notes what it said, and does what is to be done with one that is not.
   *
   * @throws ERR_NOT_RUNNING, ERR_NO_HEALTHCHECK
   */
  async checkHealth(name: string, signal: AbortSignal): Promise<HealthResult> {
    const { host } = this.#deps;
    const { clock, files, locks } = host;
    // A timer and a person ask one after the other.
    await using _lock = await locks.wait(`health-${name}`, signal);
    const app = await this.running(name, signal);
    const { health } = app;
    if (!health)
      throw new SpawnletError('ERR_NO_HEALTHCHECK', `${name} has no health check`, {
        hint: 'spawnlet run --health-cmd COMMAND, or an image with a HEALTHCHECK',
      });
    const { check } = health;
    const { consoleSize: _size, ...process } = app.bundle.process;
    const start = clock.now();
    const answer = await askHealth(
      host,
      name,
      { ...process, args: check.args, terminal: false },
      check,
      signal,
    );
    const result = { start, end: clock.now(), ...answer };
    const started = app.state.kind === 'running' ? app.state.since : start;
    const now = afterResult(health.known, check, result, started);
    await files.write(healthFileOf(name), `${JSON.stringify(now)}\n`, 0o600);
    if (now.status === 'unhealthy') await this.#unwell(name, check.onFailure, signal);
    return result;
  }

  async #unwell(name: string, action: OnFailure, signal: AbortSignal): Promise<void> {
    const systemd = await this.#deps.systemd();
    // Not as somebody kills it: its restart policy holds.
    if (action === 'kill')
      await this.#kill(await this.running(name, signal), constants.signals.SIGKILL, signal);
    if (action === 'stop') await systemd.stopUnit(unitOf(name), 'replace', signal);
    if (action === 'restart') await (await systemd.enqueue('restart', unitOf(name), 'replace', signal)).done;
  }

  /** What is known of a container whose bundle cannot be read. */
  async #damaged(name: string, unit: UnitProperties, record: RunRecord | undefined): Promise<App> {
    const { files } = this.#deps.host;
    const isTransient = (await files.look(unitPathOf(name, true))) !== undefined;
    return {
      ...unknown,
      name,
      request: { ...unknown.request, name, removeAfterwards: isTransient },
      unit,
      record,
      network: await readContainerNetwork(files, directoryOf(name)),
    };
  }

  /** {@link find}, or `ERR_NO_CONTAINER`. */
  async get(name: string, signal: AbortSignal): Promise<App> {
    const app = await this.find(name, signal);
    if (app) return app;
    throw new SpawnletError('ERR_NO_CONTAINER', `there is no container ${JSON.stringify(name)}`, {
      hint: 'spawnlet ps -a lists them',
    });
  }

  /** Starts a container and waits until it is made. @throws ERR_START */
  async start(name: string, signal: AbortSignal): Promise<void> {
    const { request, state } = await this.get(name, signal);
    if (state.kind === 'damaged') throw damaged(name);
    const systemd = await this.#deps.systemd();
    // A start by hand does not count for the limit of `--restart on-failure:N`.
    await systemd.resetFailedUnit(unitOf(name), signal);
    if (request.engine === 'nspawn') return systemd.startUnit(unitOf(name), 'replace', signal);
    // Else the job would be done before systemd has made it, where it is told that the container is made.
    const { files } = this.#deps.host;
    await files.makeDirectory(runDirectoryOf(name), 0o700);
    try {
      await systemd.startUnit(unitOf(name), 'replace', signal);
    } catch (error) {
      await files.removeEmpty(runDirectoryOf(name));
      throw error;
    }
    using session = this.session(name);
    await session.begun(signal);
  }

  /** Sends the stop signal, and SIGKILL after `seconds` (the container's own if not given). */
  async stop(name: string, seconds: number | undefined, signal: AbortSignal): Promise<void> {
    const app = await this.get(name, signal);
    if (seconds !== undefined && seconds > app.request.stopTimeout) {
      throw new SpawnletError(
        'ERR_FLAG_VALUE',
        `${name} is killed ${app.request.stopTimeout} s after its stop signal`,
        {
          hint: `for longer: systemctl edit ${unitOf(name)}, TimeoutStopSec=${seconds}`,
        },
      );
    }
    const systemd = await this.#deps.systemd();
    if (seconds === undefined || app.state.kind !== 'running') {
      await systemd.stopUnit(unitOf(name), 'replace', signal);
      await this.#forget(name, signal);
      return;
    }
    const job = await systemd.enqueue('stop', unitOf(name), 'replace', signal);
    const late = new AbortController();
    const killed = this.#deps.host.clock.sleep(seconds * 1000, late.signal).then(
      () => systemd.killUnit(unitOf(name), 'all', constants.signals.SIGKILL, signal),
      () => undefined,
    );
    try {
      await job.done;
    } finally {
      late.abort();
      await killed;
    }
    await this.#forget(name, signal);
  }

  /**
   * Sends a signal to the container's PID 1. What ends by SIGKILL or by its stop signal stays down, as with docker and podman: a
   * restart policy is for ends that nobody has asked for.
   */
  async kill(name: string, number: number, signal: AbortSignal): Promise<void> {
    const app = await this.running(name, signal);
    const systemd = await this.#deps.systemd();
    const stop = () => systemd.enqueue('stop', unitOf(name), 'replace', signal);
    if (app.request.restart.kind === 'no') return this.#kill(app, number, signal);
    if (number === constants.signals.SIGKILL) {
      // systemd waits a second before it starts the unit again; the stop would send its own signal first.
      await this.#kill(app, number, signal);
      await stop();
    } else if (signalName(number) === (app.bundle.annotations[annotation.stopSignal] ?? 'SIGTERM'))
      await stop();
    else await this.#kill(app, number, signal);
  }

  async #kill(app: App, number: number, signal: AbortSignal): Promise<void> {
    const { name } = app;
    if (app.request.engine === 'nspawn') return killLeader(this.#deps.host, name, app.unit.MainPID, number);
    const result = await this.#deps.host.children.capture(
      crunWords(name, 'kill', app.unit.InvocationID, String(number)),
      { signal },
    );
    if (result.code !== 0) throw new SpawnletError('ERR_KILL', `${name}: ${result.stderr.trim()}`);
  }

  /** What conmon and crun alone can do. Throws `ERR_ENGINE`. */
  refuseNspawn(app: App, what: string): void {
    if (app.request.engine === 'nspawn')
      throw refusedBy('nspawn', what, 'run the container with --engine crun');
  }

  /** A container that runs, or `ERR_NOT_RUNNING`. */
  async running(name: string, signal: AbortSignal): Promise<App> {
    const app = await this.get(name, signal);
    if (app.state.kind === 'running') return app;
    if (app.state.kind === 'damaged') throw damaged(name);
    throw new SpawnletError('ERR_NOT_RUNNING', `${app.name} is not running (${app.state.kind})`, {
      hint:
        app.state.kind === 'restarting'
          ? `spawnlet logs ${app.name} has what it said before it ended`
          : `spawnlet start ${app.name}`,
    });
  }

  async #down(name: string, signal: AbortSignal): Promise<UnitProperties> {
    return (await this.#deps.systemd()).waitUntil(
      unitOf(name),
      properties => ['inactive', 'failed'].includes(properties.ActiveState) && properties.Job === 0,
      signal,
    );
  }

  /** Waits until the container is not running and gives its exit code. */
  async wait(name: string, signal: AbortSignal): Promise<number> {
    await this.get(name, signal);
    const unit = await this.#down(name, signal);
    const app = await this.find(name, signal);
    return app?.state.kind === 'exited' ? app.state.exitCode : unit.ExecMainStatus;
  }

  async removeDryRun(name: string, signal: AbortSignal): Promise<string> {
    const app = await this.get(name, signal);
    return this.#deps.applier.dryRun(this.#removal(app, await this.#bridgeRemoval(app)));
  }

  /** @param bridge what takes the bridge away, if that is to go too */
  #removal(
    { name, request, unit, network, health, state }: App,
    bridge: readonly (HostStep | SystemdStep)[],
  ): Plan<AppStep> {
    return planRemove({
      name,
      removeAfterwards: request.removeAfterwards,
      enabled: unit.UnitFileState === 'enabled',
      // An image that was fetched anew may have lost its check.
      timed: health !== undefined || request.pull === 'always' || state.kind === 'damaged',
      network: network || state.kind === 'damaged' ? { kind: 'bridged', bridge } : 'other',
    });
  }

  async #bridgeRemoval({ name, network }: App): Promise<readonly (HostStep | SystemdStep)[]> {
    if (!network) return [];
    const { bridgeRemoval } = await import('./network.ts');
    return bridgeRemoval(this.#deps.host, name);
  }

  /** Removes a container; a running one only with `force`, which kills it. */
  async remove(name: string, force: boolean, signal: AbortSignal): Promise<void> {
    await using _lock = await this.#deps.host.locks.take(`app-${name}`);
    const app = await this.get(name, signal);
    const ended = app.state.kind === 'exited' || app.state.kind === 'created';
    const isDown = ['inactive', 'failed'].includes(app.unit.ActiveState);
    if (!ended && !force && !(app.state.kind === 'damaged' && isDown)) {
      throw new SpawnletError('ERR_RUNNING', `${name} is ${app.state.kind}`, {
        hint: `spawnlet stop ${name} first, or spawnlet rm -f ${name}`,
      });
    }
    if (!app.network) return this.#deps.applier.apply(this.#removal(app, []), signal);
    const { lockNetwork } = await import('./network.ts');
    await using _network = await lockNetwork(this.#deps.host.locks, signal);
    await this.#deps.applier.apply(this.#removal(app, await this.#bridgeRemoval(app)), signal);
  }

  /** Runs a command in a running container; gives its exit code. The signals that are taken go to the command. */
  async exec(
    name: string,
    change: ExecChange,
    stdio: 'inherit' | 'ignore-input',
    takeSignals: (handler: (signal: NodeJS.Signals) => void) => void,
    signal: AbortSignal,
  ): Promise<number> {
    const app = await this.running(name, signal);
    this.refuseNspawn(app, 'exec');
    // The size is that of the terminal that the container was made on.
    const { consoleSize: _size, ...process } = app.bundle.process;
    const other = change.user === undefined ? undefined : await this.#userIn(app, change.user);
    const spec: ProcessSpec = {
      ...process,
      ...(other && { user: other.user }),
      args: change.args,
      env: mergeEnv(process.env, other?.env ?? [], change.terminal ? ['TERM=xterm'] : [], change.env),
      cwd: change.cwd ?? process.cwd,
      terminal: change.terminal,
    };
    const end = await execIn(
      this.#deps.host,
      name,
      spec,
      [stdio === 'inherit' ? 'inherit' : 'ignore', 'inherit', 'inherit'],
      (_child, send) => takeSignals(send),
    );
    if (end.kind === 'exited') return end.exitCode;
    // Why not, crun has told on standard error, which is the command's too.
    throw new SpawnletError('ERR_EXEC', `${name} did not run ${change.args[0]}`, {
      exitCode: startFailure(end.text).exitCode,
      hint: 'name a program that is in the container',
    });
  }

  /**
   * A user of the container as it is now, with the home directory as variable where neither the image nor `run` has set it.
   */
  async #userIn(app: App, user: string): Promise<{ user: ProcessSpec['user']; env: readonly string[] }> {
    const [{ readInside }, pid = ''] = await Promise.all([
      import('./inside.ts'),
      this.#deps.host.files.read(`${runDirectoryOf(app.name)}/pid`),
    ]);
    const found = lookupUser(path => readInside(`/proc/${pid.trim()}/root`, path), user);
    const store = await this.#deps.store();
    const image = await store.find(app.imageDigest);
    const set = [...(image?.config.env ?? []), ...app.request.env].some(entry => entry.startsWith('HOME='));
    return { user: processUser(found), env: set ? [] : [`HOME=${found.home}`] };
  }

  /**
   * Fetches a container's image anew and renews its bundle: what a unit with `--pull always` does before it starts. Its
   * files of the old image go; volumes stay. The unit's text is not changed, so that systemd has nothing to reload.
   *
   * @throws ERR_RUNNING if the unit is not about to start, or is another container's by the time that the image is here
   */
  async refresh(name: string, signal: AbortSignal): Promise<'unchanged' | 'renewed'> {
    const app = await this.get(name, signal);
    const plan = await this.prepare(app.request, { gate: false, attached: false, enable: false }, signal);
    if (plan.image.digest === app.imageDigest) return 'unchanged';
    await using _lock = await this.#deps.host.locks.wait(`app-${name}`, signal);
    const now = await this.get(name, signal);
    const isSame = now.created === app.created && now.imageDigest === app.imageDigest;
    if (!isSame || now.unit.SubState !== 'start-pre') {
      const what = isSame ? `is ${now.state.kind}` : 'has been made anew meanwhile';
      throw new SpawnletError('ERR_RUNNING', `${name} ${what}, so its image is not renewed`, {
        hint: `systemctl restart ${unitOf(name)}`,
      });
    }
    const at = directoryOf(name);
    const store = await this.#deps.store();
    await using _lease = await store.hold(plan.image.digest, plan.image.layerKeys, signal);
    await this.#deps.applier.apply(
      {
        title: `refresh ${name}`,
        ifInterrupted: 'finish',
        steps: [
          { do: 'remove', path: `${at}/prepared` },
          { do: 'remove', path: `${at}/upper` },
          { do: 'remove', path: `${at}/work` },
          { do: 'make-directory', path: `${at}/upper`, mode: plan.image.rootMode },
          { do: 'make-directory', path: `${at}/work`, mode: 0o700 },
          { do: 'make-directory', path: `${at}/volumes`, mode: 0o700 },
          ...bundleFiles({ ...plan, now: Date.parse(app.created) }),
        ],
      },
      signal,
    );
    return 'renewed';
  }

  /** The notes of a bundle; of one that cannot be read, what its unit says of the image. */
  async #notesOf(name: string): Promise<Bundle['annotations']> {
    const { files } = this.#deps.host;
    const text = await files.read(`${directoryOf(name)}/config.json`);
    if (text === undefined) return {};
    const bundle = parseBundle(text);
    if (bundle) return bundle.annotations;
    const units = await Promise.all([false, true].map(kind => files.read(unitPathOf(name, kind))));
    const [, digest = ''] = /^ImageDigest=(\S+)$/m.exec(units.join('\n')) ?? [];
    return { [annotation.digest]: digest };
  }

  /** What containers run from, which `image rm` and `prune` must leave. */
  async inUse(signal: AbortSignal): Promise<InUse> {
    const { files } = this.#deps.host;
    const notes = await Promise.all((await files.list(appsDirectory)).map(name => this.#notesOf(name)));
    signal.throwIfAborted();
    return {
      manifests: new Set(notes.map(note => note[annotation.digest] ?? '')),
      layers: new Set(notes.flatMap(note => (note[annotation.layers] ?? '').split(','))),
    };
  }
}

const healthFileOf = (name: string) => `${directoryOf(name)}/health`;

/** The answer to one question; what does not end in time is killed. */
async function askHealth(
  host: Host,
  name: string,
  process: ProcessSpec,
  { timeout }: Healthcheck,
  signal: AbortSignal,
): Promise<Pick<HealthResult, 'exitCode' | 'output'>> {
  const late = AbortSignal.timeout(Math.max(1, timeout));
  try {
    const either = AbortSignal.any([signal, late]);
    const { exitCode, output } = await capture(
      (stdio, begun) => execIn(host, name, process, stdio, begun, either),
      either,
    );
    return { exitCode, output: output.subarray(0, keptOutput).toString() };
  } catch (error) {
    signal.throwIfAborted();
    if (late.aborted) return { exitCode: -1, output: `it did not end within ${timeout} ms` };
    if (error instanceof SpawnletError && error.code === 'ERR_EXEC')
      return { exitCode: -1, output: error.message };
    throw error;
  }
}

/** What a dry run says of a plan that has nothing to do. */
const nothing = 'nothing to do\n';

const taken = (name: string) =>
  new SpawnletError('ERR_NAME_TAKEN', `there is a container ${name} already`, {
    hint: `choose another --name, or: spawnlet rm -f ${name}`,
  });

const foreign = (name: string, why: string) =>
  new SpawnletError('ERR_NAME_TAKEN', `${unitOf(name)} is a unit that is not spawnlet's (${why})`, {
    hint: 'choose another --name',
  });

const refusedBy = (engine: string, what: string, hint: string) =>
  new SpawnletError('ERR_ENGINE', `the engine ${engine} has no ${what}`, { hint });

/** Signals PID 1 of a container of systemd-nspawn: the grandchild of the unit's main process with a PID namespace of its own. */
async function killLeader({ files }: Host, name: string, main: number, number: number): Promise<void> {
  const namespaceOf = async (pid: number) => {
    const entry = await files.look(`/proc/${pid}/ns/pid`);
    return entry?.kind === 'link' ? entry.target : undefined;
  };
  const own = await namespaceOf(main);
  const childrenOf = async (pid: number) =>
    ((await files.read(`/proc/${pid}/task/${pid}/children`)) ?? '').split(' ').filter(Boolean).map(Number);
  const children = await childrenOf(main);
  for (const pid of (await Promise.all(children.map(childrenOf))).flat()) {
    const namespace = await namespaceOf(pid);
    if (namespace === undefined || namespace === own) continue;
    process.kill(pid, number);
    return;
  }
  throw new SpawnletError('ERR_KILL', `${name} has no process to signal`, {
    hint: 'it may be starting or ending',
  });
}

/** What `exec` changes of the container's own process. */
export interface ExecChange {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string | undefined;
  readonly terminal: boolean;
  /** `USER[:GROUP]`, looked up in the container; undefined for the container's own. */
  readonly user: string | undefined;
}
