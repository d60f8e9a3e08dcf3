import type { Container, Volume, VolumeMount } from '../../api/kubernetes.ts';
import { whyNoPathBelow } from './names.ts';
import { eachAt, noneTwice, type Place } from './place.ts';

/** The mounts of a container, and its variables that come from a file of a volume. */
export function checkMounts(container: Container, volumes: readonly Volume[], place: Place): void {
  const at = place.at('volumeMounts');
  for (const [mount, own] of eachAt(container.volumeMounts, at)) checkMount(mount, container, volumes, own);
  noneTwice(
    [...eachAt(container.volumeMounts, at)].map(([{ mountPath }, own]) => [mountPath, own.at('mountPath')]),
  );
  for (const [{ valueFrom }, own] of eachAt(container.env, place.at('env'))) {
    const name = valueFrom?.fileKeyRef?.volumeName ?? '';
    if (name === '') continue;
    const volume = volumes.find(each => each.name === name);
    const why = volume ? (volume.emptyDir ? undefined : 'is no emptyDir') : unknownVolume(name, volumes);
    own.at('valueFrom', 'fileKeyRef', 'volumeName').wrong(why);
  }
}

function unknownVolume(name: string, volumes: readonly Volume[]): string {
  const known = volumes.map(volume => volume.name).join(', ');
  return `is no volume of the pod, '${name}': ${known === '' ? 'it has none' : `one of ${known}`}`;
}

function checkMount(
  mount: VolumeMount,
  container: Container,
  volumes: readonly Volume[],
  place: Place,
): void {
  const {
    name,
    mountPath,
    subPath = '',
    subPathExpr = '',
    mountPropagation = 'None',
    recursiveReadOnly,
  } = mount;
  if (name === '') place.at('name').wrong('is missing');
  else if (!volumes.some(volume => volume.name === name))
    place.at('name').wrong(unknownVolume(name, volumes));
  if (mountPath === '') place.at('mountPath').wrong('is missing');
  place.at('subPath').wrong(whyNoPathBelow(subPath));
  place.at('subPathExpr').wrong(whyNoPathBelow(subPathExpr));
  if (subPath !== '' && subPathExpr !== '') place.at('subPathExpr').wrong('may not be there beside subPath');
  if (mountPropagation === 'Bidirectional' && container.securityContext?.privileged !== true)
    place.at('mountPropagation').wrong('takes Bidirectional only in privileged containers');
  if (recursiveReadOnly === undefined || recursiveReadOnly === 'Disabled') return;
  if (mount.readOnly !== true) place.at('recursiveReadOnly').wrong('needs readOnly: true');
  if (mountPropagation !== 'None') place.at('recursiveReadOnly').wrong('needs mountPropagation: None');
}
