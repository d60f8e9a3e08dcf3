import type { Files } from '../../host/files.ts';
import type { Pod } from '../api/kubernetes.ts';
import { appArmorOf } from '../container/security.ts';
import { members } from '../status/roles.ts';

/** Why a host cannot run a pod, whose containers are then not begun. */
export interface Rejection {
  readonly reason: string;
  readonly message: string;
}

/** `Y` where the kernel has AppArmor and it is on. */
const appArmorSwitch = '/sys/module/apparmor/parameters/enabled';

/** What the kubelet rejects a pod for when it first sees it; undefined if the pod may run. */
export async function rejectionOf(files: Pick<Files, 'read'>, pod: Pod): Promise<Rejection | undefined> {
  const isConfined = members(pod).some(({ spec }) => {
    const { type = 'Unconfined' } = appArmorOf(pod, spec) ?? {};
    return type !== 'Unconfined';
  });
  if (!isConfined || (await files.read(appArmorSwitch))?.trim() === 'Y') return undefined;
  return {
    reason: 'AppArmor',
    message: 'Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host',
  };
}
