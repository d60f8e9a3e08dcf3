import type { Pod } from '../api/kubernetes.ts';
import type { PodFacts } from '../spec/variables/downward.ts';

/** What a claim stands for on this host. */
export type Claim =
  /** A directory of the claim's own. */
  | { readonly kind: 'directory' }
  | { readonly kind: 'nfs'; readonly server: string; readonly path: string; readonly readOnly: boolean };

/** What volumes depend on beyond the pod itself. */
export interface VolumeFacts {
  /** What the pod may be told about itself, and what the node has. */
  readonly pod: PodFacts;
  /** The target that the pod's units belong to: its mounts go with it. */
  readonly target: string;
  /** What the claims of the pod's namespace stand for, by their names. */
  readonly claims: ReadonlyMap<string, Claim>;
  /** Names of layers in the store, lowest first, by the names of image volumes: they have been pulled. */
  readonly images: ReadonlyMap<string, readonly string[]>;
  /** Whether there is an API server that issues tokens. */
  readonly issuesTokens: boolean;
  /** Whether this kernel keeps a tmpfs out of swap when it is told to: Linux 6.4. */
  readonly noswap: boolean;
}

/** A pod as far as it is named. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export function nameOf({ metadata }: Pod): PodName {
  const { namespace = 'default', name = '', uid = '' } = metadata ?? {};
  return { namespace, name, uid };
}
