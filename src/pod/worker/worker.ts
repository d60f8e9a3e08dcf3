import { captureIn, type ProcessSpec } from '../../engine/exec.ts';
import { keepFilter } from '../../engine/filter-cache.ts';
import { SpawnletError } from '../../host/error.ts';
import { until } from '../../host/presence.ts';
import { readResult } from '../../network/cni/record.ts';
import type { UnitProperties } from '../../systemd/properties.ts';
import type { Container, Pod } from '../api/kubernetes.ts';
import type { ProbeTools } from '../probes/ask.ts';
import { handlerOf } from '../probes/handler.ts';
import { runHook } from '../probes/hook.ts';
import { type ProbeNews, probeRun, probesOf } from '../probes/run.ts';
import { afterFailedPull } from '../restart/backoff.ts';
import type { Decision, Start, Stop } from '../restart/decision.ts';
import { nextContainers } from '../restart/next.ts';
import { commandOf, environmentOf } from '../spec/environment.ts';
import type { PodFacts } from '../spec/variables/downward.ts';
import type { ContainerObserved, Observed } from '../status/observed.ts';
import { type Member, members } from '../status/roles.ts';
import { podStatus } from '../status/status.ts';
import { limitProperties, type Resources } from '../unit/limits.ts';
import {
  containerDirectory,
  directoryOf,
  engineName,
  type PodIdentity,
  type QosClass,
  sliceOf,
  targetOf,
  unitOf,
} from '../unit/names.ts';
import { type MountFacts, mountsOf, planSubPaths } from '../volumes/mounts.ts';
import { volumeDirectory } from '../volumes/places.ts';
import { filesOf, planVolumes } from '../volumes/plan.ts';
import { mountUnitsThere, planVolumeRemoval } from '../volumes/removal.ts';
import { textInVolume } from '../volumes/tree/read.ts';
import type { WorkerDependencies } from './dependencies.ts';
import { containerIdOf, type EndedRun, readTraces, terminatedOf } from './end.ts';
import { startFailureOf } from './failure.ts';
import { hostnameOf, hostsText, nameSteps, resolvText } from './files.ts';
import { type Kept, readKept, withContainer, writeKept, writePod } from './kept.ts';
import { lastWords } from './last-words.ts';
import { containerResources, prepareRun } from './run.ts';
import { networkRecord, podResources, sandboxRemoval, sandboxSteps } from './sandbox.ts';
import {
  ended,
  hookDone,
  notStarted,
  probed,
  running,
  starting,
  stopping,
  triedAgain,
} from './transition.ts';
import { isRecursive, volumeFacts } from './volumes.ts';

const second = 1000;

/** A pod and everything that is done for it, by one loop: look, decide, record, act. */
export class PodWorker {
  readonly identity: PodIdentity;
  readonly #deps: WorkerDependencies;
  #pod: Pod;
  readonly #qos: QosClass;
  #kept: Kept;
  #wake = Promise.withResolvers<void>();
  #removed = false;
  readonly #tasks = new Set<Promise<void>>();
  /** Runs whose end is waited for: aborted when it has come. */
  readonly #watched = new Map<string, AbortController>();
  /** Runs that are begun, until they are recorded as running. */
  readonly #begun = new Map<string, EndedRun>();

  private constructor(deps: WorkerDependencies, pod: Pod, identity: PodIdentity, qos: QosClass, kept: Kept) {
    this.#deps = deps;
    this.#pod = pod;
    this.identity = identity;
    this.#qos = qos;
    this.#kept = kept;
  }

  /** Takes a pod up: a new one, or one of which another worker has left what it had decided. */
  static async open(
    deps: WorkerDependencies,
    pod: Pod,
    identity: PodIdentity,
    qos: QosClass,
    signal: AbortSignal,
  ): Promise<PodWorker> {
    const { files, clock, locks } = deps.host;
    const boot = locks.self.boot;
    const former = await readKept(files, identity.uid);
    const fresh: Observed = {
      attempt: 0,
      sandbox: { kind: 'none' },
      containers: {},
      hostIPs: deps.node.addresses,
      startTime: clock.now(),
      qosClass: qos,
    };
    const kept: Kept = former ?? { version: 1, boot, observed: fresh };
    const worker = new PodWorker(deps, pod, identity, qos, kept);
    if (former) await worker.#goOn(former, signal);
    else {
      await writePod(files, identity.uid, pod);
      await worker.#keep(kept);
    }
    return worker;
  }

  /** The pod with its status as it was told last. */
  get pod(): Pod {
    return this.#kept.status ? { ...this.#pod, status: this.#kept.status } : this.#pod;
  }

  get observed(): Observed {
    return this.#kept.observed;
  }

  /** The pod is to go: its containers have that many seconds to end. A second call can only make them fewer. */
  async delete(graceSeconds: number): Promise<void> {
    const { deletion } = this.observed;
    const at = this.#deps.host.clock.now();
    if (deletion && deletion.at + deletion.graceSeconds * second <= at + graceSeconds * second) return;
    await this.#observe(observed => ({ ...observed, deletion: { at, graceSeconds } }));
  }

  /** The manifest gives other resources: what runs is given them at once, without a restart. */
  async resize(pod: Pod, signal: AbortSignal): Promise<void> {
    if (JSON.stringify(pod) === JSON.stringify(this.#pod)) return;
    const before = this.#pod;
    this.#pod = pod;
    await writePod(this.#deps.host.files, this.identity.uid, pod);
    const systemd = await this.#deps.systemd();
    const set = async (unit: string, old: Resources, now: Resources) => {
      if (JSON.stringify(old) !== JSON.stringify(now) && (await systemd.isLoaded(unit, signal)))
        await systemd.setUnitProperties(unit, 'runtime', limitProperties(now), signal);
    };
    const { node } = this.#deps;
    try {
      await set(sliceOf(this.identity, this.#qos), podResources(before, node), podResources(pod, node));
      for (const { spec } of members(pod)) {
        const old = members(before).find(each => each.spec.name === spec.name);
        if (old)
          await set(unitOf(this.identity, spec.name), containerResources(old.spec), containerResources(spec));
      }
      this.#event('Normal', 'ResizeCompleted', 'Pod resize completed');
    } catch (error) {
      signal.throwIfAborted();
      this.#event('Warning', 'ResizeError', messageText(error));
    }
    this.#wake.resolve();
  }

  /** Objects have changed: what waits for one is tried again, and files of volumes are written anew where they differ. What is gone stays as it is. */
  async refresh(signal: AbortSignal): Promise<void> {
    if (this.observed.deletion) return;
    await this.#observe(triedAgain);
    if (this.observed.sandbox.kind !== 'ready') return;
    try {
      const facts = await volumeFacts(this.#deps, this.#pod, this.identity, this.#facts(), signal);
      await this.#deps.perform(filesOf(this.#pod, facts), signal);
    } catch (error) {
      signal.throwIfAborted();
      this.#event('Warning', 'FailedMount', messageText(error));
    }
  }

  /** Works until the pod is deleted and nothing of it is left, or until `signal`, which changes nothing of the pod. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps.host;
    try {
      while (!this.#removed) {
        signal.throwIfAborted();
        this.#wake = Promise.withResolvers();
        const now = clock.now();
        const { decisions, lookAt } = nextContainers(this.pod, this.observed, now, this.#deps.limits);
        for (const decision of decisions) await this.#carryOut(decision, signal);
        if (this.#removed) return;
        await this.#tell();
        const over = new AbortController();
        const until = AbortSignal.any([signal, over.signal]);
        const waits: Promise<unknown>[] = [this.#wake.promise, aborted(until)];
        if (lookAt !== undefined) waits.push(clock.sleep(Math.max(0, lookAt - now), until));
        try {
          await Promise.race(waits.map(wait => wait.catch(() => undefined)));
        } finally {
          over.abort();
        }
      }
    } finally {
      for (const watch of this.#watched.values()) watch.abort();
      await Promise.allSettled(this.#tasks);
    }
  }

  /** Records something, then looks again. */
  async #observe(change: (observed: Observed) => Observed): Promise<void> {
    await this.#keep({ ...this.#kept, observed: change(this.#kept.observed) });
    this.#wake.resolve();
  }

  async #keep(kept: Kept): Promise<void> {
    this.#kept = kept;
    await writeKept(this.#deps.host.files, this.identity.uid, kept);
  }

  #container(name: string, change: (container: ContainerObserved) => ContainerObserved): Promise<void> {
    return this.#observe(observed => withContainer(observed, name, change));
  }

  /** Computes the status; told and kept if it is another. */
  async #tell(): Promise<void> {
    const status = podStatus(this.pod, this.observed, this.#deps.host.clock.now(), this.#deps.limits);
    if (JSON.stringify(status) === JSON.stringify(this.#kept.status)) return;
    await this.#keep({ ...this.#kept, status });
    this.#deps.changed(this.pod);
  }

  /** Something that takes its time, beside the loop. */
  #task(work: () => Promise<void>, signal: AbortSignal): void {
    const task = work()
      .catch(error => {
        if (!signal.aborted) this.#event('Warning', 'FailedSync', messageText(error));
      })
      .finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  #event(type: 'Normal' | 'Warning', reason: string, message: string, container?: string): void {
    this.#deps.event(this.#pod, {
      type,
      reason,
      message,
      ...(container !== undefined && { field: `spec.containers{${container}}` }),
    });
  }

  async #carryOut(decision: Decision, signal: AbortSignal): Promise<void> {
    switch (decision.kind) {
      case 'createSandbox':
        await this.#observe(observed => ({
          ...observed,
          attempt: decision.attempt,
          sandbox: { kind: 'making' },
        }));
        return this.#task(() => this.#makeSandbox(signal), signal);
      case 'restartAll':
        return this.#observe(observed => ({
          ...observed,
          attempt: decision.attempt,
          restartedAll: decision.attempt,
        }));
      case 'start':
        await this.#container(decision.container, starting(decision));
        return this.#task(() => this.#start(decision, signal), signal);
      case 'preStop':
      case 'stop':
        await this.#container(decision.container, stopping(decision));
        return this.#task(() => this.#stop(decision, signal), signal);
      case 'fail': {
        const { reason, message } = decision;
        this.#event('Warning', reason, message);
        const at = this.#deps.host.clock.now();
        return this.#observe(observed => ({ ...observed, failure: { reason, message, at } }));
      }
      case 'finish':
        return this.#finish(signal);
    }
  }

  async #makeSandbox(signal: AbortSignal): Promise<void> {
    const { node, host } = this.#deps;
    try {
      await this.#deps.perform(sandboxSteps(this.#pod, this.identity, this.#qos, node), signal);
      const volumes = await volumeFacts(this.#deps, this.#pod, this.identity, this.#facts(), signal);
      await this.#deps.perform(planVolumes(this.#pod, volumes), signal);
      const result = await readResult(host.files, networkRecord(this.identity.uid));
      const ips = (result?.addresses ?? []).map(({ address }) => address.replace(/\/.*$/, ''));
      await this.#writeNames(this.#pod.spec?.hostNetwork ? node.addresses : ips, signal);
      await this.#observe(observed => ({ ...observed, sandbox: { kind: 'ready', ips } }));
    } catch (error) {
      signal.throwIfAborted();
      const message = messageText(error);
      const isVolume = error instanceof SpawnletError && /^ERR_(?:VOLUME|HOST_PATH|CLAIM)/.test(error.code);
      this.#event('Warning', isVolume ? 'FailedMount' : 'FailedCreatePodSandBox', message);
      const at = host.clock.now();
      await this.#observe(observed => ({ ...observed, sandbox: { kind: 'failed', message, at } }));
    }
  }

  async #writeNames(ips: readonly string[], signal: AbortSignal): Promise<void> {
    const { node, host } = this.#deps;
    const [hosts = '', resolv = ''] = await Promise.all(
      ['/etc/hosts', '/run/systemd/resolve/resolv.conf', '/etc/resolv.conf'].map(path =>
        host.files.read(path),
      ),
    ).then(([etc, real, own]) => [etc, real ?? own]);
    const texts = {
      hosts: hostsText(this.#pod, this.identity, node, ips, hosts),
      resolv: resolvText(this.#pod, this.identity, node, resolv),
      hostname: hostnameOf(this.#pod, this.identity, node),
    };
    await this.#deps.perform(nameSteps(this.identity, texts), signal);
  }

  #member(name: string): Member {
    const member = members(this.#pod).find(({ spec }) => spec.name === name);
    if (!member) throw new Error(`pod ${this.identity.name} has no container ${name}`);
    return member;
  }

  /** What containers may be told of where they run. */
  #facts(): PodFacts {
    const { node } = this.#deps;
    const { sandbox } = this.observed;
    return {
      nodeName: node.name,
      hostIPs: node.addresses,
      podIPs: this.#pod.spec?.hostNetwork ? node.addresses : sandbox.kind === 'ready' ? sandbox.ips : [],
      allocatable: { cpu: `${node.cpu}m`, memory: String(node.memory) },
    };
  }

  /** @throws ERR_CONTAINER_CONFIG for what is not there and has to be */
  #variables(container: Container) {
    const { objects } = this.#deps;
    const { namespace } = this.identity;
    const environment = environmentOf(
      this.#pod,
      container,
      {
        configMap: name => objects.configMap(namespace, name),
        secret: name => objects.secret(namespace, name),
        file: (volume, path) => textInVolume(volumeDirectory(this.identity.uid, 'empty-dir', volume), path),
        services: new Map(),
      },
      this.#facts(),
    );
    if (environment.kind === 'waiting') throw new SpawnletError('ERR_CONTAINER_CONFIG', environment.message);
    const { command, args } = commandOf(container, environment.variables);
    return {
      variables: environment.variables,
      env: [...environment.variables].map(([name, value]) => `${name}=${value}`),
      ...(command && { command }),
      ...(args && { args }),
    };
  }

  async #start(start: Start, signal: AbortSignal): Promise<void> {
    const { host, limits } = this.#deps;
    const { spec: container } = this.#member(start.container);
    const name = container.name;
    const known = () => this.observed.containers[name];
    try {
      const { variables, ...words } = this.#variables(container);
      const facts: MountFacts = {
        ...(await volumeFacts(this.#deps, this.#pod, this.identity, this.#facts(), signal)),
        variables,
        recursiveReadOnly: isRecursive(),
      };
      const volumes = mountsOf(this.#pod, container, facts);
      await this.#deps.perform(planSubPaths(this.#pod, container, facts), signal);
      const prepared = await prepareRun(
        this.#deps,
        {
          pod: this.#pod,
          identity: this.identity,
          qos: this.#qos,
          container,
          ...words,
          volumes,
          grace: this.#pod.spec?.terminationGracePeriodSeconds ?? 30,
        },
        signal,
      );
      const store = await this.#deps.store();
      await using _lease = await store.hold(prepared.manifest, prepared.layerKeys, signal);
      await this.#deps.perform(prepared.steps, signal);
      await this.#container(name, each => ({
        ...each,
        image: prepared.image,
        imageID: prepared.imageID,
      }));
      this.#event('Normal', 'Created', `Container created`, name);
      const systemd = await this.#deps.systemd();
      const unit = unitOf(this.identity, name);
      const run = this.#watch(name, signal);
      const changes = systemd.watchUnit(unit, run);
      await systemd.startUnit(unit, 'replace', signal);
      const begun = await systemd.unitProperties(unit, signal);
      const begunRun = {
        attempt: start.attempt,
        restartCount: start.restartCount,
        containerID: containerIdOf(begun.InvocationID),
        startedAt: Math.floor(begun.ExecMainStartTimestamp / 1000),
      };
      this.#begun.set(name, begunRun);
      this.#task(() => this.#follow(name, changes, begun, signal), signal);
      const hookFailed = await this.#postStart(container, run);
      if (this.observed.containers[name]?.state.kind !== 'starting') return;
      await this.#container(name, running({ ...begunRun, ...(hookFailed !== undefined && { hookFailed }) }));
      this.#event('Normal', 'Started', `Container started`, name);
      if (hookFailed === undefined) this.#task(() => this.#probe(container, 0, run), signal);
      await keepFilter(host.files, engineName(this.identity, name), prepared.spec.seccomp);
    } catch (error) {
      signal.throwIfAborted();
      const failure = startFailureOf(error, host.clock.now());
      this.#event('Warning', 'Failed', failure.message, name);
      const before = known();
      const backOff =
        failure.reason === 'ErrImagePull' && before
          ? afterFailedPull(container, before, host.clock.now(), limits)
          : undefined;
      await this.#container(name, notStarted(failure, backOff));
    }
  }

  /** A signal that lasts as long as the run that begins. */
  #watch(name: string, signal: AbortSignal): AbortSignal {
    const watch = new AbortController();
    this.#watched.set(name, watch);
    return AbortSignal.any([signal, watch.signal]);
  }

  /** What probes and hooks of a container are carried out with. */
  #tools(name: string): ProbeTools {
    const { host } = this.#deps;
    const exec: ProbeTools['exec'] = async (args, signal) => {
      const text = await host.files.read(`${containerDirectory(this.identity.uid, name)}/config.json`);
      const { process } = JSON.parse(text ?? '{}') as { readonly process: ProcessSpec };
      const { consoleSize: _size, ...own } = process;
      return captureIn(host, engineName(this.identity, name), { ...own, args, terminal: false }, signal);
    };
    return { clock: host.clock, exec };
  }

  get #podIP(): string {
    const { podIPs, hostIPs } = this.#facts();
    return podIPs[0] ?? hostIPs[0] ?? '127.0.0.1';
  }

  /** Waits until the program runs, then for its hook. What that said if it failed; nothing else keeps it. */
  async #postStart(container: Member['spec'], run: AbortSignal): Promise<string | undefined> {
    const action = container.lifecycle?.postStart;
    try {
      await until('there', `${containerDirectory(this.identity.uid, container.name)}/started`, run);
      if (!action) return undefined;
      const handler = handlerOf(action, container, this.#podIP);
      const end = await runHook(handler, this.#tools(container.name), undefined, run);
      if (end.kind === 'done') return undefined;
      this.#event('Warning', 'FailedPostStartHook', end.message, container.name);
      return end.message;
    } catch (error) {
      // The run is over: its end is told by its unit.
      if (run.aborted) return undefined;
      throw error;
    }
  }

  /** Asks the probes of a run until it is over. */
  async #probe(container: Member['spec'], spread: number, run: AbortSignal): Promise<void> {
    const state = this.observed.containers[container.name]?.state;
    const probes = probesOf(container);
    if (state?.kind !== 'running' || Object.keys(probes).length === 0) return;
    const { containerID, startedAt, probes: verdicts } = state;
    const { name, ports } = container;
    const tell = (news: ProbeNews) => {
      if (news.kind === 'event') this.#event('Warning', news.reason, news.message, name);
      else void this.#container(name, probed(containerID, news.probe, news.verdict));
    };
    await probeRun(
      { probes, podIP: this.#podIP, startedAt, verdicts, spread, ...(ports && { ports }) },
      this.#tools(name),
      tell,
      run,
    );
  }

  /** Waits for the end of a run and records it. */
  async #follow(
    name: string,
    changes: AsyncIterable<
      { readonly kind: 'changed'; readonly changed: Partial<UnitProperties> } | { readonly kind: 'unloaded' }
    >,
    begun: UnitProperties,
    signal: AbortSignal,
  ): Promise<void> {
    let state = begun;
    if (!isDown(state)) {
      for await (const change of changes) {
        if (change.kind === 'changed') state = { ...state, ...change.changed };
        else state = await (await this.#deps.systemd()).unitProperties(unitOf(this.identity, name), signal);
        if (isDown(state)) break;
      }
    }
    await this.#hasEnded(name, state, signal);
  }

  async #hasEnded(name: string, unit: UnitProperties | undefined, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { files, clock } = this.#deps.host;
    const state = this.observed.containers[name]?.state;
    if (state?.kind !== 'running' && state?.kind !== 'starting') return;
    const { attempt, restartCount } = state;
    const run =
      state.kind === 'running'
        ? state
        : (this.#begun.get(name) ?? {
            attempt,
            restartCount,
            containerID: containerIdOf(unit?.InvocationID ?? ''),
          });
    const traces = await readTraces(files, this.identity.uid, name);
    this.#watched.get(name)?.abort();
    this.#watched.delete(name);
    this.#begun.delete(name);
    const end = terminatedOf(run, traces, unit, clock.now());
    const message =
      end.message ?? (await lastWords(this.#deps.host, this.identity, this.#member(name).spec, end, signal));
    await this.#container(name, ended({ ...end, ...(message && { message }) }));
  }

  async #stop(stop: Stop, signal: AbortSignal): Promise<void> {
    const { container: name, deadline } = stop;
    if (stop.kind === 'preStop') return this.#preStop(stop, signal);
    this.#event('Normal', 'Killing', stop.message, name);
    const systemd = await this.#deps.systemd();
    const unit = unitOf(this.identity, name);
    const job = await systemd.enqueue('stop', unit, 'replace', signal);
    const late = new AbortController();
    const wait = Math.max(0, deadline - this.#deps.host.clock.now());
    const kill = this.#deps.host.clock
      .sleep(wait, AbortSignal.any([signal, late.signal]))
      .then(() => systemd.killUnit(unit, 'all', 9, signal))
      .catch(() => undefined);
    try {
      await job.done;
    } finally {
      late.abort();
      await kill;
    }
  }

  async #preStop({ container: name, deadline }: Stop, signal: AbortSignal): Promise<void> {
    const { spec: container } = this.#member(name);
    const run = AbortSignal.any([signal, this.#watched.get(name)?.signal ?? signal]);
    const action = container.lifecycle?.preStop ?? {};
    const left = Math.max(0, deadline - this.#deps.host.clock.now());
    try {
      const handler = handlerOf(action, container, this.#podIP);
      const end = await runHook(handler, this.#tools(name), left, run);
      if (end.kind === 'failed') this.#event('Warning', 'FailedPreStopHook', end.message, name);
    } catch (error) {
      if (!run.aborted) throw error;
    }
    signal.throwIfAborted();
    await this.#container(name, hookDone);
  }

  /** Nothing runs any more: what the pod had goes; its directory too, if the pod is to go. */
  async #finish(signal: AbortSignal): Promise<void> {
    const { host, node } = this.#deps;
    if (!this.#kept.finished) {
      const units = await mountUnitsThere(this.identity.uid, host.files);
      await this.#deps.perform(sandboxRemoval(this.#pod, this.identity, this.#qos, node), signal);
      await this.#deps.perform(planVolumeRemoval(this.identity.uid, units), signal);
      await this.#keep({
        ...this.#kept,
        observed: { ...this.observed, sandbox: { kind: 'none' } },
        finished: true,
      });
    }
    if (!this.observed.deletion) return;
    await this.#tell();
    await this.#deps.perform([{ do: 'remove-tree', path: directoryOf(this.identity.uid) }], signal);
    this.#removed = true;
  }

  /** Whether this systemd has the pod's target up: it goes with a boot, also where the kernel stays, as in a lab. */
  async #isUp(signal: AbortSignal): Promise<boolean> {
    const systemd = await this.#deps.systemd();
    return (await systemd.unitProperty(targetOf(this.identity), 'ActiveState', signal)) === 'active';
  }

  /** Compares what another worker had recorded with what is there now. */
  async #goOn(former: Kept, signal: AbortSignal): Promise<void> {
    const { host } = this.#deps;
    const boot = host.locks.self.boot;
    const isSameBoot = former.boot === boot;
    const { sandbox } = former.observed;
    const lostSandbox = !isSameBoot || sandbox.kind === 'making' || !(await this.#isUp(signal));
    await this.#keep({
      ...former,
      boot,
      observed: {
        ...former.observed,
        hostIPs: this.#deps.node.addresses,
        ...(lostSandbox && { sandbox: { kind: 'none' } }),
      },
    });
    for (const [name, { state }] of Object.entries(former.observed.containers)) {
      if (state.kind !== 'running' && state.kind !== 'starting') continue;
      if (isSameBoot) await this.#goOnWith(name, signal);
      else await this.#hasEnded(name, undefined, signal);
    }
  }

  async #goOnWith(name: string, signal: AbortSignal): Promise<void> {
    const systemd = await this.#deps.systemd();
    const unit = unitOf(this.identity, name);
    const run = this.#watch(name, signal);
    const changes = systemd.watchUnit(unit, run);
    const now = await systemd.unitProperties(unit, signal);
    const state = this.observed.containers[name]?.state;
    if (state?.kind === 'starting') {
      const { record, error } = await readTraces(this.#deps.host.files, this.identity.uid, name);
      if (isDown(now) && !record && error === '') {
        // It was decided to start it, and no more.
        const { failure } = state;
        return this.#container(name, each => ({
          ...each,
          state: { kind: 'waiting', ...(failure && { failure }) },
        }));
      }
      await this.#container(
        name,
        running({
          containerID: containerIdOf(now.InvocationID || (record?.invocation ?? '')),
          startedAt: Math.floor(now.ExecMainStartTimestamp / 1000),
          attempt: state.attempt,
          restartCount: state.restartCount,
        }),
      );
    }
    this.#task(() => this.#follow(name, changes, now, signal), signal);
    this.#task(() => this.#probe(this.#member(name).spec, Math.random(), run), signal);
    const { stopping: wanted } = { stopping: undefined, ...this.observed.containers[name]?.state };
    if (wanted) {
      const kind = wanted.stage === 'hook' ? 'preStop' : 'stop';
      if (wanted.stage !== 'turn')
        this.#task(() => this.#stop({ kind, container: name, ...wanted }, signal), signal);
    }
  }
}

const isDown = ({ ActiveState, Job }: UnitProperties): boolean =>
  Job === 0 && (ActiveState === 'inactive' || ActiveState === 'failed');

const messageText = (error: unknown): string =>
  error instanceof SpawnletError || error instanceof Error ? error.message : String(error);

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise(resolve => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
