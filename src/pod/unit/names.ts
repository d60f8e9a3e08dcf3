import { podsDirectory, podsRuntimeDirectory } from '../../names.ts';

/** What names a pod on a host. */
export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  /** A UUID, or any text of letters, digits and `-`. */
  readonly uid: string;
}

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

/** Bytes of the readable part of a unit's name: with a container's name and a UID the whole stays below 200. */
const readable = 80;

const prefixOf = ({ namespace, name }: PodIdentity): string =>
  `pod-${namespace}-${name}`.slice(0, readable).replace(/[-.]+$/, '');

/** `pod-default-web-UID.target`: loaded as long as the pod is there, and with it the units of its containers. */
export const targetOf = (pod: PodIdentity): string => `${prefixOf(pod)}-${pod.uid}.target`;

/** The name by which the engine knows a container of a pod: its unit's, without the suffix. */
export const engineName = (pod: PodIdentity, container: string): string =>
  `${prefixOf(pod)}-${container}-${pod.uid}`;

export const unitOf = (pod: PodIdentity, container: string): string =>
  `${engineName(pod, container)}.service`;

/** `pod-default-web-UID.service`: what holds the process namespace that containers share. */
export const anchorOf = (pod: PodIdentity): string => `${prefixOf(pod)}-${pod.uid}.service`;

/** The slices of a class of service, as the kubelet's systemd driver names them. */
export const classSlice = (qos: QosClass): string =>
  qos === 'Guaranteed' ? 'kubepods' : `kubepods-${qos.toLowerCase()}`;

/** `kubepods-burstable-podUID.slice`: other tools read pods from that. Dashes would be levels. */
export const sliceOf = (pod: PodIdentity, qos: QosClass): string =>
  `${classSlice(qos)}-pod${pod.uid.replaceAll('-', '_')}.slice`;

export const directoryOf = (uid: string): string => `${podsDirectory}/${uid}`;

/** Bundle, upper directory and record of a container. */
export const containerDirectory = (uid: string, container: string): string =>
  `${directoryOf(uid)}/containers/${container}`;

/** Namespaces and what else is gone with the boot. */
export const runtimeOf = (uid: string): string => `${podsRuntimeDirectory}/${uid}`;

/** The PID namespace that containers share, as a file. */
export const pidNamespaceOf = (uid: string): string => `${runtimeOf(uid)}/pid`;

/** The user namespace of a pod that has one, as a file. */
export const userNamespaceOf = (uid: string): string => `${runtimeOf(uid)}/user`;
