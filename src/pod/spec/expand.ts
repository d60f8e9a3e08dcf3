/** What a host has to run, of the objects of all its manifests. */
import { SpawnletError } from '../../host/error.ts';
import {
  type ConfigMap,
  kinds,
  type ObjectMeta,
  type PersistentVolumeClaim,
  type Pod,
  type Secret,
} from '../api/kubernetes.ts';
import { podUid, uidOf } from './controllers/identity.ts';
import { podsOf } from './controllers/templates.ts';
import { defaultClaim } from './defaults/volumes.ts';
import { defaultPod } from './defaults.ts';
import { type PodEngine, podEngineOf } from './engine-limits.ts';
import type { ManifestKind, ManifestObject } from './validate.ts';

/** A pod that is to be there. */
export interface DesiredPod {
  /** Complete but for its status: with its UID and all that Kubernetes decides for a pod. */
  readonly pod: Pod;
  /** The object that asks for it: what `rm KIND/NAME` names. */
  readonly owner: { readonly kind: ManifestKind; readonly name: string; readonly namespace: string };
  readonly file: string;
}

export interface Desired {
  readonly pods: readonly DesiredPod[];
  /** By `NAMESPACE/NAME`. */
  readonly configMaps: ReadonlyMap<string, ConfigMap>;
  /** By `NAMESPACE/NAME`; what was written as text is in `data`, too. */
  readonly secrets: ReadonlyMap<string, Secret>;
  /** By `NAMESPACE/NAME`; with those of stateful sets and of ephemeral volumes. */
  readonly claims: ReadonlyMap<string, PersistentVolumeClaim>;
}

/** Where a pod of a file came from; the first two are the kubelet's own. */
export const annotations = {
  hash: 'kubernetes.io/config.hash',
  source: 'kubernetes.io/config.source',
  manifest: 'spawnlet.io/manifest',
};

/**
 * The pods of objects, with stable names, and what they refer to.
 *
 * @param fallback who runs the pods that name nobody
 * @throws ERR_MANIFEST if two objects ask for pods or claims of one name
 */
export function expand(
  objects: readonly ManifestObject[],
  nodeName: string,
  fallback: PodEngine = 'crun',
): Desired {
  const pods = new Map<string, DesiredPod & { readonly from: ManifestObject }>();
  const claims = new Map<string, PersistentVolumeClaim>();
  const written = objects.filter(each => each.kind === 'PersistentVolumeClaim');
  for (const { object, ...own } of written) claims.set(keyOf(own), claimOf(object, own));
  for (const each of objects) {
    const made = podsOf(each);
    for (const pod of made.pods) {
      const desired = desiredPod(withEngine(pod, fallback), each, nodeName);
      const key = keyOf(pod.metadata ?? {});
      const other = pods.get(key);
      if (other) throw twice(`the pod ${pod.metadata?.name}`, each, other.from);
      pods.set(key, { ...desired, from: each });
      for (const claim of ephemeralClaims(desired.pod)) {
        const taken = written.find(own => keyOf(own) === keyOf(claim.metadata ?? {}));
        if (taken) throw twice(`the claim ${claim.metadata?.name} of an ephemeral volume`, each, taken);
        claims.set(keyOf(claim.metadata ?? {}), claim);
      }
    }
    // One that is written out, or was made before, is the one that is meant.
    for (const claim of made.claims) {
      const key = keyOf(claim.metadata ?? {});
      if (!claims.has(key))
        claims.set(key, claimOf(claim, { name: '', namespace: 'default', ...claim.metadata }));
    }
  }
  return {
    pods: [...pods.values()].map(({ from: _from, ...desired }) => desired),
    configMaps: new Map(
      objects.flatMap(each => (each.kind === 'ConfigMap' ? [[keyOf(each), configMapOf(each)]] : [])),
    ),
    secrets: new Map(
      objects.flatMap(each => (each.kind === 'Secret' ? [[keyOf(each), secretOf(each)]] : [])),
    ),
    claims,
  };
}

/**
 * Who runs a pod is a part of it, so that another default makes another pod of it. One of the host's programs has the host's
 * network.
 */
function withEngine(pod: Pod, fallback: PodEngine): Pod {
  const engine = podEngineOf(pod.spec, fallback);
  if (!pod.spec || engine === 'crun') return pod;
  const network = engine === 'host' ? { hostNetwork: true } : {};
  return { ...pod, spec: { ...pod.spec, runtimeClassName: engine, ...network } };
}

const keyOf = ({ namespace = 'default', name = '' }: ObjectMeta) => `${namespace}/${name}`;

const placeOf = ({ document }: ManifestObject) => `${document.file}:${document.lineOf(['metadata', 'name'])}`;

const twice = (what: string, one: ManifestObject, other: ManifestObject) =>
  new SpawnletError(
    'ERR_MANIFEST',
    `${placeOf(one)}: ${one.kind} ${one.name} makes ${what}, which is asked for at ${placeOf(other)}, too`,
    { hint: 'nothing was changed: give one of them another name' },
  );

function desiredPod(pod: Pod, from: ManifestObject, nodeName: string): DesiredPod {
  const { kind, name, namespace, document } = from;
  const uid = podUid(pod, { file: document.file, nodeName });
  const own = kind === 'Pod' ? {} : { ownerReferences: [ownerOf(from, nodeName)] };
  const metadata: ObjectMeta = {
    ...pod.metadata,
    ...own,
    uid,
    annotations: {
      ...pod.metadata?.annotations,
      [annotations.hash]: uid,
      [annotations.source]: 'file',
      [annotations.manifest]: document.file,
    },
  };
  const complete = defaultPod({ ...pod, metadata });
  // Nothing takes a pod of a file from its node.
  const stays = { operator: 'Exists', effect: 'NoExecute' };
  const spec = complete.spec && {
    ...complete.spec,
    nodeName,
    tolerations: [...(complete.spec.tolerations ?? []), stays],
  };
  return {
    pod: { ...complete, ...(spec && { spec }) },
    owner: { kind, name, namespace },
    file: document.file,
  };
}

function ownerOf({ kind, name, namespace, document }: ManifestObject, nodeName: string) {
  const uid = uidOf({ file: document.file, nodeName }, kind, namespace, name);
  return { apiVersion: kinds[kind], kind, name, uid, controller: true, blockOwnerDeletion: true };
}

/** Claims that come and go with their pod. */
function ephemeralClaims({ metadata = {}, spec }: Pod): readonly PersistentVolumeClaim[] {
  return (spec?.volumes ?? []).flatMap(({ name, ephemeral }) => {
    const template = ephemeral?.volumeClaimTemplate;
    if (template === undefined) return [];
    const { name: podName = '', namespace = 'default', uid = '' } = metadata;
    const owner = {
      apiVersion: 'v1',
      kind: 'Pod',
      name: podName,
      uid,
      controller: true,
      blockOwnerDeletion: true,
    };
    const named = { name: `${podName}-${name}`, namespace };
    return [claimOf({ ...template, metadata: { ...template.metadata, ownerReferences: [owner] } }, named)];
  });
}

interface Named {
  readonly name: string;
  readonly namespace: string;
}

function claimOf(
  { metadata, spec }: PersistentVolumeClaim,
  { name, namespace }: Named,
): PersistentVolumeClaim {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { ...metadata, name, namespace },
    ...(spec && { spec: defaultClaim(spec) }),
  };
}

function configMapOf({ object, name, namespace }: Extract<ManifestObject, { kind: 'ConfigMap' }>): ConfigMap {
  return { ...object, metadata: { ...object.metadata, name, namespace } };
}

/** What is written as text goes before what is written as base64, as the API server has it. */
function secretOf({ object, name, namespace }: Extract<ManifestObject, { kind: 'Secret' }>): Secret {
  const { stringData = {}, data, type = 'Opaque', ...rest } = object;
  const encoded = Object.entries(stringData).map(
    ([key, text]) => [key, Buffer.from(text).toString('base64')] as const,
  );
  return {
    ...rest,
    metadata: { ...object.metadata, name, namespace },
    type: type === '' ? 'Opaque' : type,
    data: { ...data, ...Object.fromEntries(encoded) },
  };
}
