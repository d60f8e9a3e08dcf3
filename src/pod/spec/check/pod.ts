import type { PodDNSConfig, PodSpec } from '../../api/kubernetes.ts';
import { podEngines } from '../engine-limits.ts';
import { checkOverhead, checkPodAmounts } from './amounts.ts';
import { checkContainers } from './containers.ts';
import {
  whyNoAddress,
  whyNoLabel,
  whyNoQualifiedName,
  whyNoSearch,
  whyNoSubdomain,
  whyNotWithin,
} from './names.ts';
import { eachAt, type Place } from './place.ts';
import { checkPlacement } from './placement.ts';
import { checkPodSecurity } from './security.ts';
import { checkVolumes } from './volumes.ts';

const runtimeClasses: readonly string[] = podEngines;

/** The specification of a pod, with all that is decided for it. `podName` is empty where the pod has none yet. */
export function checkPodSpec(spec: PodSpec, podName: string, place: Place): void {
  checkContainers(spec, place);
  checkVolumes(spec.volumes ?? [], podName, place.at('volumes'));
  checkPodAmounts(spec, place.at('resources'));
  checkOverhead(spec.overhead, place.at('overhead'));
  checkPodSecurity(spec, place.at('securityContext'));
  checkPlacement(spec, place);
  checkNames(spec, place);
  checkDns(spec, place);
  checkHostUsers(spec, place);
  const { activeDeadlineSeconds: deadline, terminationGracePeriodSeconds: grace = 30 } = spec;
  if (deadline !== undefined) place.at('activeDeadlineSeconds').wrong(whyNotWithin(deadline, 1, 2 ** 31 - 1));
  place.at('terminationGracePeriodSeconds').wrong(whyNotWithin(grace, 0, Infinity));
  if (spec.shareProcessNamespace === true && spec.hostPID === true)
    place.at('shareProcessNamespace').wrong('may not be there with hostPID: true');
  if (spec.os?.name === 'windows') place.at('os', 'name').wrong('does not take windows: linux');
  const { runtimeClassName: runtime } = spec;
  if (runtime !== undefined && !runtimeClasses.includes(runtime))
    place.at('runtimeClassName').wrong(`does not take '${runtime}': one of ${runtimeClasses.join(', ')}`);
  for (const [{ conditionType }, at] of eachAt(spec.readinessGates, place.at('readinessGates')))
    at.at('conditionType').wrong(whyNoQualifiedName(conditionType));
}

function checkNames(spec: PodSpec, place: Place): void {
  const { hostname = '', subdomain = '', hostnameOverride, setHostnameAsFQDN, hostNetwork } = spec;
  if (hostname !== '') place.at('hostname').wrong(whyNoLabel(hostname));
  if (subdomain !== '') place.at('subdomain').wrong(whyNoLabel(subdomain));
  if (hostnameOverride !== undefined) {
    const at = place.at('hostnameOverride');
    at.wrong(
      hostnameOverride.length > 64 ? 'is longer than 64 characters' : whyNoSubdomain(hostnameOverride),
    );
    if (setHostnameAsFQDN === true) at.wrong('may not be there with setHostnameAsFQDN: true');
    if (hostNetwork === true) at.wrong('may not be there with hostNetwork: true');
  }
  for (const name of ['serviceAccountName', 'nodeName', 'priorityClassName'] as const) {
    const value = spec[name] ?? '';
    if (value !== '') place.at(name).wrong(whyNoSubdomain(value));
  }
  for (const [{ ip, hostnames }, at] of eachAt(spec.hostAliases, place.at('hostAliases'))) {
    at.at('ip').wrong(whyNoAddress(ip));
    for (const [name, own] of eachAt(hostnames, at.at('hostnames'))) own.wrong(whyNoSubdomain(name));
  }
}

/** What resolv.conf holds. */
const most = { nameservers: 3, searches: 32, searchCharacters: 2048 };

function checkDns({ dnsConfig, dnsPolicy }: PodSpec, place: Place): void {
  const at = place.at('dnsConfig');
  if (dnsPolicy === 'None' && (dnsConfig?.nameservers ?? []).length === 0)
    at.at('nameservers').wrong('is missing, for dnsPolicy: None');
  checkDnsConfig(dnsConfig ?? {}, at);
}

function checkDnsConfig({ nameservers = [], searches = [], options }: PodDNSConfig, place: Place): void {
  if (nameservers.length > most.nameservers)
    place.at('nameservers').wrong(`has more than ${most.nameservers}`);
  for (const [address, at] of eachAt(nameservers, place.at('nameservers'))) at.wrong(whyNoAddress(address));
  if (searches.length > most.searches) place.at('searches').wrong(`has more than ${most.searches}`);
  if (searches.join(' ').length > most.searchCharacters)
    place.at('searches').wrong(`has more than ${most.searchCharacters} characters`);
  for (const [domain, at] of eachAt(searches, place.at('searches')))
    if (domain !== '.') at.wrong(whyNoSearch(domain.replace(/\.$/, '')));
  for (const [{ name = '' }, at] of eachAt(options, place.at('options')))
    if (name === '') at.at('name').wrong('is missing');
}

/** Users of their own go with no namespace of the host. */
function checkHostUsers(spec: PodSpec, place: Place): void {
  if (spec.hostUsers !== false) return;
  for (const name of ['hostNetwork', 'hostPID', 'hostIPC'] as const)
    if (spec[name] === true) place.at(name).wrong('may not be there with hostUsers: false');
}
