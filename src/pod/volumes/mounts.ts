import { dirname } from 'node:path';
import type { Mount, ReadOnly } from '../../engine/container.ts';
import { SpawnletError } from '../../host/error.ts';
import type { Container, Pod, VolumeMount } from '../api/kubernetes.ts';
import { expandVariables, namesWithoutValue } from '../spec/variables/expansion.ts';
import { nameOf, type VolumeFacts } from './facts.ts';
import { subPathsOf } from './places.ts';
import type { VolumeStep } from './step.ts';
import { type PodVolume, volumeOf } from './volume.ts';

export interface MountFacts extends VolumeFacts {
  /** The variables of the container, for subPathExpr. */
  readonly variables: ReadonlyMap<string, string>;
  /** Whether the engine and the kernel make a mount read-only with all that is mounted below it: Linux 5.12. */
  readonly recursiveReadOnly: boolean;
}

/** A volumeMount with what it stands for. */
interface Mounted {
  readonly mount: VolumeMount;
  readonly volume: PodVolume;
  /** Empty for the whole volume. */
  readonly subPath: string;
  /** Where the part is bound that a subPath names. */
  readonly place: string;
}

/**
 * The mounts of a container. Parts of volumes are bound by {@link planSubPaths} before each start of it.
 * @throws ERR_SUBPATH, ERR_VOLUME_READ_ONLY if one cannot be as it is asked for.
 */
export function mountsOf(pod: Pod, container: Container, facts: MountFacts): Mount[] {
  return mountedIn(pod, container, facts).map(({ mount, volume, subPath, place }) => ({
    kind: 'bind',
    source: subPath === '' ? volume.path : place,
    target: mount.mountPath.startsWith('/') ? mount.mountPath : `/${mount.mountPath}`,
    readOnly: readOnlyOf(mount, volume, facts),
    propagation: propagationOf(mount),
  }));
}

/** What binds the parts of volumes that a container has by a subPath; what is bound already, is left. */
export function planSubPaths(pod: Pod, container: Container, facts: MountFacts): VolumeStep[] {
  const parts = mountedIn(pod, container, facts).filter(({ subPath }) => subPath !== '');
  if (parts.length === 0) return [];
  const { uid } = nameOf(pod);
  return [
    { do: 'make-directory', path: dirname(subPathsOf(uid, container.name)), mode: 0o700 },
    { do: 'make-directory', path: subPathsOf(uid, container.name), mode: 0o700 },
    ...parts.map(
      ({ mount, volume, subPath, place }): VolumeStep => ({
        do: 'bind-subpath',
        volume: mount.name,
        root: volume.path,
        subPath,
        path: place,
        make: isWritten(volume),
      }),
    ),
  ];
}

function mountedIn(pod: Pod, container: Container, facts: MountFacts): readonly Mounted[] {
  const { uid } = nameOf(pod);
  return (container.volumeMounts ?? []).map((mount, index) => {
    const volume = pod.spec?.volumes?.find(({ name }) => name === mount.name);
    if (!volume) throw new Error(`the pod has no volume ${mount.name}, and that was not refused`);
    return {
      mount,
      volume: volumeOf(pod, volume, facts),
      subPath: subPathOf(mount, facts.variables),
      place: `${subPathsOf(uid, container.name)}/${index}`,
    };
  });
}

function subPathOf(mount: VolumeMount, variables: ReadonlyMap<string, string>): string {
  const { name, subPath = '', subPathExpr = '' } = mount;
  if (subPathExpr === '') return subPath;
  const refuse = (why: string, hint: string) =>
    new SpawnletError(
      'ERR_SUBPATH',
      `the subPathExpr ${JSON.stringify(subPathExpr)} of volume "${name}" ${why}`,
      {
        hint,
      },
    );
  const [missing] = namesWithoutValue(subPathExpr, variables);
  if (missing !== undefined)
    throw refuse(`has a variable ${missing}, which the container has not`, `add ${missing} to its env`);
  const path = expandVariables(subPathExpr, variable => variables.get(variable));
  const hint = 'look at the values of its variables';
  if (path.startsWith('/')) throw refuse(`is the absolute path ${path}`, hint);
  if (path.split('/').includes('..')) throw refuse(`is ${path}, which has '..' in it`, hint);
  return path;
}

/** Kinds that no container writes to, whatever it asks for. */
const isWritten = (volume: PodVolume): boolean =>
  volume.kind !== 'image' && !('readOnly' in volume && volume.readOnly);

const isReadOnly = (volume: PodVolume): boolean => volume.kind === 'files' || !isWritten(volume);

function readOnlyOf(mount: VolumeMount, volume: PodVolume, facts: MountFacts): ReadOnly {
  const readOnly = mount.readOnly === true || isReadOnly(volume);
  const wanted = mount.recursiveReadOnly ?? 'Disabled';
  if (!readOnly || wanted === 'Disabled') return readOnly;
  if (facts.recursiveReadOnly) return 'recursive';
  if (wanted === 'IfPossible') return true;
  throw new SpawnletError(
    'ERR_VOLUME_READ_ONLY',
    `volume "${mount.name}" is to be read-only recursively, which this host cannot do`,
    { hint: 'recursiveReadOnly: IfPossible; or Linux 5.12 and crun' },
  );
}

function propagationOf({ mountPropagation = 'None' }: VolumeMount): string {
  if (mountPropagation === 'HostToContainer') return 'rslave';
  return mountPropagation === 'Bidirectional' ? 'rshared' : 'rprivate';
}
