import type {
  Container,
  EnvFromSource,
  EnvVar,
  EnvVarSource,
  ResourceFieldSelector,
} from '../../api/kubernetes.ts';
import { formatQuantity, quantityOf } from '../quantity.ts';
import { fileFields, subscripted, variableFields } from '../variables/downward.ts';
import {
  whyClimbing,
  whyNoKey,
  whyNoLabel,
  whyNoQualifiedName,
  whyNoSubdomain,
  whyNoVariable,
} from './names.ts';
import { eachAt, type Place } from './place.ts';

export function checkVariables({ env, envFrom }: Pick<Container, 'env' | 'envFrom'>, place: Place): void {
  for (const [variable, at] of eachAt(env, place.at('env'))) checkVariable(variable, at);
  for (const [source, at] of eachAt(envFrom, place.at('envFrom'))) checkSource(source, at);
}

function checkVariable({ name, value = '', valueFrom }: EnvVar, place: Place): void {
  place.at('name').wrong(whyNoVariable(name));
  if (valueFrom === undefined) return;
  const at = place.at('valueFrom');
  const sources = Object.keys(valueFrom);
  if (sources.length !== 1)
    at.wrong('takes one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef');
  else if (value !== '') at.wrong('may not be there beside a value');
  checkReference(valueFrom, at);
}

function checkReference(from: EnvVarSource, place: Place): void {
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef } = from;
  if (fieldRef) place.at('fieldRef', 'fieldPath').wrong(whyNoField(fieldRef.fieldPath, variableFields));
  if (resourceFieldRef) checkResourceField(resourceFieldRef, place.at('resourceFieldRef'));
  for (const [name, reference] of Object.entries({ configMapKeyRef, secretKeyRef })) {
    if (reference === undefined) continue;
    place.at(name, 'name').wrong(whyNoSubdomain(reference.name ?? ''));
    place.at(name, 'key').wrong(whyNoKey(reference.key));
  }
  if (fileKeyRef === undefined) return;
  const at = place.at('fileKeyRef');
  at.at('key').wrong(whyNoVariable(fileKeyRef.key));
  at.at('volumeName').wrong(whyNoLabel(fileKeyRef.volumeName));
  at.at('path').wrong(fileKeyRef.path === '' ? 'is missing' : whyClimbing(fileKeyRef.path));
}

function checkSource({ prefix = '', configMapRef, secretRef }: EnvFromSource, place: Place): void {
  if (prefix !== '') place.at('prefix').wrong(whyNoVariable(prefix));
  if ((configMapRef === undefined) === (secretRef === undefined))
    place.wrong('takes one of configMapRef, secretRef');
  if (configMapRef) place.at('configMapRef', 'name').wrong(whyNoSubdomain(configMapRef.name ?? ''));
  if (secretRef) place.at('secretRef', 'name').wrong(whyNoSubdomain(secretRef.name ?? ''));
}

/** Why a field of the pod is none that can be told, in a variable or in a file. */
export function whyNoField(path: string, fields: readonly string[]): string | undefined {
  const [map, key = ''] = subscripted(path) ?? [];
  const known = [
    ...fields,
    ...(fields === fileFields ? [] : ["metadata.labels['KEY']", "metadata.annotations['KEY']"]),
  ];
  if (map === 'metadata.labels') return whyNoQualifiedName(key);
  if (map === 'metadata.annotations') return whyNoQualifiedName(key.toLowerCase());
  if (
    map === undefined &&
    (fields.includes(path) || (path === 'spec.host' && fields.includes('spec.nodeName')))
  )
    return undefined;
  return path === '' ? 'is missing' : `does not take '${path}': one of ${known.join(', ')}`;
}

const units = ['', 'k', 'M', 'G', 'T', 'P', 'E', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'].map(unit => `1${unit}`);
const resourceNames = ['cpu', 'memory', 'ephemeral-storage'];

export function checkResourceField({ resource, divisor = '0' }: ResourceFieldSelector, place: Place): void {
  const [kind = '', ...rest] = resource.split('.');
  const name = rest.join('.');
  const isKnown = resourceNames.includes(name) || name.startsWith('hugepages-');
  if (!['limits', 'requests'].includes(kind) || !isKnown) {
    const known = ['limits', 'requests'].flatMap(each => resourceNames.map(one => `${each}.${one}`));
    place
      .at('resource')
      .wrong(resource === '' ? 'is missing' : `does not take '${resource}': one of ${known.join(', ')}`);
    return;
  }
  const taken = name === 'cpu' ? ['1', '1m'] : units;
  const written = formatQuantity(quantityOf(divisor));
  if (written !== '0' && !taken.includes(written))
    place.at('divisor').wrong(`does not take '${divisor}': one of ${taken.join(', ')}`);
}
