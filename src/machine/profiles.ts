import { SpawnletError } from '../host/error.ts';
import { machineStateDirectory, runtimeDirectory } from '../names.ts';
import type { HostFacts, MachineFacts } from './lines.ts';
import { type MachineSpec, type ProfileName, profileNames } from './spec.ts';

/**
 * Named relaxations of a machine, as data: each line, where it is written, and why. A line that the stock unit or systemd-nspawn has
 * anyhow is `stock`: shown, not written.
 */

export type ProfilePlace = 'Exec' | 'Files' | 'Service' | 'stock';

export interface ProfileLine {
  readonly place: ProfilePlace;
  readonly key: string;
  readonly value: string;
  /** One sentence. */
  readonly why: string;
}

/** What the lines of a profile depend on. */
export interface ProfileFacts {
  readonly name: string;
  readonly host: HostFacts;
  readonly overlay: boolean;
}

/** Directories of a machine on an overlay that must not lie on one, since container runtimes mount overlays there. */
const stores = ['containerd', 'docker', 'containers', 'rancher'] as const;

/** Where the stores of a machine's own containers lie on the host, and in the machine; made before it starts. */
export function runtimeStores(name: string): { readonly source: string; readonly target: string }[] {
  return stores.map(store => ({
    source: `${machineStateDirectory}/${name}/store/${store}`,
    target: `/var/lib/${store}`,
  }));
}

/** Where a machine's bpffs is mounted on the host. */
export const bpfDirectory = (name: string) => `${runtimeDirectory}/machine/${name}/bpf`;

/** A node of the host, seen in the machine under the same name. */
function device(path: string, access: string, why: string): ProfileLine[] {
  return [
    { place: 'Files', key: 'Bind', value: path, why },
    {
      place: 'Service',
      key: 'DeviceAllow',
      value: `${path} ${access}`,
      why: `The stock unit has DevicePolicy=closed: without this line ${path} can be seen and not opened.`,
    },
  ];
}

const stock = (key: string, value: string, why: string): ProfileLine => ({ place: 'stock', key, value, why });

const defaults: ProfileLine[] = [
  stock(
    'PrivateUsers',
    'pick',
    "Root of the machine is nobody on the host, where the tree's file system can be id-mapped.",
  ),
  stock(
    'Capability',
    '',
    "systemd-nspawn's own set: enough to boot an OS, without CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME, CAP_BPF, CAP_SYSLOG.",
  ),
  stock(
    'SystemCallFilter',
    '',
    "systemd-nspawn's own list: no keyrings, no bpf(2), no perf_event_open(2), no kexec, no swap, no clock.",
  ),
  stock('DevicePolicy', 'closed', 'No device but the harmless ones, ptys and /dev/net/tun can be opened.'),
  stock('TasksMax', '16384', 'Processes and threads of the whole machine; --tasks sets another number.'),
];

function nested({ name, host, overlay }: ProfileFacts): ProfileLine[] {
  return [
    {
      place: 'Exec',
      key: 'SystemCallFilter',
      value: '@keyring bpf',
      why: 'runc gives each container a session keyring, and sets its device rules by bpf(2) on cgroup v2.',
    },
    {
      place: 'Exec',
      key: 'Capability',
      value: 'CAP_SYSLOG',
      why: 'Where kernel.dmesg_restrict is set, as on Debian, /dev/kmsg is read with it alone.',
    },
    ...device(
      '/dev/kmsg',
      'rw',
      'The kubelet and k3s read it to learn what the kernel has killed for memory.',
    ),
    ...(host.modules === 'none'
      ? []
      : [
          {
            place: 'Files',
            key: 'BindReadOnly',
            value: '/sys/module',
            why: 'docker and k3s look there for what the kernel can do (overlay, br_netfilter, nf_conntrack).',
          } as const,
        ]),
    ...(host.modules === 'apparmor'
      ? [
          {
            place: 'Files',
            key: 'Inaccessible',
            value: '/sys/module/apparmor',
            why: 'Runtimes that find AppArmor there load profiles, which a machine may not.',
          } as const,
        ]
      : []),
    {
      place: 'Service',
      key: 'Environment',
      value: 'SYSTEMD_NSPAWN_API_VFS_WRITABLE=network',
      why: 'Network plug-ins set ip_forward and the like below /proc/sys/net; the rest of /proc/sys stays read-only.',
    },
    ...(host.cgroups === 'mixed'
      ? [
          {
            place: 'Service',
            key: 'Environment',
            value: 'SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1',
            why: 'The controllers of cgroup v1 are read-only in a machine; in the v2 hierarchy a runtime can make groups.',
          } as const,
        ]
      : []),
    ...(overlay
      ? runtimeStores(name).map(
          ({ source, target }) =>
            ({
              place: 'Files',
              key: 'Bind',
              value: `${source}:${target}`,
              why: "The machine's tree is an overlay, and the kernel takes no upper directory on another overlay.",
            }) as const,
        )
      : []),
  ];
}

function ebpf({ name }: ProfileFacts): ProfileLine[] {
  const directory = bpfDirectory(name);
  return [
    {
      place: 'Exec',
      key: 'SystemCallFilter',
      value: 'bpf perf_event_open',
      why: 'Programs are loaded by bpf(2) and attached to events by perf_event_open(2).',
    },
    {
      place: 'Service',
      key: 'ExecStartPre',
      value: `/bin/mkdir -p ${directory}`,
      why: 'A bpffs can only be mounted in the user namespace of the host, so systemd does it beforehand.',
    },
    {
      place: 'Service',
      key: 'ExecStartPre',
      value: `/bin/mount -t bpf bpf ${directory}`,
      why: "The machine's own file system for pinned programs and maps: it sees none of the host's.",
    },
    {
      place: 'Service',
      key: 'ExecStopPost',
      value: `-/bin/umount ${directory}`,
      why: 'What the machine has pinned goes with it.',
    },
    {
      place: 'Files',
      key: 'Bind',
      value: `${directory}:/sys/fs/bpf`,
      why: 'Programs are pinned below /sys/fs/bpf.',
    },
  ];
}

/** What the profile `kvm` asks of a host; the first is needed, the others are taken if they are there. */
export const kvmDevices: readonly (readonly [path: string, why: string])[] = [
  ['/dev/kvm', 'Virtual machines run by it.'],
  ['/dev/vhost-net', "The kernel moves a virtual machine's packets."],
  ['/dev/vhost-vsock', 'The host talks to a virtual machine without a network.'],
  ['/dev/net/tun', 'A virtual machine is attached to a network by a tap device.'],
];

function kvm({ host }: ProfileFacts): ProfileLine[] {
  return kvmDevices
    .filter(([path]) => path === '/dev/kvm' || host.devices.includes(path))
    .flatMap(([path, why]) => device(path, 'rwm', why));
}

function gpu({ host }: ProfileFacts): ProfileLine[] {
  return [
    ...host.gpu.nodes.flatMap(path => device(path, 'rw', 'Found on the host as a node of its GPU.')),
    ...host.gpu.libraries.map(
      path =>
        ({
          place: 'Files',
          key: 'BindReadOnly',
          value: path,
          why: "The driver's user space has to be of the same version as the host's kernel module.",
        }) as const,
    ),
  ];
}

const privileged: ProfileLine[] = [
  {
    place: 'Exec',
    key: 'Capability',
    value: 'all',
    why: 'All capabilities: without user namespaces root of the machine is then root of the host.',
  },
];

/** What is needed for a profile and may be missing; a hint for the user. */
function missing(name: ProfileName, host: HostFacts): string | undefined {
  if (name === 'kvm' && !host.devices.includes('/dev/kvm')) return 'this host has no /dev/kvm';
  if (name === 'gpu' && host.gpu.nodes.length === 0)
    return 'no NVIDIA or AMD device node was found on this host';
  return undefined;
}

/** The lines of one profile for one machine. */
export function profile(name: ProfileName, facts: ProfileFacts): ProfileLine[] {
  const lines: Readonly<Record<ProfileName, () => ProfileLine[]>> = {
    default: () => defaults,
    nested: () => nested(facts),
    ebpf: () => ebpf(facts),
    kvm: () => kvm(facts),
    gpu: () => gpu(facts),
    privileged: () => privileged,
  };
  return lines[name]();
}

/** What the profiles of a machine come to: each line once, the words of a filter and of capabilities in one. */
export interface Unrolled {
  readonly capabilities: readonly string[];
  readonly systemCalls: readonly string[];
  /** The rest, with the profile that has it. */
  readonly lines: readonly (ProfileLine & { readonly profile: ProfileName })[];
}

const words = (lines: readonly ProfileLine[], key: string) => [
  ...new Set(
    lines.filter(line => line.place === 'Exec' && line.key === key).flatMap(line => line.value.split(' ')),
  ),
];

/** @throws ERR_MACHINE_PROFILE if the host has not what a profile is for. */
export function unrolled(
  spec: Pick<MachineSpec, 'name' | 'profiles'>,
  facts: Pick<MachineFacts, 'host' | 'tree'>,
): Unrolled {
  const about = { name: spec.name, host: facts.host, overlay: facts.tree.kind === 'overlay' };
  const all = spec.profiles.flatMap(name => {
    const why = missing(name, facts.host);
    if (why !== undefined)
      throw new SpawnletError(
        'ERR_MACHINE_PROFILE',
        `machine ${spec.name} cannot have the profile ${name}: ${why}`,
        {
          hint: "'spawnlet machine profiles' says what each is for; leave this one out",
        },
      );
    return profile(name, about).map(line => ({ ...line, profile: name }));
  });
  const capabilities = words(all, 'Capability');
  const seen = new Set<string>();
  const lines = all.filter(line => {
    const text = `${line.place} ${line.key}=${line.value}`;
    if (line.place === 'stock' || line.place === 'Exec' || seen.has(text)) return false;
    seen.add(text);
    return true;
  });
  return {
    capabilities: capabilities.includes('all') ? ['all'] : capabilities,
    systemCalls: words(all, 'SystemCallFilter'),
    lines,
  };
}

/** A row of `machine profiles`. */
export interface ProfileRow extends ProfileLine {
  readonly profile: ProfileName;
}

/** A host that has all that profiles ask for, with one node and one library of a GPU. */
const wholeHost: HostFacts = {
  devices: kvmDevices.map(([path]) => path),
  modules: 'apparmor',
  cgroups: 'mixed',
  gpu: { nodes: ['/dev/nvidia0'], libraries: ['/usr/lib/x86_64-linux-gnu/libcuda.so.1'] },
};

/** Each line of each profile, for a machine NAME that is a clone of a base; of a host that has everything unless one is given. */
export const profileRows = (host: HostFacts = wholeHost): ProfileRow[] =>
  profileNames.flatMap(name =>
    profile(name, { name: 'NAME', host, overlay: true }).map(line => ({ ...line, profile: name })),
  );
