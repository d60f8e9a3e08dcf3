/** The objects of manifests: read, checked as the API server checks them, and refused with all that is wrong. */
import { SpawnletError } from '../../host/error.ts';
import { nearest } from '../../host/nearest.ts';
import { tellFaults } from '../../host/yaml.ts';
import {
  type ConfigMap,
  type DaemonSet,
  type Deployment,
  type Job,
  kinds,
  type PersistentVolumeClaim,
  type Pod,
  type PodSpec,
  type Secret,
  type StatefulSet,
} from '../api/kubernetes.ts';
import { checkDeployment, checkJob, checkStatefulSet } from './check/controllers.ts';
import { checkMetadata, whyNoControllerName } from './check/metadata.ts';
import { whyNoLabel, whyNoSubdomain } from './check/names.ts';
import { checkConfigMap, checkPersistentVolumeClaim, checkSecret } from './check/objects.ts';
import { type Place, placeOf } from './check/place.ts';
import { checkPodSpec } from './check/pod.ts';
import { readObject } from './check/read.ts';
import { defaultPod } from './defaults.ts';
import { type PodEngine, podEngineOf, refusedBy } from './engine-limits.ts';
import type { ManifestDocument } from './manifest.ts';
import { isWithin, type Mistake, pathText } from './path.ts';

interface Objects {
  Pod: Pod;
  Deployment: Deployment;
  DaemonSet: DaemonSet;
  StatefulSet: StatefulSet;
  Job: Job;
  ConfigMap: ConfigMap;
  Secret: Secret;
  PersistentVolumeClaim: PersistentVolumeClaim;
}

export type ManifestKind = keyof Objects;

/** An object as it was written, with its name and namespace; what is not written is not decided yet. */
export type ManifestObject = {
  readonly [K in ManifestKind]: {
    readonly kind: K;
    readonly object: Objects[K];
    readonly name: string;
    readonly namespace: string;
    readonly document: ManifestDocument;
  };
}[ManifestKind];

interface Kind {
  whyNoName(name: string): string | undefined;
  check(object: object, place: Place): void;
}

const kindOf = <T extends object>(
  whyNoName: (name: string) => string | undefined,
  check: (object: T, place: Place) => void,
): Kind => ({ whyNoName, check: (object, place) => check(object as T, place) });

const known: { readonly [K in ManifestKind]: Kind } = {
  Pod: kindOf(whyNoSubdomain, checkPod),
  Deployment: kindOf(whyNoControllerName, checkDeployment),
  DaemonSet: kindOf(whyNoControllerName, checkDeployment),
  StatefulSet: kindOf(name => whyNoLabel(name) ?? whyNoControllerName(name), checkStatefulSet),
  Job: kindOf(whyNoControllerName, checkJob),
  ConfigMap: kindOf(whyNoSubdomain, checkConfigMap),
  Secret: kindOf(whyNoSubdomain, checkSecret),
  PersistentVolumeClaim: kindOf(whyNoSubdomain, checkPersistentVolumeClaim),
};

/** The kinds that manifests may have. */
export const manifestKinds = Object.keys(known);

const isKnown = (kind: string): kind is ManifestKind => Object.hasOwn(known, kind);

/** At most so many mistakes of one file are told at once. */
const mostMistakes = 20;

/**
 * The objects of documents, in their order. No two are of one kind and name, in whatever files they are.
 *
 * @param fallback who runs the pods that name nobody; undefined: what engines refuse is not looked at
 * @throws ERR_MANIFEST with each mistake: file, line, field, and what would be right
 */
export function validate(
  documents: readonly ManifestDocument[],
  fallback?: PodEngine,
): readonly ManifestObject[] {
  const objects: ManifestObject[] = [];
  const places = new Map<string, string>();
  const told: { document: ManifestDocument; mistakes: readonly Mistake[] }[] = [];
  for (const document of documents) {
    const mistakes: Mistake[] = [];
    const object = document.faults.length === 0 ? readDocument(document, mistakes) : undefined;
    told.push({ document, mistakes });
    if (object === undefined) continue;
    if (fallback) mistakes.push(...refusedWith(fallback, object));
    const identity = `${object.kind} ${object.namespace}/${object.name}`;
    const other = places.get(identity);
    if (other !== undefined && object.name !== '')
      mistakes.push({
        path: ['metadata', 'name'],
        text: `is ${object.name} twice: the first is at ${other}`,
      });
    places.set(identity, other ?? `${document.file}:${document.lineOf(['metadata', 'name'])}`);
    objects.push(object);
  }
  const files = Map.groupBy(told, ({ document }) => document.file);
  const refused = [...files].flatMap(([file, each]) => {
    const faults = each.flatMap(({ document, mistakes }) => [
      ...document.faults,
      ...mistakes.map(({ path, text }) => ({ line: document.lineOf(path), path: pathText(path), text })),
    ]);
    return faults.length === 0 ? [] : [tellFaults(faults, file, mostMistakes)];
  });
  if (refused.length === 0) return objects;
  throw new SpawnletError('ERR_MANIFEST', refused.join('\n  '), {
    hint: 'nothing was changed: correct these places',
  });
}

/** What the engine refuses of the pod that an object is or makes. */
function refusedWith(fallback: PodEngine, { object }: ManifestObject): Mistake[] {
  const { spec } = object as {
    readonly spec?: PodSpec & { readonly template?: { readonly spec?: PodSpec } };
  };
  const inTemplate = spec?.template?.spec;
  const asked = inTemplate ?? spec ?? { containers: [] };
  const found = refusedBy(podEngineOf(asked, fallback), asked);
  return found.map(each => (inTemplate ? { ...each, path: ['spec', 'template', ...each.path] } : each));
}

function readDocument(document: ManifestDocument, mistakes: Mistake[]): ManifestObject | undefined {
  const { kind, apiVersion, root } = document;
  const wrong = (text: string, ...path: string[]) => void mistakes.push({ path, text });
  if (root.kind !== 'map') return wrong('takes a mapping with apiVersion, kind, metadata and spec');
  if (!isKnown(kind)) return wrong(whyNoKind(kind), 'kind');
  if (apiVersion !== kinds[kind]) wrong(`of ${kind} is ${kinds[kind]}, not '${apiVersion}'`, 'apiVersion');
  const object = readObject<Pod>(kind, root, [], mistakes);
  const { name = '', namespace = '', ...metadata } = object.metadata ?? {};
  // What could not be read has an empty value in its place: that is no second mistake.
  const unreadable = mistakes.map(({ path }) => path);
  const more: Mistake[] = [];
  const own = known[kind];
  checkMetadata({ name, namespace, ...metadata }, each => own.whyNoName(each), placeOf(['metadata'], more));
  own.check(object, placeOf([], more));
  mistakes.push(...more.filter(({ path }) => !unreadable.some(each => isWithin(path, each))));
  const identity = { name, namespace: namespace === '' ? 'default' : namespace };
  return { kind, object, ...identity, document } as ManifestObject;
}

function whyNoKind(kind: string): string {
  const all = manifestKinds.join(', ');
  if (kind === '') return `is missing: one of ${all}`;
  const near = nearest(kind, manifestKinds);
  return `does not take ${kind}: ${near === undefined ? `one of ${all}` : `is ${near} meant?`}`;
}

function checkPod(pod: Pod, place: Place): void {
  const { spec } = defaultPod(pod);
  if (spec) checkPodSpec(spec, pod.metadata?.name ?? '', place.at('spec'));
  else place.at('spec').wrong('is missing');
}
