import { SpawnletError } from '../../host/error.ts';
import type { LayerView } from '../../image/lookup.ts';
import { type ImageUser, lookupUser } from '../../image/user.ts';
import type { Container, EphemeralContainer, Pod } from '../api/kubernetes.ts';

/**
 * The user of a container: what the container says, else what the pod says, else the image's. Groups that the image gives to
 * the user come with him, unless the policy is Strict.
 *
 * @throws ERR_RUN_AS_NON_ROOT, and what a look-up in the image throws
 */
export function userOf(
  pod: Pod,
  container: Container | EphemeralContainer,
  views: readonly LayerView[],
  imageUser: string,
): ImageUser {
  const own = container.securityContext ?? {};
  const shared = pod.spec?.securityContext ?? {};
  const uid = own.runAsUser ?? shared.runAsUser;
  const gid = own.runAsGroup ?? shared.runAsGroup;
  const found = lookupUser(views, uid === undefined ? imageUser : String(uid));
  if (own.runAsNonRoot ?? shared.runAsNonRoot) refuseRoot(uid, imageUser, found.uid);
  const groups = [
    ...(shared.supplementalGroups ?? []),
    ...(shared.fsGroup === undefined ? [] : [shared.fsGroup]),
  ];
  const ofImage = shared.supplementalGroupsPolicy === 'Strict' ? [] : found.additionalGids;
  return { ...found, gid: gid ?? found.gid, additionalGids: [...new Set([...ofImage, ...groups])] };
}

/** A name says nothing of the number that it has in the image that comes next: the kubelet refuses it. */
function refuseRoot(asked: number | undefined, imageUser: string, uid: number): void {
  const name = imageUser.split(':', 1)[0] ?? '';
  const isName = asked === undefined && name !== '' && !/^\d+$/.test(name);
  if (uid !== 0 && !isName) return;
  throw new SpawnletError(
    'ERR_RUN_AS_NON_ROOT',
    isName
      ? `runAsNonRoot is set and the image's user ${JSON.stringify(name)} is no number`
      : 'runAsNonRoot is set and the container would run as root',
    { hint: 'set securityContext.runAsUser to a number above 0' },
  );
}
