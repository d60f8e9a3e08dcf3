import type { Files } from '../../host/files.ts';
import type { Pod, PodStatus } from '../api/kubernetes.ts';
import type { PodEvent } from '../status/events.ts';
import type { ContainerObserved, Observed } from '../status/observed.ts';
import { directoryOf } from '../unit/names.ts';

/**
 * What the worker of a pod has decided and seen, in the pod's directory: written before each effect, so that the next worker
 * goes on from it, whenever this one is killed.
 */
export interface Kept {
  readonly version: 1;
  /** Of /proc/sys/kernel/random/boot_id: nothing that ran in another boot is believed to run. */
  readonly boot: string;
  readonly observed: Observed;
  /** Written with what they tell of: an agent that is killed tells nothing twice, and forgets nothing. */
  readonly events?: readonly PodEvent[];
  /** As it was told last. */
  readonly status?: PodStatus;
  /** Units, network and volumes are gone for good. */
  readonly finished?: true;
}

const file = (uid: string, name: 'pod.json' | 'state.json'): string => `${directoryOf(uid)}/${name}`;

/** A file that a crash of the machine has cut short is none. */
function parse<T>(text: string | undefined): T | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as T);
  } catch {
    return undefined;
  }
}

export async function readKept(files: Files, uid: string): Promise<Kept | undefined> {
  const kept = parse<Kept>(await files.read(file(uid, 'state.json')));
  return kept?.version === 1 ? kept : undefined;
}

/** Whether a worker has recorded anything of that pod. */
export const hasKept = async (files: Files, uid: string): Promise<boolean> =>
  (await files.look(file(uid, 'state.json'))) !== undefined;

export const writeKept = (files: Files, uid: string, kept: Kept): Promise<void> =>
  files.write(file(uid, 'state.json'), JSON.stringify(kept), 0o600);

/** The pod of a directory, as it was when its worker began. */
export const readPod = async (files: Files, uid: string): Promise<Pod | undefined> =>
  parse<Pod>(await files.read(file(uid, 'pod.json')));

export async function writePod(files: Files, uid: string, pod: Pod): Promise<void> {
  await files.makeDirectory(directoryOf(uid), 0o700);
  await files.write(file(uid, 'pod.json'), JSON.stringify(pod), 0o600);
}

const never: ContainerObserved = { state: { kind: 'waiting' } };

/** With something else known of one container; the same if it is not. */
export function withContainer(
  observed: Observed,
  name: string,
  change: (container: ContainerObserved) => ContainerObserved,
): Observed {
  const container = observed.containers[name] ?? never;
  const changed = change(container);
  return changed === container
    ? observed
    : { ...observed, containers: { ...observed.containers, [name]: changed } };
}
