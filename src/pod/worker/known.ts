import { SpawnletError } from '../../host/error.ts';
import type { Files } from '../../host/files.ts';
import { podsDirectory } from '../../names.ts';
import type { Container, EphemeralContainer, Pod } from '../api/kubernetes.ts';
import { members } from '../status/roles.ts';
import type { PodIdentity } from '../unit/names.ts';
import { type Kept, readKept, readPod } from './kept.ts';

/** A pod of this host as its worker has recorded it; `pod` has the status that was told last. */
export interface KnownPod {
  readonly identity: PodIdentity;
  readonly pod: Pod;
  readonly kept: Kept;
}

export async function knownPod(files: Files, uid: string): Promise<KnownPod | undefined> {
  const [pod, kept] = await Promise.all([readPod(files, uid), readKept(files, uid)]);
  const { name, namespace } = pod?.metadata ?? {};
  if (!pod || !kept || !name || !namespace) return undefined;
  return {
    identity: { uid, name, namespace },
    pod: kept.status ? { ...pod, status: kept.status } : pod,
    kept,
  };
}

/** All pods of this host, by namespace and name. */
export async function knownPods(files: Files): Promise<KnownPod[]> {
  const found = await Promise.all((await files.list(podsDirectory)).map(uid => knownPod(files, uid)));
  const key = ({ identity }: KnownPod) => `${identity.namespace}/${identity.name}`;
  return found.filter(each => each !== undefined).sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/**
 * A pod by its name, or by `pod/NAME`, as `pod apply` tells it. One that is going is told only where no other has the name.
 *
 * @throws ERR_NO_POD
 */
export async function getPod(files: Files, namespace: string, word: string): Promise<KnownPod> {
  const name = word.replace(/^pods?\//, '');
  const pods = (await knownPods(files)).filter(
    ({ identity }) => identity.namespace === namespace && identity.name === name,
  );
  const found = pods.find(({ kept }) => !kept.observed.deletion) ?? pods[0];
  if (found) return found;
  throw new SpawnletError('ERR_NO_POD', `there is no pod ${JSON.stringify(name)} in namespace ${namespace}`, {
    hint: 'spawnlet pod ls -A lists them',
  });
}

/** The same of one that runs. @throws ERR_NO_CONTAINER, ERR_NOT_RUNNING */
export function runningIn(known: KnownPod, name: string | undefined): Container | EphemeralContainer {
  const container = containerIn(known, name);
  const state = known.kept.observed.containers[container.name]?.state.kind;
  if (state === 'running' || state === 'starting') return container;
  const pod = known.identity.name;
  throw new SpawnletError('ERR_NOT_RUNNING', `container ${container.name} of ${pod} is not running`, {
    hint: `spawnlet pod describe ${pod}`,
  });
}

/** A container of a pod; the only one, or that of kubectl's annotation, if none is named. @throws ERR_NO_CONTAINER */
export function containerIn(
  { pod, identity }: KnownPod,
  name: string | undefined,
): Container | EphemeralContainer {
  const all = members(pod).map(({ spec }) => spec);
  const wanted =
    name ??
    pod.metadata?.annotations?.['kubectl.kubernetes.io/default-container'] ??
    pod.spec?.containers[0]?.name;
  const found = all.find(each => each.name === wanted);
  if (found) return found;
  throw new SpawnletError(
    'ERR_NO_CONTAINER',
    `pod ${identity.name} has no container ${JSON.stringify(name)}`,
    {
      hint: `one of ${all.map(each => each.name).join(', ')}`,
    },
  );
}
