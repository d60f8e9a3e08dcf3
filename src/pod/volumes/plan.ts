import { transientUnits } from '../../names.ts';
import type { Pod, Volume } from '../api/kubernetes.ts';
import { nameOf, type VolumeFacts } from './facts.ts';
import { emptyLayer, secretUnit, volumeUnit } from './mount-unit.ts';
import { mountUnitOf, podDirectory, shelfOf, volumesDirectory } from './places.ts';
import type { VolumeStep, WriteVolume } from './step.ts';
import { type PodVolume, volumeOf, volumesInUse } from './volume.ts';

/** A volume of the pod's, by its name, and what it is here. */
type Named = readonly [volume: Volume, is: PodVolume];

/** Everybody's, as Kubernetes has it: what a container runs as is its own affair. */
const openMode = 0o777;

/**
 * What makes a pod's volumes, before its containers: directories, mounts as units of the pod, files. Done again, it changes
 * nothing but files whose objects have changed.
 * @throws SpawnletError if a volume cannot be there: a claim that is missing, a token that nobody issues.
 */
export function planVolumes(pod: Pod, facts: VolumeFacts): VolumeStep[] {
  const volumes = volumesInUse(pod).map((volume): Named => [volume, volumeOf(pod, volume, facts)]);
  const { uid } = nameOf(pod);
  const own = volumes.some(([, { kind }]) => kind !== 'host-path');
  return [
    ...(own ? [directory(podDirectory(uid), 0o700), directory(volumesDirectory(uid), 0o700)] : []),
    ...secretSteps(pod, volumes, facts),
    ...volumes.flatMap(([volume, is]) => stepsOf(pod, volume, is, facts)),
  ];
}

/** The units that mount a pod's volumes: its containers come after them, and need them. */
export function mountUnitsOf(pod: Pod, facts: VolumeFacts): string[] {
  return planVolumes(pod, facts).flatMap(step => (step.do === 'start-unit' ? step.name : []));
}

/** What writes the files of a pod's volumes: they may change while it runs. */
export function filesOf(pod: Pod, facts: VolumeFacts): WriteVolume[] {
  return planVolumes(pod, facts).flatMap(step => (step.do === 'write-volume' ? step : []));
}

const directory = (path: string, mode: number): VolumeStep => ({ do: 'make-directory', path, mode });

/** With all that comes to lie in it. */
const ownDirectory = (path: string, mode: number): VolumeStep => ({
  do: 'make-directory',
  path,
  mode,
  owns: 'everything',
});

/** One tmpfs for the files of all volumes that have something secret: a mount costs more than a directory. */
function secretSteps(pod: Pod, volumes: readonly Named[], facts: VolumeFacts): VolumeStep[] {
  const sources = volumes.flatMap(([, is]) => (is.kind === 'files' && is.secret ? is.sources : []));
  if (sources.length === 0) return [];
  const name = nameOf(pod);
  return mountSteps(shelfOf(name.uid, 'secret'), secretUnit(name, sources.length, facts));
}

/** The mount point is made before: systemd would make it open to all. */
function mountSteps(path: string, unit: string): VolumeStep[] {
  const name = mountUnitOf(path);
  return [
    directory(path, 0o755),
    { do: 'write-file', path: `${transientUnits}/${name}`, content: unit, mode: 0o644 },
    { do: 'start-unit', name },
  ];
}

function stepsOf(pod: Pod, volume: Volume, is: PodVolume, facts: VolumeFacts): VolumeStep[] {
  const name = nameOf(pod);
  const group = pod.spec?.securityContext?.fsGroup;
  switch (is.kind) {
    case 'host-path':
      return [{ do: 'check-host-path', volume: volume.name, path: is.path, type: is.type }];
    case 'files':
      return [
        {
          do: 'write-volume',
          pod: name,
          volume: volume.name,
          path: is.path,
          sources: is.sources,
          group,
          secret: is.secret,
        },
      ];
    case 'directory': {
      const make = is.kept ? directory(is.path, openMode) : ownDirectory(is.path, openMode);
      if (group === undefined || is.readOnly) return [make];
      const isAlways = is.kept && pod.spec?.securityContext?.fsGroupChangePolicy !== 'OnRootMismatch';
      return [make, { do: 'own-volume', path: is.path, group, when: isAlways ? 'always' : 'on-mismatch' }];
    }
    case 'memory':
    case 'nfs':
    case 'image': {
      const unit = volumeUnit(name, volume.name, is, facts);
      if (unit === undefined) return [directory(is.path, 0o755)];
      const isGiven = is.kind === 'memory' && group !== undefined;
      return [
        ...(is.kind === 'image' && is.layers.length === 1 ? [directory(emptyLayer(name.uid), 0o755)] : []),
        ...mountSteps(is.path, unit),
        ...(isGiven ? [{ do: 'own-volume', path: is.path, group, when: 'on-mismatch' } as const] : []),
      ];
    }
  }
}
