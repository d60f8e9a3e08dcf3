import { type Users, usersOfNamespace } from '../../engine/container.ts';
import { check } from '../../host/child.ts';
import { SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import type { Executors } from '../../host/step.ts';
import { podsDirectory } from '../../names.ts';
import { isNamespace, netnsPath, showNetns } from '../../network/cni/netns.ts';
import type { Pod } from '../api/kubernetes.ts';
import { directoryOf, type PodIdentity, userNamespaceOf } from '../unit/names.ts';

/** Users of a pod's own: `hostUsers: false`. Each such pod has IDs of the host that no other has. */

/**
 * A user namespace, and those of network and IPC that are its own, as files: they need no process. What is mounted or bound in
 * them is allowed to the pod's root, which has no say in the host's.
 */
export interface MakeUsers {
  readonly do: 'make-users';
  readonly user: string;
  /** Name of the network namespace. */
  readonly network: string;
  readonly ipc: string;
  readonly first: number;
}

/** Its end is that of its standard input. It has no process of its own in the way when the files are mounted. */
const script = `set -eu
first=$1 count=$2
shift 2
for file; do mkdir -p "\${file%/*}"; umount --lazy "$file" 2> /dev/null || :; : > "$file"; done
coproc made {
  exec unshare --user --map-users="0:$first:$count" --map-groups="0:$first:$count" --setuid 0 --setgid 0 --net --ipc \\
    sh -c '[ ! -e /proc/sys/net/ipv6 ] || echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
ip link set dev lo up && echo made && read -r _'
}
read -r _ <&"\${made[0]}"
mount --bind "/proc/$made_PID/ns/net" "$2"
mount --bind "/proc/$made_PID/ns/ipc" "$3"
mount --bind "/proc/$made_PID/ns/user" "$1"
`;

export function usersExecutors({ files, children }: Pick<Host, 'files' | 'children'>): Executors<MakeUsers> {
  return {
    'make-users': {
      describe: ({ user, first }) => `make user namespace ${user}, of ${usersOfNamespace} IDs from ${first}`,
      satisfied: ({ user }) => isNamespace(files, user),
      apply: async ({ user, network, ipc, first }, signal) => {
        const words = ['bash', '-c', script, 'bash', String(first), String(usersOfNamespace)];
        await check(children, [...words, user, netnsPath(network), ipc], { signal });
        await showNetns(files, network);
      },
    },
  };
}

export const hasOwnUsers = (pod: Pod): boolean => pod.spec?.hostUsers === false;

const file = (uid: string) => `${directoryOf(uid)}/users`;

/** The users of a pod that was given some; undefined if it has the host's. */
export async function usersOf({ files }: Pick<Host, 'files'>, uid: string): Promise<Users | undefined> {
  const text = await files.read(file(uid));
  return text === undefined ? undefined : { namespace: userNamespaceOf(uid), first: Number(text) };
}

/** The last ID of the host is nobody's. */
const most = 2 ** 32 / usersOfNamespace - 1;

/**
 * Gives a pod the first IDs that no other has, for good.
 *
 * @throws ERR_USER_NAMESPACE where mount(8) does not map IDs: it would take no notice of being asked to
 */
export async function giveUsers(
  { files, locks, children }: Pick<Host, 'files' | 'locks' | 'children'>,
  { uid }: PodIdentity,
  signal: AbortSignal,
): Promise<Users> {
  const version = await children.capture(['mount', '--version'], { signal });
  if (!version.stdout.toString().includes('idmapping'))
    throw new SpawnletError('ERR_USER_NAMESPACE', 'hostUsers: false needs a mount(8) that maps IDs', {
      hint: 'util-linux 2.39 or later, which Debian 13 has',
    });
  await using _lock = await locks.wait('pod-users', signal);
  const own = await usersOf({ files }, uid);
  if (own) return own;
  const pods = await files.list(podsDirectory);
  const taken = new Set(
    (await Promise.all(pods.map(pod => usersOf({ files }, pod)))).map(users => users?.first),
  );
  for (let at = 1; at < most; at++) {
    const first = at * usersOfNamespace;
    if (taken.has(first)) continue;
    await files.write(file(uid), String(first), 0o600);
    return { namespace: userNamespaceOf(uid), first };
  }
  throw new SpawnletError('ERR_USER_NAMESPACE', 'every ID of this host is given to a pod');
}
