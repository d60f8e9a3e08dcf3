import { check } from '../../host/child.ts';
import { isErrno } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import type { Executor } from '../../host/step.ts';
import { runtimeDirectory } from '../../names.ts';

/** Makes a network namespace that is a file, as ip-netns(8) has it: it needs no process. Its loop-back is up. */
export interface MakeNetns {
  readonly do: 'make-netns';
  readonly name: string;
}

/** Takes the file away. Processes in the namespace keep it until they end. */
export interface RemoveNetns {
  readonly do: 'remove-netns';
  readonly name: string;
}

/**
 * Not where ip(8) has namespaces: the first `ip netns add` on a host mounts that directory over itself, and what was mounted
 * below it can no longer be reached.
 */
const directory = `${runtimeDirectory}/netns`;

/** Where `ip netns` looks: links. */
const shownDirectory = '/run/netns';

export const netnsPath = (name: string): string => `${directory}/${name}`;

/** The child that runs `argv` in a network namespace. */
export const inNetns = (name: string, argv: readonly string[]): string[] => [
  'nsenter',
  `--net=${netnsPath(name)}`,
  '--',
  ...argv,
];

/**
 * Runs in the new namespace. To mount it is the last act, so that a namespace that is there is whole. Duplicate addresses
 * are not looked for: they are given by plan, and the kernel would keep an IPv6 address back for a second or two.
 */
const make = `[ ! -e /proc/sys/net/ipv6/conf/default/accept_dad ] || echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip link set dev lo up && exec mount --bind "/proc/$$/ns/net" "$1"`;

/** Whether a network namespace of that name is there. */
export const isNetns = (files: Host['files'], name: string): Promise<boolean> =>
  isNamespace(files, netnsPath(name));

/** Whether a namespace is mounted at a path. */
export async function isNamespace(files: Host['files'], path: string): Promise<boolean> {
  const lines = ((await files.read('/proc/self/mountinfo')) ?? '').split('\n');
  // proc_pid_mountinfo(5): the fifth field is the mount point; the type of the file system follows a dash.
  return lines.some(line => line.includes(' - nsfs ') && line.split(' ')[4] === path);
}

/** Has `ip netns` show a namespace that is there. */
export async function showNetns(files: Host['files'], name: string): Promise<void> {
  await files.makeDirectory(shownDirectory, 0o755);
  await files.link(`${shownDirectory}/${name}`, netnsPath(name));
}

/** Executors of network namespaces. */
export function netnsExecutors({ files, children }: Pick<Host, 'files' | 'children'>): {
  'make-netns': Executor<MakeNetns>;
  'remove-netns': Executor<RemoveNetns>;
} {
  /**
   * A child of a killed process may be about to mount the namespace still. It needs the file as mount point: once that is
   * gone it fails, and if it comes first the file cannot be removed yet.
   */
  async function remove(name: string): Promise<void> {
    for (;;) {
      while (await isNetns(files, name)) await check(children, ['umount', '--lazy', netnsPath(name)]);
      try {
        await files.remove(netnsPath(name));
        return await files.remove(`${shownDirectory}/${name}`);
      } catch (error) {
        if (!isErrno(error, 'EBUSY')) throw error;
      }
    }
  }

  return {
    'make-netns': {
      describe: step => `make network namespace ${step.name}`,
      satisfied: step => isNetns(files, step.name),
      apply: async (step, signal) => {
        await files.makeDirectory(directory, 0o700);
        await remove(step.name);
        await files.append(netnsPath(step.name), '', 0o444);
        const argv = ['unshare', '--net', 'sh', '-c', make, 'sh', netnsPath(step.name)];
        await check(children, argv, { signal });
        await showNetns(files, step.name);
      },
      undo: step => remove(step.name),
    },
    'remove-netns': {
      describe: step => `remove network namespace ${step.name}`,
      satisfied: async step => (await files.look(netnsPath(step.name))) === undefined,
      apply: step => remove(step.name),
    },
  };
}
