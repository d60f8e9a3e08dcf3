import { bindWord, pathWord } from '../../systemd/escape.ts';
import type { Mount } from '../container.ts';
import type { HostProgram } from './program.ts';

/** What a program of the host sees of the host: all of it read-only, but for what gives power over it. */

type Assignment = readonly [key: string, value: string];

/**
 * Keys, passwords, and state of what runs containers, machines and the system. Their sockets, systemd's and D-Bus' are below
 * /run, which is the program's own.
 */
const closedPaths = [
  '/boot',
  '/etc/NetworkManager/system-connections',
  '/etc/cni',
  '/etc/containerd',
  '/etc/containers',
  '/etc/credstore',
  '/etc/credstore.encrypted',
  '/etc/crictl.yaml',
  '/etc/docker',
  '/etc/gshadow',
  '/etc/gshadow-',
  '/etc/kubernetes',
  '/etc/krb5.keytab',
  '/etc/letsencrypt',
  '/etc/pki/tls/private',
  '/etc/rancher',
  '/etc/shadow',
  '/etc/shadow-',
  '/etc/spawnlet',
  '/etc/ssh',
  '/etc/ssl/private',
  '/etc/sudoers',
  '/etc/sudoers.d',
  '/etc/wireguard',
  '/var/backups',
  '/var/lib/cni',
  '/var/lib/containerd',
  '/var/lib/containers',
  '/var/lib/docker',
  '/var/lib/dockershim',
  '/var/lib/etcd',
  '/var/lib/kubelet',
  '/var/lib/machines',
  '/var/lib/portables',
  '/var/lib/private',
  '/var/lib/rancher',
  '/var/lib/spawnlet',
  '/var/lib/systemd',
  '/var/log/journal',
  '/var/spool/cron',
];

/** Of /run, whose rest is hidden: where names are resolved. */
const resolved = '/run/systemd/resolve';
/** Where a program tells systemd that it is ready, if its unit waits for that. */
const notifySocket = '/run/systemd/notify';

/** Directories that programs expect in /run, made before each run. */
export const runDirectories: readonly (readonly [name: string, mode: number])[] = [
  ['', 0o755],
  ['/lock', 0o1777],
];

/** Docker's default profile in systemd's words: what services need, and nothing that changes the kernel. */
const systemCalls: readonly Assignment[] = [
  ['SystemCallFilter', '@system-service'],
  ['SystemCallErrorNumber', 'EPERM'],
  ['SystemCallArchitectures', 'native'],
];

const isNotified = (type: string) => type.startsWith('notify');

/** Whether the package's own restriction of system calls, or of capabilities, is the one that holds. */
const hasOwn = (program: HostProgram, key: 'systemCalls' | 'boundingSet') =>
  (program.service?.[key].length ?? 0) > 0;

function mountLines(mount: Mount): Assignment {
  if (mount.kind === 'tmpfs') return ['TemporaryFileSystem', pathWord(mount.target)];
  return [mount.readOnly ? 'BindReadOnlyPaths' : 'BindPaths', bindWord(mount.source, mount.target)];
}

function ipcLines({ ipc }: HostProgram): Assignment[] {
  if (ipc === 'host') return [];
  return ipc === 'own' ? [['PrivateIPC', 'yes']] : [['IPCNamespacePath', pathWord(ipc.path)]];
}

function callLines(program: HostProgram): readonly Assignment[] {
  if (program.seccomp === 'unconfined') return [];
  return hasOwn(program, 'systemCalls') ? (program.service?.systemCalls ?? []) : systemCalls;
}

function capabilityLines(program: HostProgram, needed: readonly string[]): Assignment[] {
  if (program.asPackaged && hasOwn(program, 'boundingSet'))
    return [...(program.service?.boundingSet ?? []), ...needed].map(value => [
      'CapabilityBoundingSet',
      value,
    ]);
  return [['CapabilityBoundingSet', [...new Set([...program.capabilities, ...needed])].join(' ')]];
}

/**
 * Lines of `[Service]`.
 *
 * @param type of the unit
 * @param needed capabilities that it has until the program itself begins
 */
export function sandboxLines(
  program: HostProgram,
  type: string,
  needed: readonly string[] = [],
): Assignment[] {
  const { privileged } = program;
  return [
    ['ProtectSystem', 'strict'],
    ['ProtectHome', 'tmpfs'],
    ['PrivateTmp', 'yes'],
    ['ProtectControlGroups', 'yes'],
    ['ProtectHostname', 'yes'],
    ['InaccessiblePaths', closedPaths.map(path => `-${path}`).join(' ')],
    ['BindPaths', bindWord(`${program.run}/run`, '/run')],
    ['BindReadOnlyPaths', `-${resolved}`],
    ...(isNotified(type) ? ([['BindPaths', notifySocket]] as const) : []),
    ...program.mounts.map(mountLines),
    ['DevicePolicy', privileged ? 'auto' : 'closed'],
    ...(privileged
      ? []
      : ([
          ['PrivateDevices', 'yes'],
          ['ProtectKernelTunables', 'yes'],
          ['ProtectKernelModules', 'yes'],
          ['ProtectKernelLogs', 'yes'],
          ['ProtectClock', 'yes'],
        ] as const)),
    ...(program.seesProcesses ? [] : ([['ProtectProc', 'invisible']] as const)),
    ...ipcLines(program),
    ['NoNewPrivileges', program.noNewPrivileges ? 'yes' : 'no'],
    ...capabilityLines(program, needed),
    ...callLines(program),
  ];
}
