import { release } from 'node:os';
import type { Pod } from '../api/kubernetes.ts';
import { pullPolicyOf } from '../spec/defaults/pull-policy.ts';
import type { PodFacts } from '../spec/variables/downward.ts';
import { type PodIdentity, targetOf } from '../unit/names.ts';
import type { VolumeFacts } from '../volumes/facts.ts';
import { volumesInUse } from '../volumes/volume.ts';
import type { WorkerDependencies } from './dependencies.ts';
import { type PullPolicy, podImage, type Tell } from './image.ts';

/** Whether this kernel is of that version or later. */
function isKernel(major: number, minor: number): boolean {
  const [first = 0, second = 0] = release().split('.').map(Number);
  return first > major || (first === major && second >= minor);
}

/** Linux 5.12 has mount_setattr(2), by which crun makes a tree of mounts read-only. */
export const isRecursive = (): boolean => isKernel(5, 12);

/** Images that are volumes, fetched: names of their layers, by the volume. */
async function imagesOf(
  deps: WorkerDependencies,
  pod: Pod,
  tell: Tell,
  signal: AbortSignal,
): Promise<Map<string, readonly string[]>> {
  const layers = new Map<string, readonly string[]>();
  for (const { name, image } of volumesInUse(pod)) {
    if (!image?.reference) continue;
    const policy = (image.pullPolicy ?? pullPolicyOf(image.reference)) as PullPolicy;
    const found = await podImage(deps, pod, { image: image.reference, policy, tell }, signal);
    const store = await deps.store();
    layers.set(name, store.overlay(found.image));
  }
  return layers;
}

/** What the volumes of a pod depend on, its images fetched. */
export async function volumeFacts(
  deps: WorkerDependencies,
  pod: Pod,
  identity: PodIdentity,
  facts: PodFacts,
  tell: Tell,
  signal: AbortSignal,
): Promise<VolumeFacts> {
  return {
    pod: facts,
    target: targetOf(identity),
    claims: deps.objects.claims(identity.namespace),
    images: await imagesOf(deps, pod, tell, signal),
    issuesTokens: false,
    noswap: isKernel(6, 4),
  };
}
