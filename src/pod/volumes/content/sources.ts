/** What the files of configMap, secret, downwardAPI and projected volumes come from, decided but for the content. */
import { SpawnletError } from '../../../host/error.ts';
import type {
  DownwardAPIVolumeFile,
  KeyToPath,
  Pod,
  Volume,
  VolumeProjection,
} from '../../api/kubernetes.ts';
import { containerResource, podField } from '../../spec/variables/downward.ts';
import type { VolumeFacts } from '../facts.ts';

/** A file of an object's key. */
export interface Item {
  readonly key: string;
  readonly path: string;
  readonly mode: number;
}

export type Source =
  | {
      readonly kind: 'config-map' | 'secret';
      readonly name: string;
      /** Whether the object, or a key that is named, may be missing. */
      readonly optional: boolean;
      /** Without it every key is a file of its name, with this mode. */
      readonly items: readonly Item[] | { readonly mode: number };
    }
  /** What the pod is told about itself. */
  | { readonly kind: 'text'; readonly path: string; readonly mode: number; readonly text: string }
  | {
      readonly kind: 'token';
      readonly path: string;
      readonly mode: number;
      /** Who owns it: the user that all containers run as, if it is the same. */
      readonly uid: number;
      /** Empty for the API server itself. */
      readonly audience: string;
      readonly seconds: number;
    };

const defaultMode = 0o644;
const defaultSeconds = 3600;

/** The sources of a volume that is made of files; undefined for any other. */
export function sourcesOf(pod: Pod, volume: Volume, facts: VolumeFacts): readonly Source[] | undefined {
  const { configMap, secret, downwardAPI, projected } = volume;
  if (configMap) return [objectSource('config-map', configMap.name, configMap, configMap.defaultMode)];
  if (secret) return [objectSource('secret', secret.secretName, secret, secret.defaultMode)];
  if (downwardAPI) return toldSources(pod, downwardAPI.items, downwardAPI.defaultMode, facts);
  return projected?.sources?.flatMap(source =>
    projectedSources(pod, volume.name, source, projected.defaultMode, facts),
  );
}

/** Whether sources have something that must not reach a disk. */
export const areSecret = (sources: readonly Source[]): boolean =>
  sources.some(({ kind }) => kind !== 'config-map');

function projectedSources(
  pod: Pod,
  volume: string,
  source: VolumeProjection,
  mode: number | undefined,
  facts: VolumeFacts,
): readonly Source[] {
  const { configMap, secret, downwardAPI, serviceAccountToken: token } = source;
  if (configMap) return [objectSource('config-map', configMap.name, configMap, mode)];
  if (secret) return [objectSource('secret', secret.name, secret, mode)];
  if (downwardAPI) return toldSources(pod, downwardAPI.items, mode, facts);
  if (!token) throw new Error(`a source of the volume ${volume} is of no known kind, and was not refused`);
  if (!facts.issuesTokens)
    throw new SpawnletError(
      'ERR_VOLUME_TOKEN',
      `volume "${volume}": a serviceAccountToken is issued by an API server, and this node has none`,
      { hint: 'take the source out, or set automountServiceAccountToken: false' },
    );
  const uid = fileUserOf(pod);
  const isOwned = uid !== undefined || pod.spec?.securityContext?.fsGroup !== undefined;
  return [
    {
      kind: 'token',
      path: token.path,
      mode: isOwned ? 0o600 : (mode ?? defaultMode),
      uid: uid ?? 0,
      audience: token.audience ?? '',
      seconds: token.expirationSeconds ?? defaultSeconds,
    },
  ];
}

function objectSource(
  kind: 'config-map' | 'secret',
  name: string | undefined,
  { items, optional }: { readonly items?: readonly KeyToPath[]; readonly optional?: boolean },
  mode = defaultMode,
): Source {
  const named = items?.map(item => ({ key: item.key, path: item.path, mode: item.mode ?? mode }));
  return { kind, name: name ?? '', optional: optional ?? false, items: named?.length ? named : { mode } };
}

const toldSources = (
  pod: Pod,
  items: readonly DownwardAPIVolumeFile[] = [],
  mode = defaultMode,
  facts: VolumeFacts,
): readonly Source[] =>
  items.map(item => ({
    kind: 'text',
    path: item.path,
    mode: item.mode ?? mode,
    text: toldText(pod, item, facts),
  }));

function toldText(pod: Pod, { path, fieldRef, resourceFieldRef }: DownwardAPIVolumeFile, facts: VolumeFacts) {
  if (fieldRef) return podField(pod, fieldRef.fieldPath, facts.pod);
  const [any] = pod.spec?.containers ?? [];
  const value = any && resourceFieldRef && containerResource(pod, any, resourceFieldRef, facts.pod);
  if (value !== undefined) return value;
  throw new SpawnletError(
    'ERR_VOLUME_CONTENT',
    `the file ${path} tells of a container "${resourceFieldRef?.containerName}", which the pod does not have`,
    { hint: 'name a container of the pod in containerName' },
  );
}

/** The user that all containers run as; undefined if it is not the same, or if one leaves it to its image. */
function fileUserOf({ spec }: Pod): number | undefined {
  const users = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].map(
    ({ securityContext }) => securityContext?.runAsUser ?? spec?.securityContext?.runAsUser,
  );
  return users.every(user => user === users[0]) ? users[0] : undefined;
}
