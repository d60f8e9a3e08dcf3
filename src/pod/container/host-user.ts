import type { PackageService } from '../../engine/host/package-unit.ts';
import type { HostUser } from '../../engine/host/program.ts';
import { SpawnletError } from '../../host/error.ts';
import type { LayerView } from '../../image/lookup.ts';
import { hasGroup, type ImageUser, lookupUser } from '../../image/user.ts';
import type { Container, EphemeralContainer, Pod } from '../api/kubernetes.ts';

/** The host's own /etc/passwd and /etc/group, read as those of an image are. */
export const hostView: readonly LayerView[] = [{ directory: '/', opaque: new Set() }];

/** @throws ERR_USER */
function lookUp(views: readonly LayerView[], text: string): ImageUser {
  try {
    return lookupUser(views, text);
  } catch (cause) {
    if (!(cause instanceof SpawnletError && cause.code === 'ERR_USER')) throw cause;
    const message = cause.message.replace('the image has', 'the host has');
    throw new SpawnletError('ERR_USER', message, {
      cause,
      hint: 'getent passwd lists the users of the host',
    });
  }
}

/** Undefined for a user whom the host knows in another way than by its files. */
function packagedUser({ user, group }: Pick<PackageService, 'user' | 'group'>, views: readonly LayerView[]) {
  try {
    return lookUp(views, user === undefined ? '' : [user, group].filter(Boolean).join(':'));
  } catch (error) {
    if (user !== undefined && error instanceof SpawnletError) return undefined;
    throw error;
  }
}

/**
 * Who a program of the host runs as: whom the container names, else the pod, else the package's unit, else root. A number and a
 * name (`windowsOptions.runAsUserName`, as systemk has it) name him alike; the container's own goes first.
 *
 * @throws ERR_USER if the host knows no such user, ERR_RUN_AS_NON_ROOT
 */
export function hostUserOf(
  pod: Pod,
  container: Container | EphemeralContainer,
  service: PackageService | undefined,
  views: readonly LayerView[] = hostView,
): HostUser & Partial<Pick<ImageUser, 'home'>> {
  const own = container.securityContext ?? {};
  const shared = pod.spec?.securityContext ?? {};
  const word =
    own.runAsUser ??
    own.windowsOptions?.runAsUserName ??
    shared.runAsUser ??
    shared.windowsOptions?.runAsUserName;
  const group = own.runAsGroup ?? shared.runAsGroup;
  const groups = [
    ...(shared.supplementalGroups ?? []),
    ...(shared.fsGroup === undefined ? [] : [shared.fsGroup]),
  ];
  const isMade = word === undefined && service?.dynamicUser;
  const named = () => (word === undefined ? packagedUser(service ?? {}, views) : lookUp(views, String(word)));
  const found = isMade ? undefined : named();
  const isRoot = found?.uid === 0;
  if (isRoot && (own.runAsNonRoot ?? shared.runAsNonRoot))
    throw new SpawnletError(
      'ERR_RUN_AS_NON_ROOT',
      'runAsNonRoot is set and the container would run as root',
      {
        hint: 'set securityContext.runAsUser to a number above 0, or windowsOptions.runAsUserName to a name',
      },
    );
  if (!found) return { as: 'packaged', isKnown: true, groups };
  const ids = { uid: found.uid, gid: group ?? found.gid };
  // systemd takes neither a user nor a group that the host's files do not know.
  const isKnown =
    (isRoot || found.shell !== '') && [ids.gid, ...groups].every(gid => gid === 0 || hasGroup(views, gid));
  const isGiven = word !== undefined || group !== undefined || !isKnown;
  return {
    as: isGiven ? 'given' : 'packaged',
    ids,
    isKnown,
    groups: isKnown ? groups : [...found.additionalGids, ...groups],
    home: found.home,
  };
}
