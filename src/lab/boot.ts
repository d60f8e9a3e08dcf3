import { join } from 'node:path';
import { quoted } from '../host/shell.ts';
import { bootLeaf, cgroupName, type Hierarchy, machineLeaf } from './cgroup.ts';
import { bridge, namespacePath } from './network.ts';
import { type LabRecord, placesOf } from './record.ts';
import { shareTarget } from './tree.ts';

/**
 * Directories of a lab that must not be on its overlay: container engines put the upper directories of overlays there,
 * and those cannot lie on an overlay. Modes as the packages make them.
 */
export const dataDirectories: Readonly<Record<string, number>> = {
  containerd: 0o711,
  containers: 0o755,
  docker: 0o710,
  machines: 0o700,
  spawnlet: 0o700,
};

/**
 * The lab's first process, before systemd takes its place: cgroup v1 controllers, which nspawn mounts read-only, are
 * made writable, and the devices that container engines ask for made. The kernel lets a user namespace mount a proc and a
 * sysfs only where whole ones are in sight; nspawn hides parts of the lab's (257 leaves no others), so there are others.
 */
const init = `rm -f ${shareTarget}/ready
for group in /sys/fs/cgroup/*/; do mount -o remount,bind,rw "$group" 2>/dev/null; done
for type in proc sysfs; do
mkdir -p /run/whole/$type
mount -t $type -o nosuid,nodev,noexec $type /run/whole/$type && mount -o remount,rw /run/whole/$type
done
device() { [ ! -e "$1" ] && mkdir -p "\${1%/*}" && mknod -m "$2" "$1" c "$3" "$4"; }
rm -f /dev/kmsg
device /dev/kmsg 0600 1 11
device /dev/fuse 0666 10 229
device /dev/net/tun 0666 10 200
exec /lib/systemd/systemd`;

/**
 * Groups of system calls that nspawn's own list leaves out and that container engines inside need. Setting the clock,
 * loading modules and swapping are not among them: they would be the host's.
 */
const systemCalls = '@keyring @mount @pkey bpf perf_event_open';

/** The command line of systemd-nspawn. A colon in a path is escaped as nspawn wants it. */
export function nspawnArgv(record: LabRecord): string[] {
  const places = placesOf(record.spec.name);
  const path = (text: string) => text.replaceAll(/[\\:]/g, String.raw`\$&`);
  const binds = [
    ...Object.keys(dataDirectories).map(name => `--bind=${path(join(places.data, name))}:/var/lib/${name}`),
    ...record.spec.binds.map(
      ({ source, target, access }) =>
        `--bind${access === 'read-only' ? '-ro' : ''}=${path(source)}:${path(target)}`,
    ),
  ];
  return [
    'systemd-nspawn',
    '--quiet',
    '--register=no',
    '--keep-unit',
    `--directory=${places.root}`,
    `--machine=${record.spec.name}`,
    `--uuid=${record.machineId}`,
    '--capability=all',
    `--system-call-filter=${systemCalls}`,
    '--kill-signal=SIGRTMIN+3',
    '--notify-ready=yes',
    '--console=pipe',
    `--network-bridge=${bridge}`,
    '--resolv-conf=off',
    '--timezone=off',
    '--link-journal=no',
    `--bind=${places.share}:${shareTarget}`,
    ...binds,
    '/bin/sh',
    '-c',
    init,
  ];
}

/** A shell function that writes who the script is, as a {@link Holder}; its process number stays through exec. */
const identity = (path: string, name: string) => `identify() {
  read -r stat </proc/$$/stat
  set -- \${stat##*) }
  printf '{"pid":%d,"start":"%s","boot":"%s","command":"lab ${name}"}' $$ "\${20}" \\
    "$(cat /proc/sys/kernel/random/boot_id)" >${quoted(`${path}~`)}
  mv ${quoted(`${path}~`)} ${quoted(path)}
}
`;

/**
 * In a chroot the root of the mount namespace is another directory, and stays it in the lab, whose systemd could then not tell
 * where a container's root is: `crun exec` came out above the chroot. There the chroot is first made the namespace's root.
 */
const leaveChroot = `entered='nsenter --mount=/proc/self/ns/mnt --wd=/ /bin/sh -euc'
if [ "$1" = inside ] && ! $entered '[ / -ef . ]'; then
  exec $entered 'mount --rbind . .; cd "$(pwd -P)"; pivot_root . .; umount --lazy .; exec chroot . "$0" rooted' "$0"
fi
`;

/**
 * The script that boots a lab. It enters the network's namespace, takes a mount namespace of its own, so that no mount
 * of a lab is ever on the host, and starts nspawn. Without systemd as PID 1 it first enters the cgroups that were made
 * for the lab, and stays to start nspawn again after a reboot, which nspawn tells by 133; a unit does both by itself.
 */
export function bootScript(record: LabRecord, hierarchies: readonly Hierarchy[]): string {
  const places = placesOf(record.spec.name);
  const { name, network } = record.spec;
  const options = `lowerdir=${record.tree}/root,upperdir=${places.upper},workdir=${places.work}`;
  const mount = `mount -t overlay overlay -o ${quoted(options)} ${quoted(places.root)}`;
  const nspawn = nspawnArgv(record).map(quoted).join(' \\\n  ');
  const isolate = `nsenter --net=${quoted(namespacePath(network))} unshare --mount --propagation`;
  const head = `#!/bin/sh
# Boots lab ${name}. Written by spawnlet lab up.
set -e
${identity(places.process, name)}`;
  if (record.supervisor === 'systemd')
    return `${head}if [ $# = 0 ]; then
  identify
  exec ${isolate} slave "$0" inside
fi
${leaveChroot}${mount}
exec ${nspawn}
`;
  const enter = (leaf: string) =>
    hierarchies
      .map(({ path }) => `  echo $$ >${quoted(join(path, cgroupName(name), leaf, 'cgroup.procs'))}\n`)
      .join('');
  return `${head}case $1 in
boot)
  identify
${enter(bootLeaf)}  exec ${isolate} private "$0" inside
  ;;
machine)
${enter(machineLeaf)}  exec ${nspawn}
  ;;
esac
${leaveChroot}${mount}
# nspawn keeps locks and sockets there.
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
code=133
while [ "$code" -eq 133 ]; do
  code=0
  "$0" machine || code=$?
done
exit "$code"
`;
}

/** Where a command that enters a lab has its cgroup, below the lab's root of each hierarchy. */
export const enteredLeaf = 'exec';

/**
 * The cgroups for commands that enter a lab: from the text of /proc/LEADER/cgroup, whose paths end in `/init.scope`
 * where systemd has a cgroup for itself.
 */
export function enteredGroups(leaderCgroups: string, hierarchies: readonly Hierarchy[]): string[] {
  const groups: string[] = [];
  for (const line of leaderCgroups.split('\n')) {
    const [, controllers = '', ...rest] = line.split(':');
    const path = rest.join(':').replace(/\/init\.scope$/, '');
    const hierarchy = hierarchies.find(({ version, controllers: own }) =>
      controllers === '' ? version === 2 : own.includes(controllers.split(',')[0] ?? ''),
    );
    if (hierarchy && path !== '') groups.push(join(hierarchy.path, path, enteredLeaf));
  }
  return groups;
}
