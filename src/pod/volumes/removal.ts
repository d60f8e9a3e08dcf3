import type { Files } from '../../host/files.ts';
import { transientUnits } from '../../names.ts';
import { mountUnitPrefix, podDirectory, subPathsOf, volumesDirectory } from './places.ts';
import type { VolumeStep } from './step.ts';

/** The units of a pod's mounts whose files are there, whoever knows the pod still. */
export async function mountUnitsThere(uid: string, files: Files): Promise<string[]> {
  const prefix = mountUnitPrefix(uid);
  const names = await files.list(transientUnits);
  return names.filter(name => name.startsWith(prefix) && name.endsWith('.mount'));
}

/**
 * What removes all volumes of a pod whose containers are gone. Directories of claims and paths of the host stay, as does what
 * else lies in the pod's directory. It may be cut off anywhere, and done again.
 */
export function planVolumeRemoval(uid: string, mountUnits: readonly string[]): VolumeStep[] {
  const path = podDirectory(uid);
  const remote = mountUnits.filter(name => name.startsWith(`${mountUnitPrefix(uid)}volumes-nfs-`));
  return [
    // To look at a server that is gone may take for ever.
    ...remote.map((name): VolumeStep => ({ do: 'stop-unit', name })),
    { do: 'unmount-below', path },
    ...mountUnits.map((name): VolumeStep => ({ do: 'remove', path: `${transientUnits}/${name}` })),
    { do: 'remove-tree', path: `${path}/subpaths` },
    { do: 'remove-tree', path: volumesDirectory(uid) },
  ];
}

/** What removes the parts of volumes that a container had, when it is not started again: those of an init container. */
export function planSubPathRemoval(uid: string, container: string): VolumeStep[] {
  const path = subPathsOf(uid, container);
  return [
    { do: 'unmount-below', path },
    { do: 'remove-tree', path },
  ];
}
