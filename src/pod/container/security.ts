import {
  allCapabilities,
  capabilitySet,
  defaultCapabilities,
  possibleCapabilities,
} from '../../engine/capabilities.ts';
import { defaultSeccomp, type Profile, resolveProfile, type Seccomp } from '../../engine/seccomp.ts';
import type {
  AppArmorProfile,
  Container,
  EphemeralContainer,
  Pod,
  SeccompProfile,
} from '../api/kubernetes.ts';

/** What a container may do, as the bundle says it. */
export interface Privileges {
  readonly privileged: boolean;
  readonly capabilities: readonly string[];
  readonly noNewPrivileges: boolean;
  readonly seccomp: Seccomp | 'unconfined';
  readonly appArmor?: string;
}

/** Profiles of this host: the default one, and what reads one below the kubelet's seccomp directory. */
export interface Profiles {
  readonly standard: Profile;
  readonly local: Readonly<Record<string, Profile>>;
}

/** What a pod's container asks for; a pod that says nothing has the default profile. */
export const seccompOf = (pod: Pod, container: Container | EphemeralContainer): SeccompProfile =>
  container.securityContext?.seccompProfile ??
  pod.spec?.securityContext?.seccompProfile ?? { type: 'RuntimeDefault' };

/** The profile that a container names; what is said of the pod holds where the container says nothing. */
export const appArmorOf = (
  pod: Pod,
  container: Container | EphemeralContainer,
): AppArmorProfile | undefined =>
  container.securityContext?.appArmorProfile ?? pod.spec?.securityContext?.appArmorProfile;

/** @param boundingSet hex, of the process that asks: what it lacks nobody below it has */
export function privilegesOf(
  pod: Pod,
  container: Container | EphemeralContainer,
  profiles: Profiles,
  boundingSet: string,
): Privileges {
  const own = container.securityContext ?? {};
  const privileged = own.privileged ?? false;
  const base = privileged ? allCapabilities : defaultCapabilities;
  const wanted = capabilitySet(base, own.capabilities?.add ?? [], own.capabilities?.drop ?? []);
  const capabilities = possibleCapabilities(wanted, boundingSet);
  const { localhostProfile: appArmor } = appArmorOf(pod, container) ?? {};
  return {
    ...(appArmor !== undefined && { appArmor }),
    privileged,
    capabilities,
    noNewPrivileges: own.allowPrivilegeEscalation === false && !privileged,
    seccomp: privileged ? 'unconfined' : filterOf(seccompOf(pod, container), profiles, capabilities),
  };
}

function filterOf(
  { type, localhostProfile = '' }: SeccompProfile,
  { standard, local }: Profiles,
  capabilities: readonly string[],
): Seccomp | 'unconfined' {
  if (type === 'Unconfined') return 'unconfined';
  const own = type === 'Localhost' ? local[localhostProfile] : undefined;
  return own ? resolveProfile(own, capabilities) : defaultSeccomp(standard, capabilities);
}
