import { SpawnletError } from '../host/error.ts';
import type { Credential } from '../image/credentials.ts';
import type { ImageStep } from '../image/executors.ts';
import { formatReference, parseReference } from '../image/reference.ts';
import type { Source } from '../image/source.ts';
import type { Store } from '../image/store.ts';
import type { StoredImage } from '../image/stored-image.ts';
import type { RunRequest } from './request.ts';

export interface ImageAccess {
  store(): Promise<Store>;
  open(reference: string, signal: AbortSignal): Promise<Source>;
  /** Applies one step that changes the store. */
  apply(step: ImageStep, signal: AbortSignal): Promise<void>;
}

/**
 * The image that `run` was asked for: by its name, its ID, or where it lies; from the store, or fetched as `pull` says.
 *
 * @param credential who to be at the registry, instead of whom this host is
 * @throws ERR_IMAGE_NOT_FOUND for `never`, and whatever the pull throws.
 */
export async function imageFor(
  access: ImageAccess,
  reference: string,
  pull: RunRequest['pull'],
  signal: AbortSignal,
  credential?: Credential,
): Promise<{ name: string; image: StoredImage }> {
  const store = await access.store();
  const byId = /^(sha256:)?[0-9a-f]{3,64}$/.test(reference) ? await store.find(reference) : undefined;
  if (byId) return { name: byId.names[0] ?? byId.id, image: byId };
  const name = await nameOf(access, reference, signal);
  const there = pull === 'always' ? undefined : await store.find(name);
  if (there) return { name, image: there };
  if (pull === 'never') {
    throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `there is no image ${name} in the store`, {
      hint: `spawnlet image pull ${reference}`,
    });
  }
  await access.apply({ do: 'pull-image', reference, when: pull, ...(credential && { credential }) }, signal);
  return { name, image: await store.get(name) };
}

/** What the store calls an image: an archive or a layout says it itself. */
async function nameOf(access: ImageAccess, reference: string, signal: AbortSignal): Promise<string> {
  const parsed = parseReference(reference);
  if (parsed.transport === 'docker') return formatReference(parsed);
  await using source = await access.open(reference, signal);
  return source.name;
}
