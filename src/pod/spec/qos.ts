/** Kubernetes' classes of service, and who is killed first when memory runs out. */
import type { Container, Pod } from '../api/kubernetes.ts';
import { countOf } from './quantity.ts';
import { containerResources, hasPodResources, isSidecar, type Resources, resourcesOf } from './resources.ts';

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

/** What decides on the class. */
const counted = ['cpu', 'memory'] as const;

/**
 * Guaranteed if every container limits processors and memory and asks for as much, BestEffort if none says anything,
 * else Burstable. What the pod as a whole says goes before what its containers say.
 */
export function qosClass({ spec, status }: Pod): QosClass {
  const known = (['Guaranteed', 'Burstable', 'BestEffort'] as const).find(each => each === status?.qosClass);
  if (known) return known;
  const all = spec?.resources ? [spec] : [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])];
  const each = all.map(({ resources }) => ({
    limits: amountsOf(resourcesOf(resources?.limits)),
    requests: amountsOf(resourcesOf(resources?.requests)),
  }));
  const sum = (kind: 'limits' | 'requests', name: (typeof counted)[number]) =>
    each.reduce((total, amounts) => total + amounts[kind][name], 0n);
  if (counted.every(name => sum('limits', name) === 0n && sum('requests', name) === 0n)) return 'BestEffort';
  const isLimited = each.every(({ limits }) => counted.every(name => limits[name] > 0n));
  const isEqual = counted.every(name => sum('limits', name) === sum('requests', name));
  return isLimited && isEqual ? 'Guaranteed' : 'Burstable';
}

const amountsOf = (resources: Resources) => {
  const amount = (name: string) => {
    const nano = resources.get(name)?.nano ?? 0n;
    return nano > 0n ? nano : 0n;
  };
  return { cpu: amount('cpu'), memory: amount('memory') };
};

const scores = { mostImportant: -997, leastImportant: 1000 };
const criticalPriority = 2_000_000_000;

/**
 * The oom_score_adj of a container's processes, on a host with so many bytes of memory: what asks for much of it is killed
 * late, and whoever uses more than was asked for is killed before others.
 */
export function oomScoreAdjust(pod: Pod, container: Container, memoryCapacity: number): number {
  const quality = qosClass(pod);
  if (isNodeCritical(pod) || quality === 'Guaranteed') return scores.mostImportant;
  if (quality === 'BestEffort') return scores.leastImportant;
  const shared = unclaimedMemory(pod);
  const scoreFor = (bytes: number) => 1000 - Math.trunc((1000 * (bytes + shared)) / memoryCapacity);
  const own = scoreFor(requestedMemory(container));
  const isBeside =
    isSidecar(container) && (pod.spec?.initContainers ?? []).some(({ name }) => name === container.name);
  // A sidecar goes no earlier than any of those that it serves.
  const least = Math.min(...(pod.spec?.containers ?? []).map(requestedMemory));
  const score = isBeside ? Math.min(own, scoreFor(least)) : own;
  return Math.max(1000 + scores.mostImportant, score === scores.leastImportant ? score - 1 : score);
}

/** Pods of the node itself: those of files, and those of a priority that only the system has, if they say so. */
function isNodeCritical({ metadata, spec }: Pod): boolean {
  const source = metadata?.annotations?.['kubernetes.io/config.source'] ?? 'api';
  const isCritical = source !== 'api' || (spec?.priority ?? 0) >= criticalPriority;
  return isCritical && spec?.priorityClassName === 'system-node-critical';
}

const requestedMemory = ({ resources }: Container) => bytesOf(resourcesOf(resources?.requests));

const bytesOf = (resources: Resources) => countOf(resources.get('memory')?.nano ?? 0n, 1_000_000_000n);

/** A container's share of the memory that the pod as a whole asks for and none of its containers does. */
function unclaimedMemory(pod: Pod): number {
  const asked = bytesOf(resourcesOf(pod.spec?.resources?.requests));
  if (asked === 0 || !hasPodResources(pod, ['requests'])) return 0;
  const count = (pod.spec?.containers ?? []).length + (pod.spec?.initContainers ?? []).length;
  return Math.trunc((asked - bytesOf(containerResources(pod, 'requests'))) / count);
}
