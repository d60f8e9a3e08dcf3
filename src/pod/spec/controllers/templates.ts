/** The pods that a controller makes, as podman kube play takes controllers: all at once, with names that stay. */
import type {
  Job,
  ObjectMeta,
  PersistentVolumeClaim,
  Pod,
  PodSpec,
  PodTemplateSpec,
  StatefulSet,
} from '../../api/kubernetes.ts';
import type { ManifestObject } from '../validate.ts';
import { claimName, withClaims } from './stateful.ts';

/** Pods as they would be written, and the claims that they have of their controller. */
export interface Templated {
  readonly pods: readonly Pod[];
  readonly claims: readonly PersistentVolumeClaim[];
}

/** The pods of an object: one, several of a template, or none. */
export function podsOf(each: ManifestObject): Templated {
  switch (each.kind) {
    case 'Pod':
      return { pods: [podOf(each.object.metadata, each.object.spec, each.name, each.namespace)], claims: [] };
    case 'Deployment':
      return {
        pods: replicas(each, each.object.spec?.template, each.object.spec?.replicas ?? 1),
        claims: [],
      };
    case 'DaemonSet':
      return { pods: replicas(each, each.object.spec?.template, 1), claims: [] };
    case 'StatefulSet':
      return statefulPods(each, each.object.spec);
    case 'Job':
      return { pods: jobPods(each, each.object.spec), claims: [] };
    case 'ConfigMap':
    case 'Secret':
    case 'PersistentVolumeClaim':
      return { pods: [], claims: [] };
    default:
      return each satisfies never;
  }
}

interface Named {
  readonly name: string;
  readonly namespace: string;
}

/** What a server notes on an object is not a part of what is asked for. */
function podOf(metadata: ObjectMeta = {}, spec: PodSpec | undefined, name: string, namespace: string): Pod {
  const { labels, annotations } = metadata;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, ...(labels && { labels }), ...(annotations && { annotations }) },
    ...(spec && { spec }),
  };
}

function replicas(
  { name, namespace }: Named,
  template: PodTemplateSpec | undefined,
  count: number,
  first = 0,
): readonly Pod[] {
  return Array.from({ length: count }, (_, index) =>
    podOf(template?.metadata, template?.spec, `${name}-${first + index}`, namespace),
  );
}

const labelled = (pod: Pod, labels: { readonly [key: string]: string }): Pod => ({
  ...pod,
  metadata: { ...pod.metadata, labels: { ...pod.metadata?.labels, ...labels } },
});

function statefulPods(own: Named, spec: StatefulSet['spec']): Templated {
  const { template, replicas: count = 1, ordinals, serviceName, volumeClaimTemplates = [] } = spec ?? {};
  const first = ordinals?.start ?? 0;
  const pods = replicas(own, template, count, first).map((pod, index) => {
    const name = pod.metadata?.name ?? '';
    const labels = {
      'statefulset.kubernetes.io/pod-name': name,
      'apps.kubernetes.io/pod-index': String(first + index),
    };
    const set = pod.spec && {
      ...withClaims(pod.spec, volumeClaimTemplates, name),
      hostname: name,
      ...(serviceName !== undefined && serviceName !== '' && { subdomain: serviceName }),
    };
    return labelled({ ...pod, ...(set && { spec: set }) }, labels);
  });
  const claims = pods.flatMap(({ metadata }) =>
    volumeClaimTemplates.map(({ metadata: written, ...template }) => ({
      ...template,
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: {
        ...(written?.labels && { labels: written.labels }),
        ...(written?.annotations && { annotations: written.annotations }),
        name: claimName({ metadata: written ?? {} }, metadata?.name ?? ''),
        namespace: own.namespace,
      },
    })),
  );
  return { pods, claims };
}

const completionIndex = 'batch.kubernetes.io/job-completion-index';

function jobPods(own: Named, spec: Job['spec']): readonly Pod[] {
  if (spec === undefined || spec.suspend === true) return [];
  const { template, completions, parallelism, completionMode, activeDeadlineSeconds } = spec;
  const isIndexed = completionMode === 'Indexed';
  return replicas(own, template, completions ?? parallelism ?? 1).map((pod, index) => {
    const deadlines = [activeDeadlineSeconds, pod.spec?.activeDeadlineSeconds].filter(
      each => each !== undefined,
    );
    const bounded = pod.spec && {
      ...(isIndexed ? indexed(pod.spec, pod.metadata?.name ?? '') : pod.spec),
      ...(deadlines.length > 0 && { activeDeadlineSeconds: Math.min(...deadlines) }),
    };
    const made = { ...pod, ...(bounded && { spec: bounded }) };
    const labels = { 'batch.kubernetes.io/job-name': own.name, 'job-name': own.name };
    if (!isIndexed) return labelled(made, labels);
    const annotations = { ...made.metadata?.annotations, [completionIndex]: String(index) };
    return labelled(
      { ...made, metadata: { ...made.metadata, annotations } },
      { ...labels, [completionIndex]: String(index) },
    );
  });
}

/** Each pod of an indexed job knows its number. */
function indexed(spec: PodSpec, name: string): PodSpec {
  const fieldPath = `metadata.annotations['${completionIndex}']`;
  const variable = { name: 'JOB_COMPLETION_INDEX', valueFrom: { fieldRef: { fieldPath } } };
  const told = (containers: PodSpec['containers']) =>
    containers.map(container => ({ ...container, env: [...(container.env ?? []), variable] }));
  return {
    ...spec,
    hostname: spec.hostname ?? name,
    containers: told(spec.containers),
    ...(spec.initContainers && { initContainers: told(spec.initContainers) }),
  };
}
