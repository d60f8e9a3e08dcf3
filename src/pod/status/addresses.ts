import { isIPv6 } from 'node:net';
import type { PodStatus } from '../api/kubernetes.ts';
import type { Scene } from './scene.ts';

/** One of each family, that of the host's first address first. */
function ordered(ips: readonly string[], hostIPs: readonly string[]): string[] {
  const preferred = isIPv6(hostIPs[0] ?? '');
  const first = ips.find(ip => isIPv6(ip) === preferred);
  const second = ips.find(ip => isIPv6(ip) !== preferred);
  return [first, second].filter(ip => ip !== undefined);
}

/** Addresses of the pod. One that is ending keeps showing those that it had. */
function podIPs({ pod, observed, former, ending }: Scene): readonly string[] {
  if (pod.spec?.hostNetwork) return observed.hostIPs;
  if (observed.sandbox.kind === 'ready') return ordered(observed.sandbox.ips, observed.hostIPs);
  return ending ? (former.podIPs ?? []).flatMap(({ ip }) => (ip === undefined ? [] : [ip])) : [];
}

export function addressesOf(scene: Scene): Pick<PodStatus, 'podIP' | 'podIPs' | 'hostIP' | 'hostIPs'> {
  const own = podIPs(scene);
  const host = scene.observed.hostIPs;
  return {
    ...(host[0] !== undefined && { hostIP: host[0], hostIPs: host.map(ip => ({ ip })) }),
    ...(own[0] !== undefined && { podIP: own[0], podIPs: own.map(ip => ({ ip })) }),
  };
}
