import type {
  DownwardAPIVolumeFile,
  EmptyDirVolumeSource,
  KeyToPath,
  Volume,
  VolumeProjection,
} from '../../api/kubernetes.ts';
import { fieldsOf } from '../../api/kubernetes.ts';
import { supportOf } from '../fields.ts';
import { quantityOf } from '../quantity.ts';
import { fileFields } from '../variables/downward.ts';
import { checkClaim } from './claims.ts';
import { whyClimbing, whyNoFile, whyNoLabel, whyNoMode, whyNoSubdomain } from './names.ts';
import { eachAt, noneTwice, type Place } from './place.ts';
import { checkResourceField, whyNoField } from './variables.ts';

export function checkVolumes(volumes: readonly Volume[], podName: string, place: Place): void {
  for (const [volume, at] of eachAt(volumes, place)) checkVolume(volume, podName, at);
  noneTwice([...eachAt(volumes, place)].map(([{ name }, at]) => [name, at.at('name')]));
}

/** What a volume may be of. */
const kinds = [...fieldsOf('Volume').keys()].filter(
  name => name !== 'name' && supportOf('Volume', name).kind === 'works',
);

function checkVolume(volume: Volume, podName: string, place: Place): void {
  place.at('name').wrong(whyNoLabel(volume.name));
  const given = kinds.filter(kind => Object.hasOwn(volume, kind));
  if (given.length > 1) place.wrong(`is of one kind, not of ${given.join(' and ')}`);
  const {
    configMap,
    downwardAPI,
    emptyDir,
    ephemeral,
    hostPath,
    image,
    nfs,
    persistentVolumeClaim,
    projected,
    secret,
  } = volume;
  if (emptyDir) checkEmptyDir(emptyDir, place.at('emptyDir'));
  if (hostPath) place.at('hostPath', 'path').wrong(whyNoPlace(hostPath.path) ?? whyClimbing(hostPath.path));
  if (configMap) {
    place.at('configMap', 'name').wrong(whyNoSubdomain(configMap.name ?? ''));
    checkFiles(configMap, place.at('configMap'));
  }
  if (secret) {
    place.at('secret', 'secretName').wrong(whyNoSubdomain(secret.secretName ?? ''));
    checkFiles(secret, place.at('secret'));
  }
  if (downwardAPI) checkTold(downwardAPI, place.at('downwardAPI'));
  if (projected) {
    place.at('projected', 'defaultMode').wrong(whyNoMode(projected.defaultMode));
    for (const [source, at] of eachAt(projected.sources, place.at('projected', 'sources')))
      checkProjection(source, at);
    noneTwice(projectedPaths(projected.sources, place.at('projected', 'sources')));
  }
  if (nfs) {
    if (nfs.server === '') place.at('nfs', 'server').wrong('is missing');
    place.at('nfs', 'path').wrong(whyNoPlace(nfs.path));
  }
  if (persistentVolumeClaim)
    place.at('persistentVolumeClaim', 'claimName').wrong(whyNoSubdomain(persistentVolumeClaim.claimName));
  if (image && (image.reference ?? '') === '') place.at('image', 'reference').wrong('is missing');
  if (!ephemeral) return;
  const at = place.at('ephemeral', 'volumeClaimTemplate');
  if (ephemeral.volumeClaimTemplate) checkClaim(ephemeral.volumeClaimTemplate.spec, at.at('spec'));
  else at.wrong('is missing');
  const claim = `${podName}-${volume.name}`;
  if (podName !== '' && whyNoSubdomain(claim) !== undefined)
    place.at('name').wrong(`makes a claim of the name ${claim}, which is no name`);
}

function whyNoPlace(path: string): string | undefined {
  if (path === '') return 'is missing';
  return path.startsWith('/') ? undefined : `does not take '${path}': an absolute path`;
}

function checkEmptyDir({ medium = '', sizeLimit }: EmptyDirVolumeSource, place: Place): void {
  if (!/^(?:Memory|HugePages(?:-[1-9]\d*[KMG]i)?)?$/.test(medium))
    place
      .at('medium')
      .wrong(`does not take '${medium}': one of Memory, HugePages, HugePages-2Mi, or nothing for a disk`);
  if (sizeLimit !== undefined && quantityOf(sizeLimit).nano < 0n)
    place.at('sizeLimit').wrong(`does not take ${sizeLimit}: a size of at least 0`);
}

/** What a volume of keys or of fields of the pod has in common. */
interface Files<T> {
  readonly defaultMode?: number;
  readonly items?: readonly T[];
}

function checkFiles({ defaultMode, items }: Files<KeyToPath>, place: Place): void {
  place.at('defaultMode').wrong(whyNoMode(defaultMode));
  for (const [item, at] of eachAt(items, place.at('items'))) {
    if (item.key === '') at.at('key').wrong('is missing');
    at.at('path').wrong(whyNoFile(item.path));
    at.at('mode').wrong(whyNoMode(item.mode));
  }
}

function checkTold({ defaultMode, items }: Files<DownwardAPIVolumeFile>, place: Place): void {
  place.at('defaultMode').wrong(whyNoMode(defaultMode));
  for (const [{ path, mode, fieldRef, resourceFieldRef }, at] of eachAt(items, place.at('items'))) {
    at.at('path').wrong(whyNoFile(path));
    at.at('mode').wrong(whyNoMode(mode));
    if ((fieldRef === undefined) === (resourceFieldRef === undefined))
      at.wrong('takes one of fieldRef, resourceFieldRef');
    if (fieldRef) at.at('fieldRef', 'fieldPath').wrong(whyNoField(fieldRef.fieldPath, fileFields));
    if (!resourceFieldRef) continue;
    checkResourceField(resourceFieldRef, at.at('resourceFieldRef'));
    if ((resourceFieldRef.containerName ?? '') === '')
      at.at('resourceFieldRef', 'containerName').wrong('is missing');
  }
}

function checkProjection(source: VolumeProjection, place: Place): void {
  const { configMap, downwardAPI, secret, serviceAccountToken: token } = source;
  if (Object.keys(source).length > 1) place.wrong('is of one kind: make a source of each');
  for (const [kind, each] of Object.entries({ configMap, secret })) {
    if (each === undefined) continue;
    place.at(kind, 'name').wrong(whyNoSubdomain(each.name ?? ''));
    checkFiles(each, place.at(kind));
  }
  if (downwardAPI) checkTold(downwardAPI, place.at('downwardAPI'));
  if (token)
    place.at('serviceAccountToken').wrong('needs an API server, which issues tokens to pods that it knows');
}

/** The files that are named by the sources of one directory. */
function* projectedPaths(sources: readonly VolumeProjection[] | undefined, place: Place) {
  for (const [{ configMap, downwardAPI, secret }, at] of eachAt(sources, place)) {
    for (const [kind, each] of Object.entries({ configMap, downwardAPI, secret })) {
      for (const [item, itemAt] of eachAt<{ path: string }>(each?.items, at.at(kind, 'items')))
        yield [item.path, itemAt.at('path')] as const;
    }
  }
}
