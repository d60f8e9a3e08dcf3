import type { ObjectMeta } from '../../api/kubernetes.ts';
import { whyNoLabel, whyNoQualifiedName, whyNoSubdomain } from './names.ts';
import type { Place } from './place.ts';
import { checkLabels } from './placement.ts';

/** Characters of all annotations of an object together. */
const mostAnnotations = 256 * 1024;

/** What an object of a manifest says of itself. Some kinds have names that are shorter than others. */
export function checkMetadata(
  metadata: ObjectMeta,
  whyNoName: (name: string) => string | undefined,
  place: Place,
): void {
  const { name = '', generateName = '', namespace = '' } = metadata;
  const isUnnamed = name === '' && generateName !== '';
  place
    .at('name')
    .wrong(isUnnamed ? 'is missing: generateName gives another one each time' : whyNoName(name));
  if (namespace !== '') place.at('namespace').wrong(whyNoLabel(namespace));
  checkTemplateMetadata(metadata, place);
}

/** The metadata of pods that are made of a template. */
export function checkTemplateMetadata({ labels, annotations = {} }: ObjectMeta, place: Place): void {
  checkLabels(labels, place.at('labels'));
  for (const key of Object.keys(annotations))
    place.at('annotations', key).wrong(whyNoQualifiedName(key.toLowerCase()));
  const size = Object.entries(annotations).reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  if (size > mostAnnotations) place.at('annotations').wrong('are longer than 256 KiB together');
}

/** A number and - come behind the name, and the whole is the value of a label. */
export const whyNoControllerName = (name: string) =>
  whyNoSubdomain(name) ?? (name.length > 52 ? 'is longer than 52 characters' : undefined);
