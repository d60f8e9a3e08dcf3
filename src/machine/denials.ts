/** What a machine may be denied, and which lines of which profiles would allow it. */

import type { ProfileLine } from './profiles.ts';
import type { ProfileName } from './spec.ts';

/** Something that programs in machines ask for. */
export interface Denial {
  readonly name: string;
  /** What asks for it. */
  readonly purpose: string;
  /** Profiles that allow it, the one that allows least first. */
  readonly profiles: readonly ProfileName[];
  /** Whether a line of these profiles is for it. */
  readonly takes: (line: ProfileLine) => boolean;
  /** A condition of a shell that holds where it is allowed; what it says last is why not. See {@link questions}. */
  readonly script: string;
}

const has =
  (key: string, value: RegExp): Denial['takes'] =>
  line =>
    line.place !== 'stock' && line.key === key && value.test(line.value);

const either =
  (...all: readonly Denial['takes'][]): Denial['takes'] =>
  line =>
    all.some(takes => takes(line));

/** Every line of every profile is for one of these. */
export const denials: readonly Denial[] = [
  {
    name: 'keyrings',
    purpose: 'runc gives each container a session keyring',
    profiles: ['nested'],
    takes: has('SystemCallFilter', /@keyring/),
    // KEYCTL_GET_KEYRING_ID of the session's.
    script: 'call keyctl 0 -3 1',
  },
  {
    name: 'bpf',
    purpose: 'device rules of containers on cgroup v2; eBPF programs',
    profiles: ['nested', 'ebpf'],
    takes: has('SystemCallFilter', /\bbpf\b/),
    script: 'call bpf 9999 0 0',
  },
  {
    name: 'perf events',
    purpose: 'eBPF programs are attached to them',
    profiles: ['ebpf'],
    takes: has('SystemCallFilter', /\bperf_event_open\b/),
    script: 'call perf_event_open 0 0 -1 -1 0',
  },
  {
    name: 'bpffs',
    purpose: 'eBPF programs and maps are pinned there',
    profiles: ['ebpf'],
    takes: either(has('Bind', /:\/sys\/fs\/bpf$/), has('ExecStartPre', /bpf/), has('ExecStopPost', /bpf/)),
    script: 'is bpf_fs /sys/fs/bpf || no "/sys/fs/bpf is none"',
  },
  {
    name: 'cgroups',
    purpose: 'a container runtime makes groups of its own',
    profiles: ['nested'],
    takes: has('Environment', /^SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=/),
    script: 'is cgroup2fs /sys/fs/cgroup && writes /sys/fs/cgroup/cgroup.procs || writes /sys/fs/cgroup/pids',
  },
  {
    name: 'stores',
    purpose: 'containerd, docker, podman and k3s mount overlays there',
    profiles: ['nested'],
    takes: has('Bind', /:\/var\/lib\//),
    script:
      'at=/var/lib/containerd; test -d $at || at=/var/lib; ! is overlayfs $at || no "$at is on an overlay, which takes no other"',
  },
  {
    name: 'network settings',
    purpose: 'network plug-ins set ip_forward and the like',
    profiles: ['nested'],
    takes: has('Environment', /^SYSTEMD_NSPAWN_API_VFS_WRITABLE=/),
    script: 'writes /proc/sys/net/ipv4/ip_forward',
  },
  {
    name: 'kernel log',
    purpose: 'the kubelet and k3s read it to learn what was killed for memory',
    profiles: ['nested'],
    takes: either(
      has('Bind', /^\/dev\/kmsg$/),
      has('DeviceAllow', /^\/dev\/kmsg /),
      has('Capability', /^CAP_SYSLOG$/),
    ),
    script: '(: </dev/kmsg)',
  },
  {
    name: 'modules',
    purpose: 'docker and k3s look there for what the kernel can do',
    profiles: ['nested'],
    takes: either(has('BindReadOnly', /^\/sys\/module$/), has('Inaccessible', /^\/sys\/module\//)),
    script: 'test -d /sys/module || no "there is no /sys/module"',
  },
  {
    name: 'kvm',
    purpose: 'virtual machines run by it',
    profiles: ['kvm'],
    takes: either(has('Bind', /^\/dev\/(kvm|vhost|net)/), has('DeviceAllow', /^\/dev\/(kvm|vhost|net)/)),
    // The shell would make a file that is not there.
    script: 'test -c /dev/kvm || no "there is no /dev/kvm" && (: <>/dev/kvm)',
  },
  {
    name: 'gpu',
    purpose: 'graphics and computing',
    profiles: ['gpu'],
    takes: either(
      has('Bind', /^\/dev\/(nvidia|kfd|dri)/),
      has('DeviceAllow', /^\/dev\/(nvidia|kfd|dri)/),
      has('BindReadOnly', /nvidia|\/lib(cuda|nvcuvid|nvoptix)/),
    ),
    script:
      'ls /dev/nvidia[0-9]* 2>/dev/null || ls /dev/dri/renderD* 2>/dev/null || no "it has no node of one"',
  },
  {
    name: 'capabilities',
    purpose: 'the clock, kernel modules, raw I/O: an OS boots without',
    profiles: ['privileged'],
    takes: has('Capability', /^all$/),
    script: 'grep -q "^CapBnd:.$capabilities" /proc/self/status || no "it has not all of them"',
  },
];

/**
 * A script of a shell that asks for what stands in its arguments, behind the capabilities of the host as the kernel writes
 * them. It writes a line for each: 0 if it is allowed, 1 if not, 2 if nothing is there to ask with; and why.
 *
 * A shell makes no system calls by number. Debian's essential packages have perl, Fedora has Python.
 */
export const questions = `LC_ALL=C; export LC_ALL
capabilities=$1; shift
no() { echo "$1" >&2; return 1; }
is() { test "$(stat -f -c %T "$2" 2>/dev/null)" = "$1"; }
writes() { test -w "$1" || no "$1 cannot be written"; }
number() {
  case "$(uname -m) $1" in
    "x86_64 keyctl") echo 250 ;; "x86_64 bpf") echo 321 ;; "x86_64 perf_event_open") echo 298 ;;
    "aarch64 keyctl") echo 219 ;; "aarch64 bpf") echo 280 ;; "aarch64 perf_event_open") echo 241 ;;
  esac
}
# It is the filter that refuses with EPERM; what the kernel says of such arguments is another error.
call() {
  name=$1; shift
  set -- "$(number "$name")" "$@"
  if test -z "$1"; then errno=none
  elif command -v perl >/dev/null; then
    errno=$(perl -e 'my ($n, @a) = map { $_ + 0 } @ARGV; print syscall($n, @a) < 0 ? $!+0 : 0' -- "$@")
  elif command -v python3 >/dev/null; then
    errno=$(python3 -c 'import ctypes, sys
c = ctypes.CDLL(None, use_errno=True)
print(ctypes.get_errno() if c.syscall(*[ctypes.c_long(int(w)) for w in sys.argv[1:]]) < 0 else 0)' "$@")
  else errno=none; fi
  case $errno in
    none) no "it has neither perl nor python3 to try it with"; return 2 ;;
    1) no "$name: operation not permitted" ;;
  esac
}
for question; do
  why=$(eval "$question" 2>&1 >/dev/null); echo "$? $(echo "$why" | tail -n1)"
done`;
