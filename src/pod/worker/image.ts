import { imageFor } from '../../app/image.ts';
import { messageOf, SpawnletError } from '../../host/error.ts';
import { type Credential, findCredential } from '../../image/credentials.ts';
import { parseReference, type RegistryReference } from '../../image/reference.ts';
import type { Pod } from '../api/kubernetes.ts';
import { credentialsFor, pullSecretsOf } from '../container/pull-secrets.ts';
import { goDuration } from '../status/time.ts';
import type { WorkerDependencies } from './dependencies.ts';

/** Images of a pod, with the pod's own credentials; what happens is told in the kubelet's words. */

export type PullPolicy = 'Always' | 'IfNotPresent' | 'Never';

/** Takes an event of the pod. */
export type Tell = (type: 'Normal' | 'Warning', reason: string, message: string) => void;

export interface ImageRequest {
  readonly image: string;
  readonly policy: PullPolicy;
  readonly tell: Tell;
}

type Found = Awaited<ReturnType<typeof imageFor>>;

/**
 * The image of a container or a volume, from the store or fetched as the policy says.
 *
 * @param tell told of a pull, and of what goes wrong with its credentials
 * @throws ERR_REFERENCE, ERR_IMAGE_NEVER_PULL, ERR_IMAGE_PULL
 */
export async function podImage(
  deps: WorkerDependencies,
  pod: Pod,
  { image, policy, tell }: ImageRequest,
  signal: AbortSignal,
): Promise<Found & { readonly isFetched: boolean }> {
  const reference = parseReference(image);
  const there = await storedImage(deps, image, policy, signal);
  if (there) return { ...there, isFetched: false };
  const { clock } = deps.host;
  const begin = clock.now();
  tell('Normal', 'Pulling', `Pulling image ${JSON.stringify(image)}`);
  try {
    const found = await pulled(deps, pod, image, reference, tell, signal);
    const time = goDuration(clock.now() - begin);
    const message = `Successfully pulled image ${JSON.stringify(image)} in ${time} (${time} including waiting).`;
    tell('Normal', 'Pulled', message);
    return { ...found, isFetched: true };
  } catch (cause) {
    signal.throwIfAborted();
    throw new SpawnletError('ERR_IMAGE_PULL', `Failed to pull image "${image}": ${messageOf(cause)}`, {
      cause,
      ...(cause instanceof SpawnletError && cause.hint && { hint: cause.hint }),
    });
  }
}

/** What the store has, if that will do. @throws ERR_IMAGE_NEVER_PULL */
async function storedImage(
  deps: WorkerDependencies,
  image: string,
  policy: PullPolicy,
  signal: AbortSignal,
): Promise<Found | undefined> {
  if (policy === 'Always') return undefined;
  try {
    return await imageFor(deps, image, 'never', signal);
  } catch (cause) {
    if (!(cause instanceof SpawnletError && cause.code === 'ERR_IMAGE_NOT_FOUND')) throw cause;
    if (policy === 'IfNotPresent') return undefined;
    throw new SpawnletError(
      'ERR_IMAGE_NEVER_PULL',
      `Container image "${image}" is not present with pull policy of Never`,
      { cause, hint: `spawnlet image pull ${image}` },
    );
  }
}

/** Each of the pod's credentials that are good for the image, then this host's own, until one is let in. */
async function pulled(
  deps: WorkerDependencies,
  pod: Pod,
  image: string,
  reference: ReturnType<typeof parseReference>,
  tell: Tell,
  signal: AbortSignal,
): Promise<Found> {
  const tries =
    reference.transport === 'docker' ? await credentialsOf(deps, pod, reference, tell, signal) : [];
  let failure: unknown;
  for (const credential of tries.length > 0 ? tries : [undefined]) {
    try {
      return await imageFor(deps, image, 'always', signal, credential);
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
      if (!(error instanceof SpawnletError && error.code === 'ERR_UNAUTHORIZED')) break;
    }
  }
  throw failure;
}

async function credentialsOf(
  deps: WorkerDependencies,
  pod: Pod,
  { registry, repository }: RegistryReference,
  tell: Tell,
  signal: AbortSignal,
): Promise<Credential[]> {
  const { host, objects } = deps;
  const { found, missing } = pullSecretsOf(pod, name =>
    objects.secret(pod.metadata?.namespace ?? 'default', name),
  );
  if (missing.length > 0)
    tell(
      'Warning',
      'FailedToRetrieveImagePullSecret',
      `Unable to retrieve some image pull secrets (${missing.join(', ')}); attempting to pull the image may not succeed.`,
    );
  const own = credentialsFor(found, `${registry}/${repository}`);
  if (own.length === 0) return [];
  const { files, children } = host;
  const ofHost = await findCredential(registry, repository, { files, children, env: process.env }, signal);
  return ofHost ? [...own, ofHost] : own;
}
