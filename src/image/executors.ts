import type { Host } from '../host/host.ts';
import type { Executors } from '../host/step.ts';
import type { Credential } from './credentials.ts';
import type { FindInUse, Removed } from './garbage.ts';
import type { Platform } from './manifest.ts';
import type { LayerProgress } from './pull.ts';
import { formatReference, parseReference } from './reference.ts';
import type { Source } from './source.ts';
import type { Store } from './store.ts';
import type { StoredImage } from './stored-image.ts';

/**
 * Changes to the image store. None can be undone, all can be done again, and none is half visible; what one that was
 * killed has left in the store is cleaned up.
 */
export type ImageStep =
  | {
      readonly do: 'pull-image';
      /** As the user wrote it. */
      readonly reference: string;
      /** `missing`: an image of this name will do. `always`: the source is asked what the name stands for. */
      readonly when: 'missing' | 'always';
      readonly platform?: Platform;
      /** Who to be at the registry, instead of whom this host is. It shows itself nowhere: in a journal neither. */
      readonly credential?: Credential;
    }
  /** Names or IDs. */
  | { readonly do: 'remove-image'; readonly images: readonly string[] }
  /** `all`: also images with a name that no container runs from. */
  | { readonly do: 'prune-images'; readonly all: boolean };

export interface ImageDependencies {
  readonly store: Store;
  readonly host: Host;
  readonly open: (reference: string, signal: AbortSignal, credential?: Credential) => Promise<Source>;
  /** What apps run from, asked at the moment when something is to go. */
  readonly inUse: FindInUse;
  readonly progress?: (event: LayerProgress) => void;
  readonly pulled?: (image: StoredImage) => void;
  readonly removed?: (removed: Removed) => void;
}

export function imageExecutors(dependencies: ImageDependencies): Executors<ImageStep> {
  const { store, host, open, inUse, progress, pulled, removed } = dependencies;
  const clean = async (_step: ImageStep, signal: AbortSignal) => store.collect(inUse, signal);
  return {
    'pull-image': {
      clean,
      describe: step => `pull image ${step.reference}${step.when === 'missing' ? ', if it is missing' : ''}`,
      satisfied: async step => {
        if (step.when === 'always') return false;
        const reference = parseReference(step.reference);
        // What an archive holds is known only once it is open.
        return (
          reference.transport === 'docker' && (await store.find(formatReference(reference))) !== undefined
        );
      },
      apply: async (step, signal) => {
        await using source = await open(step.reference, signal, step.credential);
        const { pull } = await import('./pull.ts');
        const options = { ...(step.platform && { platform: step.platform }), ...(progress && { progress }) };
        pulled?.(await pull(store, source, host, options, signal));
      },
    },
    'remove-image': {
      clean,
      describe: step => `remove image ${step.images.join(', ')}`,
      satisfied: async step => {
        for (const image of step.images) if (await store.find(image)) return false;
        return true;
      },
      apply: async (step, signal) => {
        const there: string[] = [];
        for (const image of step.images) if (await store.find(image)) there.push(image);
        removed?.(await store.remove(there, inUse, signal));
      },
    },
    'prune-images': {
      clean,
      describe: step =>
        step.all ? 'remove all images that no container runs from' : 'remove images without a name',
      satisfied: async () => false,
      apply: async (step, signal) => {
        removed?.(await store.prune(step, inUse, signal));
      },
    },
  };
}
