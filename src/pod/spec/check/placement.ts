/** What only a scheduler acts on, and yet has to be what it takes. */
import type {
  Affinity,
  LabelSelector,
  NodeSelectorTerm,
  PodAffinityTerm,
  PodSpec,
  Toleration,
  TopologySpreadConstraint,
} from '../../api/kubernetes.ts';
import { whyNoLabel, whyNoLabelValue, whyNoQualifiedName, whyNotWithin } from './names.ts';
import { eachAt, noneTwice, type Place } from './place.ts';

export function checkPlacement(spec: PodSpec, place: Place): void {
  checkLabels(spec.nodeSelector, place.at('nodeSelector'));
  for (const [toleration, at] of eachAt(spec.tolerations, place.at('tolerations')))
    checkToleration(toleration, at);
  if (spec.affinity) checkAffinity(spec.affinity, place.at('affinity'));
  const spread = [...eachAt(spec.topologySpreadConstraints, place.at('topologySpreadConstraints'))];
  for (const [constraint, at] of spread) checkSpread(constraint, at);
  noneTwice(
    spread.map(([{ topologyKey, whenUnsatisfiable }, at]) => [`${topologyKey} ${whenUnsatisfiable}`, at]),
  );
}

/** Labels, or what selects by them. */
export function checkLabels(labels: { readonly [key: string]: string } | undefined, place: Place): void {
  for (const [key, value] of Object.entries(labels ?? {})) {
    place.at(key).wrong(whyNoQualifiedName(key));
    place.at(key).wrong(whyNoLabelValue(value));
  }
}

export function checkSelector(selector: LabelSelector | undefined, place: Place): void {
  checkLabels(selector?.matchLabels, place.at('matchLabels'));
  for (const [{ key, operator, values = [] }, at] of eachAt(
    selector?.matchExpressions,
    place.at('matchExpressions'),
  )) {
    at.at('key').wrong(whyNoQualifiedName(key));
    checkValues(operator, values, at.at('values'));
    for (const [value, own] of eachAt(values, at.at('values'))) own.wrong(whyNoLabelValue(value));
  }
}

function checkValues(operator: string, values: readonly string[], place: Place): void {
  if ((operator === 'In' || operator === 'NotIn') && values.length === 0)
    place.wrong(`is missing, for ${operator}`);
  if ((operator === 'Exists' || operator === 'DoesNotExist') && values.length > 0)
    place.wrong(`may not be there with ${operator}`);
  if ((operator === 'Gt' || operator === 'Lt') && values.length !== 1)
    place.wrong(`takes one number, for ${operator}`);
}

function checkToleration(
  { key = '', operator = 'Equal', value = '', effect, tolerationSeconds }: Toleration,
  place: Place,
) {
  if (key !== '') place.at('key').wrong(whyNoQualifiedName(key));
  else if (operator !== 'Exists') place.at('operator').wrong('is Exists where there is no key');
  if (tolerationSeconds !== undefined && effect !== 'NoExecute')
    place.at('effect').wrong('is NoExecute where there are tolerationSeconds');
  if (operator === 'Exists' && value !== '') place.at('value').wrong('may not be there with Exists');
  if (operator === 'Equal') place.at('value').wrong(whyNoLabelValue(value));
  if ((operator === 'Gt' || operator === 'Lt') && !/^-?(?:0|[1-9]\d{0,18})$/.test(value))
    place.at('value').wrong(`does not take '${value}': a whole number`);
}

function checkAffinity({ nodeAffinity, podAffinity, podAntiAffinity }: Affinity, place: Place): void {
  const at = place.at('nodeAffinity');
  const required = nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const terms = at.at('requiredDuringSchedulingIgnoredDuringExecution', 'nodeSelectorTerms');
  if (required?.nodeSelectorTerms.length === 0) terms.wrong('is missing');
  for (const [term, own] of eachAt(required?.nodeSelectorTerms, terms)) checkTerm(term, own);
  const preferred = 'preferredDuringSchedulingIgnoredDuringExecution';
  for (const [{ weight, preference }, own] of eachAt(nodeAffinity?.[preferred], at.at(preferred))) {
    own.at('weight').wrong(whyNotWithin(weight, 1, 100));
    checkTerm(preference, own.at('preference'));
  }
  for (const [name, each] of Object.entries({ podAffinity, podAntiAffinity })) {
    const needed = 'requiredDuringSchedulingIgnoredDuringExecution';
    for (const [term, own] of eachAt(each?.[needed], place.at(name, needed))) checkPodTerm(term, own);
    for (const [{ weight, podAffinityTerm }, own] of eachAt(each?.[preferred], place.at(name, preferred))) {
      own.at('weight').wrong(whyNotWithin(weight, 1, 100));
      checkPodTerm(podAffinityTerm, own.at('podAffinityTerm'));
    }
  }
}

function checkTerm({ matchExpressions, matchFields }: NodeSelectorTerm, place: Place): void {
  for (const [{ key, operator, values = [] }, at] of eachAt(matchExpressions, place.at('matchExpressions'))) {
    at.at('key').wrong(whyNoQualifiedName(key));
    checkValues(operator, values, at.at('values'));
  }
  for (const [{ key, operator, values = [] }, at] of eachAt(matchFields, place.at('matchFields'))) {
    if (key !== 'metadata.name') at.at('key').wrong(`does not take '${key}': metadata.name`);
    if (operator !== 'In' && operator !== 'NotIn')
      at.at('operator').wrong(`does not take '${operator}': one of In, NotIn`);
    if (values.length !== 1) at.at('values').wrong('takes one name');
  }
}

function checkPodTerm(
  { labelSelector, namespaceSelector, namespaces, topologyKey, ...keys }: PodAffinityTerm,
  place: Place,
) {
  checkSelector(labelSelector, place.at('labelSelector'));
  checkSelector(namespaceSelector, place.at('namespaceSelector'));
  for (const [name, at] of eachAt(namespaces, place.at('namespaces'))) at.wrong(whyNoLabel(name));
  place.at('topologyKey').wrong(whyNoQualifiedName(topologyKey));
  checkKeys(keys, labelSelector, place);
}

interface LabelKeys {
  readonly matchLabelKeys?: readonly string[];
  readonly mismatchLabelKeys?: readonly string[];
}

function checkKeys(
  { matchLabelKeys, mismatchLabelKeys }: LabelKeys,
  selector: LabelSelector | undefined,
  place: Place,
) {
  for (const [name, keys] of Object.entries({ matchLabelKeys, mismatchLabelKeys })) {
    if (keys && keys.length > 0 && selector === undefined) place.at(name).wrong('needs a labelSelector');
    for (const [key, at] of eachAt(keys, place.at(name))) at.wrong(whyNoQualifiedName(key));
  }
  for (const [key, at] of eachAt(matchLabelKeys, place.at('matchLabelKeys')))
    if (mismatchLabelKeys?.includes(key) === true) at.wrong('is in mismatchLabelKeys, too');
}

function checkSpread(constraint: TopologySpreadConstraint, place: Place): void {
  const { maxSkew, minDomains, topologyKey, whenUnsatisfiable, labelSelector, matchLabelKeys } = constraint;
  place.at('maxSkew').wrong(whyNotWithin(maxSkew, 1, Infinity));
  if (topologyKey === '') place.at('topologyKey').wrong('is missing');
  if (minDomains !== undefined) place.at('minDomains').wrong(whyNotWithin(minDomains, 1, Infinity));
  if (minDomains !== undefined && whenUnsatisfiable !== 'DoNotSchedule')
    place.at('minDomains').wrong('needs whenUnsatisfiable: DoNotSchedule');
  checkSelector(labelSelector, place.at('labelSelector'));
  checkKeys(matchLabelKeys ? { matchLabelKeys } : {}, labelSelector, place);
}
