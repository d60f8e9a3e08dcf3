import type { AppArmorProfile, PodSpec, SeccompProfile, SecurityContext } from '../../api/kubernetes.ts';
import { whyNoId, whyNoPathBelow } from './names.ts';
import { eachAt, noneTwice, type Place } from './place.ts';

/** The security context of a container. */
export function checkSecurity(context: SecurityContext, spec: PodSpec, place: Place): void {
  for (const name of ['runAsUser', 'runAsGroup'] as const) checkId(context[name], place.at(name));
  checkProfiles(context, place);
  checkWindows(context, spec, place);
  if (context.procMount === 'Unmasked' && spec.hostUsers !== false)
    place.at('procMount').wrong('takes Unmasked only with hostUsers: false');
  if (context.allowPrivilegeEscalation !== false) return;
  const at = place.at('allowPrivilegeEscalation');
  if (context.privileged === true) at.wrong('is false beside privileged: true');
  if (context.capabilities?.add?.includes('CAP_SYS_ADMIN') === true)
    at.wrong('is false beside CAP_SYS_ADMIN');
}

/** The security context of a pod. */
export function checkPodSecurity(spec: PodSpec, place: Place): void {
  const { securityContext: context = {} } = spec;
  for (const name of ['runAsUser', 'runAsGroup', 'fsGroup'] as const) checkId(context[name], place.at(name));
  for (const [group, at] of eachAt(context.supplementalGroups, place.at('supplementalGroups')))
    checkId(group, at);
  checkProfiles(context, place);
  checkWindows(context, spec, place);
  for (const [{ name }, at] of eachAt(context.sysctls, place.at('sysctls')))
    at.at('name').wrong(whyNoSysctl(name, spec));
  const names = [...eachAt(context.sysctls, place.at('sysctls'))];
  noneTwice(names.map(([{ name }, at]) => [name.replaceAll('/', '.'), at.at('name')]));
}

function checkId(id: number | undefined, place: Place): void {
  if (id !== undefined) place.wrong(whyNoId(id));
}

interface Profiles {
  readonly seccompProfile?: SeccompProfile;
  readonly appArmorProfile?: AppArmorProfile;
}

function checkProfiles({ seccompProfile, appArmorProfile }: Profiles, place: Place): void {
  for (const [name, profile] of Object.entries({ seccompProfile, appArmorProfile })) {
    if (profile === undefined) continue;
    const at = place.at(name, 'localhostProfile');
    const { type, localhostProfile } = profile;
    if (type === '') place.at(name, 'type').wrong('is missing');
    if (type !== 'Localhost') {
      if (localhostProfile !== undefined) at.wrong('is for type: Localhost');
    } else if (localhostProfile === undefined || localhostProfile.trim() === '')
      at.wrong('is missing, for type: Localhost');
    else if (name === 'seccompProfile') at.wrong(whyNoPathBelow(localhostProfile));
    else if (localhostProfile !== localhostProfile.trim()) at.wrong('has spaces around it');
    else if (localhostProfile.length > 4095) at.wrong('is longer than 4095 characters');
  }
}

/** How systemk's manifests name a user: without `os`, which would say that there is no Windows. */
function checkWindows(
  { windowsOptions }: Pick<SecurityContext, 'windowsOptions'>,
  spec: PodSpec,
  place: Place,
): void {
  if (windowsOptions === undefined) return;
  const at = place.at('windowsOptions');
  if (spec.os?.name === 'linux') at.wrong('may not be there with os.name: linux');
  const name = windowsOptions.runAsUserName;
  if (name !== undefined && !/^[a-z_][-a-z0-9_.]{0,254}\$?$/i.test(name))
    at.at('runAsUserName').wrong(`does not take '${name}': the name of a user of the host`);
}

const sysctlPattern = /^(?:[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?$/;
/** Those of which the kernel has one for each namespace. */
const ofIpc =
  /^(?:kernel\.(?:shmall|shmmax|shmmni|shm_rmid_forced|msgmax|msgmnb|msgmni|sem)|fs\.mqueue\..+)$/;
const ofNetwork = /^net\..+$/;

function whyNoSysctl(name: string, { hostNetwork, hostIPC }: PodSpec): string | undefined {
  if (name === '') return 'is missing';
  if (name.length > 253 || !sysctlPattern.test(name))
    return `does not take '${name}': a name such as net.ipv4.tcp_syncookies`;
  // Either all is written with slashes, or all with dots and slashes in names: the first of them tells.
  const separator = /[./]/.exec(name)?.[0];
  const dotted = separator === '/' ? name.replaceAll(/[./]/g, each => (each === '/' ? '.' : '/')) : name;
  if (ofIpc.test(dotted)) return hostIPC === true ? 'may not be there with hostIPC: true' : undefined;
  if (ofNetwork.test(dotted))
    return hostNetwork === true ? 'may not be there with hostNetwork: true' : undefined;
  return `does not take '${name}': one of a pod's own namespaces: net.*, fs.mqueue.*, kernel.sem, kernel.shmall, kernel.shmmax, kernel.shmmni, kernel.shm_rmid_forced, kernel.msgmax, kernel.msgmnb, kernel.msgmni`;
}
