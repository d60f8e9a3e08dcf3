import type { Pod } from '../api/kubernetes.ts';
import { eventsOf, type News, statusEventsOf, withNews } from '../status/events.ts';
import type { ContainerObserved, Observed } from '../status/observed.ts';
import { podStatus } from '../status/status.ts';
import type { PodIdentity } from '../unit/names.ts';
import type { WorkerDependencies } from './dependencies.ts';
import type { Tell } from './image.ts';
import { type Kept, withContainer, writeKept, writePod } from './kept.ts';

/** What is asked for and what is known of one pod: as it is in the pod's directory, and the only one to write there. */
export class PodRecord {
  readonly identity: PodIdentity;
  readonly #deps: WorkerDependencies;
  #pod: Pod;
  #kept: Kept;
  #hasNews = false;
  #wake = Promise.withResolvers<void>();

  constructor(deps: WorkerDependencies, identity: PodIdentity, pod: Pod, kept: Kept) {
    this.#deps = deps;
    this.identity = identity;
    this.#pod = pod;
    this.#kept = kept;
  }

  /** The pod as it was asked for. */
  get pod(): Pod {
    return this.#pod;
  }

  /** The pod with its status as it was told last. */
  get told(): Pod {
    return this.#kept.status ? { ...this.#pod, status: this.#kept.status } : this.#pod;
  }

  get observed(): Observed {
    return this.#kept.observed;
  }

  get isFinished(): boolean {
    return this.#kept.finished ?? false;
  }

  /** Another pod is asked for under the same name and UID. */
  async replace(pod: Pod): Promise<void> {
    this.#pod = pod;
    await writePod(this.#deps.host.files, this.identity.uid, pod);
  }

  async keep(change: Partial<Kept>): Promise<void> {
    this.#kept = { ...this.#kept, ...change };
    this.#hasNews = false;
    await writeKept(this.#deps.host.files, this.identity.uid, this.#kept);
  }

  /** Records something, then has the worker look again; nothing is done if `change` gives back what it was given. */
  async observe(change: (observed: Observed) => Observed): Promise<void> {
    const observed = change(this.#kept.observed);
    if (observed === this.#kept.observed) return;
    this.#happened(eventsOf(this.#pod, this.#kept.observed, observed));
    await this.keep({ observed });
    this.wake();
  }

  container(name: string, change: (container: ContainerObserved) => ContainerObserved): Promise<void> {
    return this.observe(observed => withContainer(observed, name, change));
  }

  wake(): void {
    this.#wake.resolve();
  }

  /** Resolves when there is something to look at, from now on. */
  nextWake(): Promise<void> {
    this.#wake = Promise.withResolvers();
    return this.#wake.promise;
  }

  /** Computes the status; told and kept if it is another, or if there are events that are not written yet. */
  async tell(): Promise<void> {
    const now = this.#deps.host.clock.now();
    const status = podStatus(this.told, this.observed, now, this.#deps.limits);
    const isAnother = JSON.stringify(status) !== JSON.stringify(this.#kept.status);
    if (!isAnother && !this.#hasNews) return;
    this.#happened(statusEventsOf(this.#pod, this.#kept.status, status));
    await this.keep({ status });
    if (isAnother) this.#deps.changed(this.told);
  }

  /** Something that is no change of what is observed; written when the worker looks next. */
  event(type: News['type'], reason: string, message: string, container?: string): void {
    this.#happened([{ type, reason, message, ...(container !== undefined && { container }) }]);
    this.wake();
  }

  /** Takes events of a container, or of the pod as a whole. */
  teller(container?: string): Tell {
    return (type, reason, message) => this.event(type, reason, message, container);
  }

  #happened(news: readonly News[]): void {
    if (news.length === 0) return;
    const events = withNews(this.#kept.events ?? [], news, this.#deps.host.clock.now());
    this.#kept = { ...this.#kept, events };
    this.#hasNews = true;
    for (const event of events.slice(-news.length)) this.#deps.event(this.#pod, event);
  }
}
