import type { Container, EphemeralContainer, Pod } from '../api/kubernetes.ts';

/** `init` runs to its end before the next; `sidecar` is an init container that stays (restartPolicy Always). */
export type Role = 'init' | 'sidecar' | 'main' | 'ephemeral';

/** A container of the spec, in the role that it has. An ephemeral one has all fields of the others. */
export interface Member {
  readonly role: Role;
  readonly spec: Container | EphemeralContainer;
}

const initRole = (container: Container): Role => (container.restartPolicy === 'Always' ? 'sidecar' : 'init');

/** Init containers and sidecars in their order. */
export const initMembers = (pod: Pod): Member[] =>
  (pod.spec?.initContainers ?? []).map(spec => ({ role: initRole(spec), spec }));

export const mainMembers = (pod: Pod): Member[] =>
  (pod.spec?.containers ?? []).map(spec => ({ role: 'main', spec }));

export const ephemeralMembers = (pod: Pod): Member[] =>
  (pod.spec?.ephemeralContainers ?? []).map(spec => ({ role: 'ephemeral', spec }));

/** All containers of a pod: init containers and sidecars, main, ephemeral; each in the order of the spec. */
export const members = (pod: Pod): Member[] => [
  ...initMembers(pod),
  ...mainMembers(pod),
  ...ephemeralMembers(pod),
];
