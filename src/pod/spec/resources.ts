/** What a pod asks for and may use: of its containers together, as Kubernetes counts it. */
import type { Container, Pod, ResourceRequirements } from '../api/kubernetes.ts';
import { formatQuantity, type Quantity, quantityOf } from './quantity.ts';

/** Resources by name: `cpu`, `memory`, `ephemeral-storage`, `hugepages-2Mi`. */
export type Resources = ReadonlyMap<string, Quantity>;

type Kind = 'requests' | 'limits';
type Written = ResourceRequirements[Kind];

/** An init container that goes on running beside the others. */
export const isSidecar = ({ restartPolicy }: Container) => restartPolicy === 'Always';

/** What a list of the API says. */
export const resourcesOf = (written: Written): Resources =>
  new Map(Object.entries(written ?? {}).map(([name, text]) => [name, quantityOf(text)]));

/** As the API writes it. */
export const writtenOf = (resources: Resources): { readonly [name: string]: string } =>
  Object.fromEntries([...resources].map(([name, quantity]) => [name, formatQuantity(quantity)]));

const isHugePages = (name: string) => name.startsWith('hugepages-');

/** What may be asked for by a pod as a whole. */
export const isOfPods = (name: string) => name === 'cpu' || name === 'memory' || isHugePages(name);

/** True for what may be promised more often than it is there: all but huge pages and the names of devices. */
export const isOvercommitted = (name: string) => !isHugePages(name) && !name.includes('/');

/**
 * What the containers need together: those that run beside each other are added; an init container runs alone, beside the
 * sidecars that were started before it, so that the largest of these counts.
 */
export function containerResources(pod: Pod, kind: Kind): Resources {
  const { running, starting } = stages(pod, kind);
  return [sumOf(running), ...starting].reduce(largestOf);
}

/** What is used by each container that stays, and by each init container with the sidecars before it. */
function stages({ spec }: Pod, kind: Kind) {
  const of = (container: Container) => resourcesOf(container.resources?.[kind]);
  const running = (spec?.containers ?? []).map(of);
  const starting: Resources[] = [];
  let sidecars: Resources = new Map();
  for (const container of spec?.initContainers ?? []) {
    const own = of(container);
    starting.push(sumOf([sidecars, own]));
    if (!isSidecar(container)) continue;
    running.push(own);
    sidecars = sumOf([sidecars, own]);
  }
  return { running, starting };
}

/** What is asked for: of the pod as a whole where it says so, else of its containers; and what running it costs. */
export function podRequests(pod: Pod): Resources {
  const own = ofPod(pod, 'requests');
  return sumOf([new Map([...containerResources(pod, 'requests'), ...own]), resourcesOf(pod.spec?.overhead)]);
}

/** What may be used. A resource that no container limits is not in it; one that only some limit is the sum of those. */
export function podLimits(pod: Pod): Resources {
  const limits = new Map([...containerResources(pod, 'limits'), ...ofPod(pod, 'limits')]);
  const overhead = [...resourcesOf(pod.spec?.overhead)].filter(
    ([name]) => (limits.get(name)?.nano ?? 0n) !== 0n,
  );
  return sumOf([limits, new Map(overhead)]);
}

/** What the pod as a whole is held to; undefined where a container may use all that there is. */
export function enforcedLimit(pod: Pod, name: 'cpu' | 'memory'): Quantity | undefined {
  const { running, starting } = stages(pod, 'limits');
  const isSomething = (resources: Resources) => (resources.get(name)?.nano ?? 0n) !== 0n;
  const isLimited =
    isSomething(new Map(ofPod(pod, 'limits'))) || [...running, ...starting].every(each => isSomething(each));
  return isLimited ? podLimits(pod).get(name) : undefined;
}

const ofPod = ({ spec }: Pod, kind: Kind) =>
  [...resourcesOf(spec?.resources?.[kind])].filter(([name]) => isOfPods(name));

/** True where the pod as a whole says what it asks for or may use. */
export const hasPodResources = (pod: Pod, kinds: readonly Kind[] = ['requests', 'limits']) =>
  kinds.some(kind => ofPod(pod, kind).length > 0);

function sumOf(all: readonly Resources[]): Resources {
  const sum = new Map<string, Quantity>();
  for (const [name, quantity] of all.flatMap(each => [...each])) {
    const known = sum.get(name);
    // The form is that of the first that is something.
    const format = known && known.nano !== 0n ? known.format : quantity.format;
    sum.set(name, { nano: (known?.nano ?? 0n) + quantity.nano, format });
  }
  return sum;
}

function largestOf(one: Resources, other: Resources): Resources {
  const largest = new Map(one);
  for (const [name, quantity] of other) {
    const known = largest.get(name);
    if (known === undefined || quantity.nano > known.nano) largest.set(name, quantity);
  }
  return largest;
}
