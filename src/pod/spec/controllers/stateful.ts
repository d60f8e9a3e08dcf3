import type { PersistentVolumeClaim, PodSpec } from '../../api/kubernetes.ts';

/** The claim that a pod of a stateful set has of a template: it outlives the pod. */
export const claimName = (template: PersistentVolumeClaim, podName: string) =>
  `${template.metadata?.name ?? ''}-${podName}`;

/** A pod with the volumes that the claims of its set are; they go before volumes of the same name. */
export function withClaims(
  spec: PodSpec,
  templates: readonly PersistentVolumeClaim[],
  podName: string,
): PodSpec {
  if (templates.length === 0) return spec;
  const claims = templates.map(template => ({
    name: template.metadata?.name ?? '',
    persistentVolumeClaim: { claimName: claimName(template, podName) },
  }));
  const others = (spec.volumes ?? []).filter(({ name }) => !claims.some(claim => claim.name === name));
  return { ...spec, volumes: [...others, ...claims] };
}
