import { quoted } from '../host/shell.ts';
import { bundleOf, networkNamespace } from './bundle.ts';
import type { ContainerSpec, Mount } from './container.ts';
import type { Engine, Way } from './engine.ts';
import { isShared } from './propagation.ts';
import {
  disconnectScript,
  gateScript,
  mountScript,
  recordScript,
  removeScript,
  rootfsOf,
  runDirectoryOf,
} from './script.ts';
import type { Seccomp } from './seccomp.ts';

/**
 * The `nspawn` engine: the same bundle, run by systemd-nspawn, for hosts that want nothing but systemd. Terminals,
 * `attach` and `exec` are not there: nspawn has no way to give them the container's filter and capabilities.
 */

/** A path on nspawn's command line, where a colon separates. */
const colonSafe = (path: string) => path.replaceAll(/[\\:]/g, '\\$&');

function mountFlag(mount: Mount): string {
  if (mount.kind === 'tmpfs') {
    const options = mount.options.filter(option => option !== 'rw').join(',');
    return `--tmpfs=${colonSafe(mount.target)}${options && `:${options}`}`;
  }
  const flag = mount.readOnly ? '--bind-ro' : '--bind';
  return `${flag}=${colonSafe(mount.source)}:${colonSafe(mount.target)}`;
}

/**
 * nspawn knows neither a default error number nor one for a rule: the filter is a list of what is allowed, all else is
 * EPERM. clone3 must then be allowed, or C libraries start no threads; namespaces stay out of reach by capabilities.
 */
function plainSeccomp(seccomp: Seccomp): Seccomp {
  const allowed = seccomp.syscalls.filter(rule => rule.action === 'SCMP_ACT_ALLOW');
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    architectures: seccomp.architectures,
    syscalls: [...allowed, { names: ['clone3'], action: 'SCMP_ACT_ALLOW' }],
  };
}

function startScript(spec: ContainerSpec, { register }: Way): string {
  const { name, directory, stopSignal } = spec;
  const run = runDirectoryOf(name);
  const words = [
    '--quiet',
    `--oci-bundle=${directory}`,
    `--machine=${machineName(name)}`,
    '--keep-unit',
    `--register=${register ? 'yes' : 'no'}`,
    '--console=pipe',
    '--resolv-conf=off',
    '--timezone=off',
    '--link-journal=no',
    `--kill-signal=${stopSignal}`,
    ...spec.mounts.map(mountFlag),
  ];
  return `${mountScript(spec, 'systemd-nspawn')}rm -f error
mkdir -p ${rootfsOf({ name })}/usr
${typeof spec.network === 'object' ? `connect 2> error || { cat error >&2; exit 1; }\nrm -f error\n` : ''}${gateScript(name, 'exit 1')}# The streams are pipes, so that every user of the container can open /dev/stdout; the journal has them line by line.
out=/dev/null err=/dev/null
[ ! -p ${run}/stdout ] || out=${run}/stdout
[ ! -p ${run}/stderr ] || err=${run}/stderr
[ ! -p ${run}/stdin ] || exec < ${run}/stdin
# Whatever carries them holds a lock.
exec 9> ${run}/streams
flock --shared 9
log='exec systemd-cat --identifier=${name} --level-prefix=no'
exec > >(trap '' TERM; tee -p "$out" | $log --priority=info) 2> >(trap '' TERM; tee -p "$err" | $log --priority=err)
chmod 666 /proc/self/fd/1 /proc/self/fd/2
run=()
[ -L ${rootfsOf({ name })}/run ] || [ ! -d ${rootfsOf({ name })}/run ] || run=("--bind=${rootfsOf({ name })}/run:/run")
export SYSTEMD_NSPAWN_TMPFS_TMP=0 SYSTEMD_LOG_TARGET=journal
# For an image without systemd nspawn would mount a tree of version 1, which every process of the host would then be in.
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec 8<&0
systemd-nspawn "\${run[@]}" ${words.map(quoted).join(' \\\n  ')} <&8 8<&- 9>&- &
nspawn=$!
trap "kill $nspawn" TERM
while kill -0 $nspawn 2>/dev/null; do wait $nspawn || :; done
trap '' TERM
code=0
wait $nspawn || code=$?
# A process that has gone before journald takes notice of it has its lines in no unit.
journalctl --namespace=spawnlet --sync || :
# systemd kills whatever is left when the main process has ended: that waits for the last line.
exec > /dev/null 2>&1 8<&- 9>&-
flock ${run}/streams true
${findCode(spec)}exit $code
`;
}

/** Names of machines are host names: other characters than letters, digits and - become -. */
const machineName = (name: string) =>
  name.replaceAll(/[^a-zA-Z0-9-]+/g, '-').replace(/^-+|-+$/g, '') || 'container';

/** What nspawn writes to the container's standard error, last, when it could not run the program. */
const execError = (program: string, why: string) => quoted(`execv(${program}) failed: ${why}`);

/**
 * nspawn exits with 1 when a signal has killed the container, and says so in the journal alone; also when it could not run
 * the program, and says that where the program's errors go.
 */
const findCode = ({ name, args: [program = ''] }: ContainerSpec) => `if [ $code = 1 ]; then
  last() {
    journalctl --namespace=spawnlet --quiet --no-pager --output=cat --boot --lines=1 "$@"
  }
  journalctl --namespace=spawnlet --sync || :
  # What it says last may have no unit and no program, since it ends at once: journald looks at the process.
  end=$(last _PID=$nspawn SYSLOG_IDENTIFIER=systemd-nspawn)
  case $end in
    *'terminated by signal '*) end=\${end##* } code=$((128 + $(kill -l \${end%.}))) ;;
    *)
      case $(last _SYSTEMD_INVOCATION_ID=$INVOCATION_ID SYSLOG_IDENTIFIER=${name} PRIORITY=3) in
        ${execError(program, 'No such file or directory')}) code=127 ;;
        ${execError(program, '')}*) code=126 ;;
      esac ;;
  esac
fi
`;

/**
 * The kernel counts who was out of memory in the unit's cgroup; it is the unit's result only where OOMPolicy= is not that of
 * delegated cgroups.
 */
const findOom = (name: string) => `[ "$SERVICE_RESULT" != oom-kill ] || oom=true
group=$(systemctl show --property=ControlGroup --value ${name}.service)
! grep -qs 'oom_kill [1-9]' /sys/fs/cgroup/memory$group/memory.oom_control /sys/fs/cgroup$group/memory.events || oom=true
`;

export const nspawn: Engine = {
  programs: ['systemd-nspawn'],
  refuse: spec => {
    if (spec.mounts.some(isShared)) return { flag: 'a mount that is shared', hint: 'use --engine crun' };
    if (spec.terminal) return { flag: 'terminal (-t)', hint: 'use --engine crun' };
    return undefined;
  },
  bundle(spec, annotations) {
    const bundle = bundleOf(spec, annotations);
    const { seccomp: _seccomp, ...linux } = bundle.linux;
    return {
      ...bundle,
      // nspawn ignores mounts below /dev, /run and /tmp in a bundle; on its command line they work.
      mounts: [],
      linux: {
        ...linux,
        namespaces: [
          ...['mount', 'pid', 'uts', 'ipc', 'cgroup'].map(type => ({ type })),
          ...networkNamespace(spec),
        ],
        ...(spec.seccomp !== 'unconfined' && { seccomp: plainSeccomp(spec.seccomp) }),
      },
    };
  },
  startScript,
  stoppedScript: (spec, { removeAfterwards }) =>
    (removeAfterwards ? `#!/bin/bash\n${removeScript(spec)}` : recordScript(spec, findOom(spec.name))) +
    disconnectScript(spec),
  lines: () => ({
    engine: 'nspawn',
    stopped: true,
    stop: [],
    more: [['Delegate', 'yes']],
  }),
  fifos: stdin => ['stdout', 'stderr', ...(stdin ? ['stdin'] : [])],
};
