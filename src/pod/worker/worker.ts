import type { Pod } from '../api/kubernetes.ts';
import type { Decision } from '../restart/decision.ts';
import { nextContainers } from '../restart/next.ts';
import type { Observed } from '../status/observed.ts';
import type { PodIdentity, QosClass } from '../unit/names.ts';
import { filesOf } from '../volumes/plan.ts';
import { finish } from './act/finish.ts';
import { goOn } from './act/go-on.ts';
import { resize } from './act/resize.ts';
import { Runs } from './act/runs.ts';
import { makeSandbox } from './act/sandbox.ts';
import { startContainer } from './act/start.ts';
import { stopContainer } from './act/stop.ts';
import { hasStorageLimits, watchStorage } from './act/storage.ts';
import { factsOf, messageText, type Work } from './act/work.ts';
import { rejectionOf } from './admission.ts';
import type { WorkerDependencies } from './dependencies.ts';
import { type Kept, readKept, writePod } from './kept.ts';
import { PodRecord } from './record.ts';
import { Tasks } from './tasks.ts';
import { starting, stopping, triedAgain } from './transition.ts';
import { volumeFacts } from './volumes.ts';

const second = 1000;

/** A pod and everything that is done for it, by one loop: look, decide, record, act. */
export class PodWorker {
  readonly #work: Work;
  #removed = false;

  private constructor(work: Work) {
    this.#work = work;
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
    const former = await readKept(files, identity.uid);
    const rejection = former ? undefined : await rejectionOf(files, pod);
    const fresh: Observed = {
      ...(rejection && { failure: { ...rejection, at: clock.now() } }),
      attempt: 0,
      sandbox: { kind: 'none' },
      containers: {},
      hostIPs: deps.node.addresses,
      startTime: clock.now(),
      qosClass: qos,
    };
    const kept: Kept = former ?? { version: 1, boot: locks.self.boot, observed: fresh };
    const record = new PodRecord(deps, identity, pod, kept);
    const tasks = new Tasks(error => record.event('Warning', 'FailedSync', messageText(error)));
    const work: Work = { deps, identity, qos, record, tasks, runs: new Runs() };
    if (former) {
      await goOn(work, former, signal);
      // Another worker may have been killed in the midst of it.
      await resize(work, signal);
    } else {
      await writePod(files, identity.uid, pod);
      await record.keep({});
      if (rejection) record.event('Warning', rejection.reason, rejection.message);
    }
    return new PodWorker(work);
  }

  get identity(): PodIdentity {
    return this.#work.identity;
  }

  /** The pod with its status as it was told last. */
  get pod(): Pod {
    return this.#work.record.told;
  }

  get observed(): Observed {
    return this.#work.record.observed;
  }

  /** The pod is to go: its containers have that many seconds to end. A second call can only make them fewer. */
  async delete(graceSeconds: number): Promise<void> {
    const { deps, record } = this.#work;
    const { deletion } = record.observed;
    const at = deps.host.clock.now();
    if (deletion && deletion.at + deletion.graceSeconds * second <= at + graceSeconds * second) return;
    await record.observe(observed => ({ ...observed, deletion: { at, graceSeconds } }));
  }

  /** The manifest gives other resources: what runs is given them at once, without a restart unless it asks for one. */
  async resize(pod: Pod, signal: AbortSignal): Promise<void> {
    const { record } = this.#work;
    if (JSON.stringify(pod) === JSON.stringify(record.pod)) return;
    await record.replace(pod);
    await resize(this.#work, signal);
    record.wake();
  }

  /** Objects have changed: what waits for one is tried again, and files of volumes are written anew where they differ. What is gone stays as it is. */
  async refresh(signal: AbortSignal): Promise<void> {
    const { deps, identity, record } = this.#work;
    if (record.observed.deletion) return;
    await record.observe(triedAgain);
    if (record.observed.sandbox.kind !== 'ready') return;
    try {
      const facts = await volumeFacts(
        deps,
        record.pod,
        identity,
        factsOf(this.#work),
        record.teller(),
        signal,
      );
      await deps.perform(filesOf(record.pod, facts), signal);
    } catch (error) {
      signal.throwIfAborted();
      record.event('Warning', 'FailedMount', messageText(error));
    }
  }

  /** Works until the pod is deleted and nothing of it is left, or until `signal`, which changes nothing of the pod. */
  async run(signal: AbortSignal): Promise<void> {
    const { deps, record, runs, tasks } = this.#work;
    const { clock } = deps.host;
    const gone = new AbortController();
    const whileThere = AbortSignal.any([signal, gone.signal]);
    if (hasStorageLimits(record.pod)) tasks.run(() => watchStorage(this.#work, whileThere), whileThere);
    try {
      while (!this.#removed) {
        signal.throwIfAborted();
        const woken = record.nextWake();
        const now = clock.now();
        const { decisions, lookAt } = nextContainers(record.told, record.observed, now, deps.limits);
        for (const decision of decisions) await this.#carryOut(decision, signal);
        if (this.#removed) return;
        await record.tell();
        const over = new AbortController();
        const until = AbortSignal.any([signal, over.signal]);
        const waits: Promise<unknown>[] = [woken, aborted(until)];
        if (lookAt !== undefined) waits.push(clock.sleep(Math.max(0, lookAt - now), until));
        try {
          await Promise.race(waits.map(wait => wait.catch(() => undefined)));
        } finally {
          over.abort();
        }
      }
    } finally {
      gone.abort();
      runs.letGo();
      await tasks.ended();
    }
  }

  /** Recorded first: whoever looks next finds it decided. */
  async #carryOut(decision: Decision, signal: AbortSignal): Promise<void> {
    const work = this.#work;
    const { deps, record, tasks } = work;
    switch (decision.kind) {
      case 'createSandbox': {
        const { attempt } = decision;
        await record.observe(observed => ({ ...observed, attempt, sandbox: { kind: 'making' } }));
        return tasks.run(() => makeSandbox(work, signal), signal);
      }
      case 'restartAll': {
        const { attempt } = decision;
        return record.observe(observed => ({ ...observed, attempt, restartedAll: attempt }));
      }
      case 'start':
        await record.container(decision.container, starting(decision));
        return tasks.run(() => startContainer(work, decision, signal), signal);
      case 'preStop':
      case 'stop':
        await record.container(decision.container, stopping(decision));
        return tasks.run(() => stopContainer(work, decision, signal), signal);
      case 'fail': {
        const { reason, message } = decision;
        const at = deps.host.clock.now();
        return record.observe(observed => ({ ...observed, failure: { reason, message, at } }));
      }
      case 'finish':
        this.#removed = await finish(work, signal);
    }
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise(resolve => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
