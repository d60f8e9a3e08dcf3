import { podsDirectory } from '../names.ts';
import type { Pod } from '../pod/api/kubernetes.ts';
import { qosClass } from '../pod/spec/qos.ts';
import { directoryOf, type PodIdentity } from '../pod/unit/names.ts';
import type { WorkerDependencies } from '../pod/worker/dependencies.ts';
import { hasKept, readPod } from '../pod/worker/kept.ts';
import { PodWorker } from '../pod/worker/worker.ts';

/** A pod that is to be, in full: it has its name, namespace and UID. */
export interface DesiredPod {
  readonly identity: PodIdentity;
  readonly pod: Pod;
}

/** @throws for a pod that was not made by `expand`, which names all of it */
export function identityOf({ metadata }: Pod): PodIdentity {
  const { namespace, name, uid } = metadata ?? {};
  if (namespace && name && uid) return { namespace, name, uid };
  throw new Error('a pod without a name or UID was to run');
}

interface Running {
  readonly worker: PodWorker;
  readonly ended: Promise<void>;
}

const defaultGrace = 30;
const nameOf = ({ namespace, name }: PodIdentity) => `${namespace}/${name}`;

/** All pods of this host, each by its worker: those that are desired, and those that are still going. */
export class Agent {
  readonly #deps: WorkerDependencies;
  readonly #signal: AbortSignal;
  readonly #failed: (error: unknown) => void;
  readonly #running = new Map<string, Running>();
  /** Pods that are being taken up. */
  readonly #beginning = new Set<PodIdentity>();
  #desired: ReadonlyMap<string, DesiredPod> = new Map();

  /** @param failed told when a worker has ended with an error, which is a defect: the pod is left as it is */
  constructor(deps: WorkerDependencies, signal: AbortSignal, failed: (error: unknown) => void) {
    this.#deps = deps;
    this.#signal = signal;
    this.#failed = failed;
  }

  get workers(): readonly PodWorker[] {
    return [...this.#running.values()].map(({ worker }) => worker);
  }

  /** Takes up the pods that another agent has left. Those that are not desired will go. */
  async takeUp(): Promise<void> {
    const { files } = this.#deps.host;
    for (const uid of await files.list(podsDirectory)) {
      const pod = await readPod(files, uid);
      const { name, namespace } = pod?.metadata ?? {};
      // A directory that was made and no more, or removed and not quite: of what is wanted of it, it begins anew.
      const isBegun = await hasKept(files, uid);
      if (pod && name && namespace && isBegun) await this.#begin({ identity: { namespace, name, uid }, pod });
      else await files.remove(directoryOf(uid));
    }
  }

  /** From now on these pods are to be, and no others. */
  async sync(desired: readonly DesiredPod[]): Promise<void> {
    this.#desired = new Map(desired.map(each => [each.identity.uid, each]));
    const kept = this.workers.filter(({ identity }) => this.#desired.has(identity.uid));
    await Promise.all(
      kept.map(async worker => {
        const { pod } = this.#desired.get(worker.identity.uid) ?? {};
        if (pod) await worker.resize(pod, this.#signal);
        await worker.refresh(this.#signal);
      }),
    );
    for (const [uid, { worker }] of this.#running)
      if (!this.#desired.has(uid))
        await worker.delete(worker.pod.spec?.terminationGracePeriodSeconds ?? defaultGrace);
    await this.#beginMissing();
  }

  /** A pod whose name another still has waits until that one is gone. */
  async #beginMissing(): Promise<void> {
    for (const each of this.#desired.values()) if (!this.#isTaken(each.identity)) await this.#begin(each);
  }

  /** Whether it runs already, or another has its name: those that are about to begin count. */
  #isTaken(wanted: PodIdentity): boolean {
    const all = [...this.workers.map(({ identity }) => identity), ...this.#beginning];
    return all.some(identity => identity.uid === wanted.uid || nameOf(identity) === nameOf(wanted));
  }

  async #begin({ identity, pod }: DesiredPod): Promise<void> {
    this.#beginning.add(identity);
    const worker = await PodWorker.open(this.#deps, pod, identity, qosClass(pod), this.#signal).finally(() =>
      this.#beginning.delete(identity),
    );
    this.#running.set(identity.uid, { worker, ended: this.#follow(worker) });
  }

  async #follow(worker: PodWorker): Promise<void> {
    try {
      await worker.run(this.#signal);
    } catch (error) {
      if (!this.#signal.aborted) this.#failed(error);
    }
    this.#running.delete(worker.identity.uid);
    if (!this.#signal.aborted) await this.#beginMissing();
  }

  /** Resolves when every worker has let go, after the signal. Pods go on without them. */
  async ended(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
  }
}
