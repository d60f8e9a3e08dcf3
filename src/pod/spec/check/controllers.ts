import type {
  DaemonSet,
  Deployment,
  Job,
  LabelSelector,
  PodTemplateSpec,
  StatefulSet,
} from '../../api/kubernetes.ts';
import { withClaims } from '../controllers/stateful.ts';
import { defaultPod } from '../defaults.ts';
import { checkClaim } from './claims.ts';
import { checkTemplateMetadata } from './metadata.ts';
import { whyNoLabel, whyNotWithin } from './names.ts';
import { eachAt, noneTwice, type Place } from './place.ts';
import { checkSelector } from './placement.ts';
import { checkPodSpec } from './pod.ts';

/** A pod of each would be more than any host runs. */
const mostPods = 1000;

export function checkDeployment({ spec }: Deployment | DaemonSet, place: Place): void {
  if (spec === undefined) return place.at('spec').wrong('is missing');
  if ('replicas' in spec) place.at('spec', 'replicas').wrong(whyNotWithin(spec.replicas ?? 1, 0, mostPods));
  checkTemplate(spec.template, spec.selector, ['Always'], place.at('spec'));
}

export function checkStatefulSet({ metadata, spec }: StatefulSet, place: Place): void {
  if (spec === undefined) return place.at('spec').wrong('is missing');
  const at = place.at('spec');
  at.at('replicas').wrong(whyNotWithin(spec.replicas ?? 1, 0, mostPods));
  at.at('ordinals', 'start').wrong(whyNotWithin(spec.ordinals?.start ?? 0, 0, 2 ** 31 - 1));
  for (const name of ['whenDeleted', 'whenScaled'] as const)
    if (spec.persistentVolumeClaimRetentionPolicy?.[name] === 'Delete')
      at.at('persistentVolumeClaimRetentionPolicy', name).wrong(
        'does not take Delete: claims stay until they are removed',
      );
  const claims = [...eachAt(spec.volumeClaimTemplates, at.at('volumeClaimTemplates'))];
  for (const [claim, own] of claims) {
    own.at('metadata', 'name').wrong(whyNoLabel(claim.metadata?.name ?? ''));
    if (claim.spec) checkClaim(claim.spec, own.at('spec'));
    else own.at('spec').wrong('is missing');
  }
  noneTwice(claims.map(([claim, own]) => [claim.metadata?.name ?? '', own.at('metadata', 'name')]));
  const template = { ...spec.template };
  const pod =
    template.spec && withClaims(template.spec, spec.volumeClaimTemplates ?? [], `${metadata?.name ?? ''}-0`);
  checkTemplate({ ...template, ...(pod && { spec: pod }) }, spec.selector, ['Always'], at);
}

export function checkJob({ spec }: Job, place: Place): void {
  if (spec === undefined) return place.at('spec').wrong('is missing');
  const at = place.at('spec');
  const { activeDeadlineSeconds: deadline, completions, parallelism } = spec;
  if (deadline !== undefined) at.at('activeDeadlineSeconds').wrong(whyNotWithin(deadline, 1, 2 ** 31 - 1));
  for (const [name, count] of Object.entries({ completions, parallelism }))
    if (count !== undefined) at.at(name).wrong(whyNotWithin(count, 1, mostPods));
  if (completions !== undefined && parallelism !== undefined && parallelism < completions)
    at.at('parallelism').wrong('is less than completions: all pods of a job run at once here');
  if (spec.completionMode === 'Indexed' && completions === undefined)
    at.at('completions').wrong('is missing, for Indexed');
  if (spec.selector) checkSelector(spec.selector, at.at('selector'));
  checkTemplate(spec.template, undefined, ['OnFailure', 'Never'], at);
}

function checkTemplate(
  { metadata = {}, spec }: PodTemplateSpec,
  selector: LabelSelector | undefined,
  restartPolicies: readonly string[],
  place: Place,
): void {
  const at = place.at('template');
  checkTemplateMetadata(metadata, at.at('metadata'));
  if (selector) {
    checkSelector(selector, place.at('selector'));
    const isEmpty =
      Object.keys(selector.matchLabels ?? {}).length + (selector.matchExpressions ?? []).length === 0;
    if (isEmpty) place.at('selector').wrong('is missing');
    else if (!selects(selector, metadata.labels ?? {}))
      at.at('metadata', 'labels').wrong('are not those that the selector selects');
  }
  if (spec === undefined) return at.at('spec').wrong('is missing');
  const { spec: defaulted = spec } = defaultPod({ spec });
  const { restartPolicy = 'Always' } = defaulted;
  if (!restartPolicies.includes(restartPolicy))
    at.at('spec', 'restartPolicy').wrong(
      `does not take ${restartPolicy} here: ${restartPolicies.join(' or ')}`,
    );
  if (restartPolicies.includes('Always') && spec.activeDeadlineSeconds !== undefined)
    at.at('spec', 'activeDeadlineSeconds').wrong('is not for pods that are always there');
  checkPodSpec(defaulted, '', at.at('spec'));
}

function selects(
  { matchLabels = {}, matchExpressions = [] }: LabelSelector,
  labels: { readonly [key: string]: string },
) {
  const has = (key: string) => Object.hasOwn(labels, key);
  const isEqual = Object.entries(matchLabels).every(([key, value]) => has(key) && labels[key] === value);
  return (
    isEqual &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const isAmong = values.includes(labels[key] ?? '') && has(key);
      if (operator === 'In') return isAmong;
      if (operator === 'NotIn') return !isAmong;
      return has(key) === (operator === 'Exists');
    })
  );
}
