import type { ContainerStatus, Pod, PodStatus } from '../api/kubernetes.ts';
import { kubeletLimits, type RestartLimits } from '../restart/backoff.ts';
import { addressesOf } from './addresses.ts';
import { conditionsOf } from './conditions.ts';
import { containerStatus } from './container-status.ts';
import type { Observed } from './observed.ts';
import { type Phase, phaseOf } from './phase.ts';
import { ephemeralMembers, initMembers, type Member, mainMembers } from './roles.ts';
import { type Scene, sceneOf } from './scene.ts';
import { rfc3339 } from './time.ts';

/** What has brought the pod to its end, or what was said of the phase before and still holds. */
function reasonOf(scene: Scene, phase: Phase): Pick<PodStatus, 'reason' | 'message'> {
  const { failure } = scene.observed;
  const said = phase === 'Failed' && failure ? failure : phase === scene.former.phase ? scene.former : {};
  return { ...(said.reason && { reason: said.reason }), ...(said.message && { message: said.message }) };
}

/** What others write into the status of a pod. */
const foreign = [
  'nominatedNodeName',
  'resourceClaimStatuses',
  'extendedResourceClaimStatus',
  'nodeAllocatableResourceClaimStatuses',
] as const;

/** Init containers are told in their order, the others by name. */
const byName = (a: ContainerStatus, b: ContainerStatus): number => (a.name < b.name ? -1 : 1);

/**
 * The status of a pod, by the kubelet's rules, from what is known of it.
 *
 * @param pod with the status that was told last: the times of its conditions stay, and no terminal phase is left
 * @param now milliseconds since 1970
 */
export function podStatus(
  pod: Pod,
  observed: Observed,
  now: number,
  limits: RestartLimits = kubeletLimits(),
): PodStatus {
  const scene = sceneOf(pod, observed, now, limits);
  const phase = phaseOf(scene);
  const statusOf = (member: Member) => containerStatus(scene, member);
  const inits = initMembers(pod).map(statusOf);
  const mains = mainMembers(pod).map(statusOf).sort(byName);
  const ephemeral = ephemeralMembers(pod).map(statusOf).sort(byName);
  const { former } = scene;
  return {
    ...Object.fromEntries(
      foreign.flatMap(name => (former[name] === undefined ? [] : [[name, former[name]]])),
    ),
    ...(pod.metadata?.generation !== undefined && { observedGeneration: pod.metadata.generation }),
    phase,
    ...reasonOf(scene, phase),
    conditions: conditionsOf(scene, phase, [...inits, ...mains]),
    ...addressesOf(scene),
    startTime: former.startTime ?? rfc3339(observed.startTime),
    ...(inits.length > 0 && { initContainerStatuses: inits }),
    containerStatuses: mains,
    ...(ephemeral.length > 0 && { ephemeralContainerStatuses: ephemeral }),
    qosClass: observed.qosClass,
    ...(observed.allocated && { allocatedResources: observed.allocated }),
    ...(observed.resources && { resources: observed.resources }),
  };
}
