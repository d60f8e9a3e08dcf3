import { basename } from 'node:path';
import { podsDirectory, stateDirectory, transientUnits } from '../../names.ts';
import type { Pod, Volume } from '../api/kubernetes.ts';
import { nameOf, type VolumeFacts } from './facts.ts';
import { emptyLayer, mountOfVolume, mountUnit, secretMount } from './mount-unit.ts';
import { mountUnitOf, podDirectory, shelfOf, volumesDirectory } from './places.ts';
import type { VolumeStep, What, WriteVolume } from './step.ts';
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
    ...(own ? ownDirectories(uid) : []),
    ...secretSteps(pod, volumes, facts),
    ...volumes.flatMap(([volume, is]) => stepsOf(pod, volume, is, facts)),
  ];
}

/**
 * The units of a pod's mounts. Its containers' units come after them (`After=`), so that they stop before. They do not require
 * them: that would have PID 1 start what is mounted already, which it may put off.
 */
export function mountUnitsOf(pod: Pod, facts: VolumeFacts): string[] {
  return planVolumes(pod, facts).flatMap(step => (step.do === 'write-file' ? basename(step.path) : []));
}

/** What writes the files of a pod's volumes: they may change while it runs. */
export function filesOf(pod: Pod, facts: VolumeFacts): WriteVolume[] {
  return planVolumes(pod, facts).flatMap(step => (step.do === 'write-volume' ? step : []));
}

const directory = (path: string, mode: number): VolumeStep => ({ do: 'make-directory', path, mode });

/** Nobody but root gets to what lies in them. */
const ownDirectories = (uid: string): readonly VolumeStep[] => [
  ...[stateDirectory, podsDirectory, podDirectory(uid)].map(path => directory(path, 0o700)),
  ownDirectory(volumesDirectory(uid), 0o700),
];

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
  const path = shelfOf(nameOf(pod).uid, 'secret');
  return mountSteps(pod, 'Secrets', path, secretMount(sources.length, facts), facts);
}

/** What a server has may keep one waiting: that is systemd's business. */
function mountSteps(pod: Pod, title: string, path: string, what: What, facts: VolumeFacts): VolumeStep[] {
  const name = mountUnitOf(path);
  return [
    directory(path, 0o755),
    {
      do: 'write-file',
      path: `${transientUnits}/${name}`,
      content: mountUnit(nameOf(pod), title, path, what, facts),
      mode: 0o644,
    },
    what.type === 'nfs' ? { do: 'start-unit', name } : { do: 'mount-volume', path, ...what },
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
      const make = directory(is.path, openMode);
      if (group === undefined || is.readOnly) return [make];
      const isAlways = is.kept && pod.spec?.securityContext?.fsGroupChangePolicy !== 'OnRootMismatch';
      return [make, { do: 'own-volume', path: is.path, group, when: isAlways ? 'always' : 'on-mismatch' }];
    }
    case 'memory':
    case 'nfs':
    case 'image': {
      const what = mountOfVolume(name, is, facts);
      if (!what) return [directory(is.path, 0o755)];
      const isGiven = is.kind === 'memory' && group !== undefined;
      return [
        ...(is.kind === 'image' && is.layers.length === 1 ? [directory(emptyLayer(name.uid), 0o755)] : []),
        ...mountSteps(pod, `Volume ${volume.name}`, is.path, what, facts),
        ...(isGiven ? [{ do: 'own-volume', path: is.path, group, when: 'on-mismatch' } as const] : []),
      ];
    }
  }
}
