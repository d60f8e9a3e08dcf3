import { engines } from '../engine/engines.ts';
import { compiledFilter, keepFilter } from '../engine/filter-cache.ts';
import { runDirectoryOf, runsDirectory } from '../engine/script.ts';
import type { Plan } from '../host/apply.ts';
import { programMissing } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import { hasProgram } from '../host/program.ts';
import type { HostStep } from '../host/step.ts';
import type { InUse } from '../image/garbage.ts';
import { appsDirectory, unitPath } from '../names.ts';
import type { SystemdStep } from '../systemd/executors.ts';
import type { UnitProperties } from '../systemd/properties.ts';
import { damaged } from './bundle-file.ts';
import { type ExecChange, execInApp } from './exec.ts';
import { hostFacts, imageFacts } from './facts.ts';
import { type HealthResult, healthOf } from './health.ts';
import { checkHealth } from './health-check.ts';
import { imageFor } from './image.ts';
import type { DecidedNetwork } from './network.ts';
import {
  type App,
  type AppDependencies,
  appsInUse,
  findApp,
  getApp,
  refusedBy,
  refuseNspawn,
  runningApp,
} from './observe.ts';
import { type AppStep, bundleFiles, planRemove, planRun, type RunPlan, unitOf } from './plan.ts';
import type { RunRequest } from './request.ts';
import { Session } from './session.ts';
import { toBeRead } from './shown.ts';
import { containerOf, directoryOf } from './spec.ts';
import { killApp, stopApp } from './stop.ts';

const placeOf = (name: string) => ({ name, unit: unitOf(name), directory: directoryOf(name) });

/** A container of `--rm` that has ended, and that its unit is about to remove. */
const isGoing = (app: App) => app.request.removeAfterwards && app.state.kind === 'stopping';

/** Milliseconds to take back a run that its user has broken off. */
const removalDeadline = 60_000;

/** A container of `--rm` whose conmon was killed before it could remove it, or that is just being made. */
const isLeftOver = (app: App) =>
  app.request.removeAfterwards && (app.state.kind === 'exited' || app.state.kind === 'created');

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

  find(name: string, signal: AbortSignal): Promise<App | undefined> {
    return findApp(this.#deps, name, signal);
  }

  /** {@link find}, or `ERR_NO_CONTAINER`. */
  get(name: string, signal: AbortSignal): Promise<App> {
    return getApp(this.#deps, name, signal);
  }

  /** A container that runs and has streams to attach to. @throws ERR_NOT_RUNNING, ERR_ENGINE */
  async attachable(name: string, signal: AbortSignal): Promise<App> {
    const app = await runningApp(this.#deps, name, signal);
    refuseNspawn(app, 'attach');
    return app;
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
    await stopApp(this.#deps, name, seconds, signal);
    await this.#forget(name, signal);
  }

  /** Sends a signal to the container's PID 1. */
  kill(name: string, number: number, signal: AbortSignal): Promise<void> {
    return killApp(this.#deps, name, number, signal);
  }

  /** Runs a command in a running container; gives its exit code. The signals that are taken go to the command. */
  exec(
    name: string,
    change: ExecChange,
    stdio: 'inherit' | 'ignore-input',
    takeSignals: (handler: (signal: NodeJS.Signals) => void) => void,
    signal: AbortSignal,
  ): Promise<number> {
    return execInApp(this.#deps, name, change, stdio, takeSignals, signal);
  }

  /** Asks a running container whether it is well. @throws ERR_NOT_RUNNING, ERR_NO_HEALTHCHECK */
  checkHealth(name: string, signal: AbortSignal): Promise<HealthResult> {
    return checkHealth(this.#deps, name, signal);
  }

  /** What containers run from, which `image rm` and `prune` must leave. */
  inUse(signal: AbortSignal): Promise<InUse> {
    return appsInUse(this.#deps, signal);
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
