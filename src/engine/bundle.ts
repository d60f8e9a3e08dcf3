import { type ContainerSpec, type Mount, type ReadOnly, type Users, usersOfNamespace } from './container.ts';
import { rootPropagation, sharedSources } from './propagation.ts';
import { netnsOf, rootfsOf, runDirectoryOf } from './script.ts';

/** `config.json` of an OCI runtime bundle, version 1.0.0: the only version that every systemd-nspawn takes. */
export type Bundle = {
  readonly ociVersion: '1.0.0';
  readonly linux: { readonly [key: string]: unknown };
  readonly [key: string]: unknown;
};

/** Docker's lists: what of /proc and /sys tells too much, and what must not be written. */
const maskedPaths = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

const mount = (destination: string, type: string, source: string, options: readonly string[]) => ({
  destination,
  type,
  source,
  options,
});

/** crun makes what is mounted below a mount read-only for `rro` alone. */
function access(readOnly: ReadOnly): 'ro' | 'rw' | 'rro' {
  if (readOnly === 'recursive') return 'rro';
  return readOnly ? 'ro' : 'rw';
}

const kernelMounts = ({ privileged, cgroups }: ContainerSpec) => [
  mount('/proc', 'proc', 'proc', ['nosuid', 'noexec', 'nodev']),
  mount('/dev', 'tmpfs', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
  mount('/dev/pts', 'devpts', 'devpts', [
    'nosuid',
    'noexec',
    'newinstance',
    'ptmxmode=0666',
    'mode=0620',
    'gid=5',
  ]),
  mount('/dev/shm', 'tmpfs', 'shm', ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k']),
  mount('/dev/mqueue', 'mqueue', 'mqueue', ['nosuid', 'noexec', 'nodev']),
  mount('/sys', 'sysfs', 'sysfs', ['nosuid', 'noexec', 'nodev', access(!privileged)]),
  // Its root is the unit's cgroup: programs read their own limits there. The trees of version 1 show the host's.
  ...(cgroups === 2
    ? [mount('/sys/fs/cgroup', 'cgroup', 'cgroup', ['nosuid', 'noexec', 'nodev', access(!privileged)])]
    : []),
];

function bundleMount(entry: Mount, { users }: ContainerSpec) {
  if (entry.kind === 'tmpfs') return mount(entry.target, 'tmpfs', 'tmpfs', entry.options);
  const options = ['rbind', access(entry.readOnly), entry.propagation];
  if (!users || entry.unmapped) return mount(entry.target, 'bind', entry.source, options);
  const mappings = mappingsOf(users);
  return { ...mount(entry.target, 'bind', entry.source, [...options, 'idmap']), ...mappings };
}

function mappingsOf({ first }: Users) {
  const all = [{ containerID: 0, hostID: first, size: usersOfNamespace }];
  return { uidMappings: all, gidMappings: all };
}

/** Devices of `--device`, with the host's owner and mode; those that every container has are the engine's. */
const bundleDevices = (spec: ContainerSpec) =>
  spec.devices.map(({ target, type, major, minor, mode, uid, gid }) => ({
    path: target,
    type,
    major,
    minor,
    fileMode: mode,
    uid,
    gid,
  }));

/** The process of a bundle, which `exec` uses too: the same user, capabilities and filter, other words. */
export function processOf(spec: ContainerSpec, args: readonly string[] = spec.args) {
  return {
    terminal: spec.terminal,
    ...(spec.terminalSize && {
      consoleSize: { height: spec.terminalSize.rows, width: spec.terminalSize.columns },
    }),
    user: spec.user,
    args,
    env: spec.env,
    cwd: spec.cwd,
    // The inheritable and ambient sets stay empty (CVE-2022-27649): a file's capabilities would be added to a user's.
    capabilities: {
      bounding: spec.capabilities,
      effective: spec.capabilities,
      permitted: spec.capabilities,
      inheritable: [],
      ambient: [],
    },
    noNewPrivileges: spec.noNewPrivileges,
    ...(spec.appArmor !== undefined && { apparmorProfile: spec.appArmor }),
    ...(spec.oomScoreAdj !== undefined && { oomScoreAdj: spec.oomScoreAdj }),
  };
}

/** Its own, the one that its start script has made, or none. */
function networkNamespace({ name, network }: ContainerSpec) {
  if (network === 'host') return [];
  return [network === 'none' ? { type: 'network' } : { type: 'network', path: netnsOf(name) }];
}

/** Those that it has of its own, and those that it joins. */
export function namespacesOf(
  spec: ContainerSpec,
): readonly { readonly type: string; readonly path?: string }[] {
  const { joins = {}, shares = [], cgroups, users } = spec;
  const own = (type: 'pid' | 'ipc') => {
    if (shares.includes(type)) return [];
    const path = joins[type];
    return [path === undefined ? { type } : { type, path }];
  };
  return [
    ...(users ? [{ type: 'user', path: users.namespace }] : []),
    ...own('pid'),
    { type: 'mount' },
    ...own('ipc'),
    { type: 'uts' },
    ...(joins.network === undefined ? networkNamespace(spec) : [{ type: 'network', path: joins.network }]),
    ...(cgroups === 2 ? [{ type: 'cgroup' }] : []),
  ];
}

/** The bundle of a container, with notes of the caller's. Limits are not in it: they are the unit's. */
export function bundleOf(spec: ContainerSpec, annotations: Readonly<Record<string, string>>): Bundle {
  const isOpen = spec.privileged || spec.unmasked === true;
  return {
    ociVersion: '1.0.0',
    process: processOf(spec),
    root: { path: rootfsOf(spec), readonly: spec.readOnly },
    ...(spec.hostname && { hostname: spec.hostname }),
    mounts: [
      ...kernelMounts(spec),
      ...nested(sharedSources(spec, runDirectoryOf(spec.name))).map(entry => bundleMount(entry, spec)),
    ],
    linux: {
      namespaces: namespacesOf(spec),
      ...(spec.users && mappingsOf(spec.users)),
      ...(spec.sysctls && { sysctl: spec.sysctls }),
      devices: bundleDevices(spec),
      ...(spec.seccomp !== 'unconfined' && { seccomp: spec.seccomp }),
      maskedPaths: isOpen ? [] : maskedPaths,
      readonlyPaths: isOpen ? [] : readonlyPaths,
      rootfsPropagation: rootPropagation(spec),
    },
    annotations,
  };
}

/** Mount points in the order in which they can be made: `/a` before `/a/b`; the order is kept otherwise. */
function nested(mounts: readonly Mount[]): readonly Mount[] {
  const depth = (entry: Mount) => entry.target.split('/').filter(Boolean).length;
  return mounts.toSorted((a, b) => depth(a) - depth(b));
}
