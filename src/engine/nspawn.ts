import { quoted } from '../host/shell.ts';
import { execLine } from '../systemd/escape.ts';
import { bundleOf, namespacesOf } from './bundle.ts';
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
import type { EngineLines } from './unit.ts';

/**
 * The `nspawn` engine: the same bundle, run by systemd-nspawn, for hosts that want nothing but systemd. Terminals and
 * `attach` are not there; what comes into a container later is in nspawn-exec.ts.
 */

/** A path on nspawn's command line, where a colon separates. */
const colonSafe = (path: string) => path.replaceAll(/[\\:]/g, '\\$&');

const bindFlag = (source: string, { readOnly, target }: BindMount): string =>
  `${readOnly ? '--bind-ro' : '--bind'}=${colonSafe(source)}:${colonSafe(target)}`;

type BindMount = Mount & { readonly kind: 'bind' };

/**
 * Lines that put flags into the array `mounts`. nspawn lets a container see what the host mounts later below what is bound,
 * which a directory of its own that hears of nothing does not.
 */
function mountLines({ name, mounts }: ContainerSpec): string {
  const lines = mounts.map((mount, index) => {
    if (mount.kind === 'tmpfs') {
      const options = mount.options.filter(option => option !== 'rw').join(',');
      return `mounts+=(${quoted(`--tmpfs=${colonSafe(mount.target)}${options && `:${options}`}`)})`;
    }
    const given = `mounts+=(${quoted(bindFlag(mount.source, mount))})`;
    if (mount.propagation.endsWith('slave')) return given;
    const own = `${runDirectoryOf(name)}/mounts/${index}`;
    return `if own ${quoted(mount.source)} ${own}; then mounts+=(${quoted(bindFlag(own, mount))}); else ${given}; fi`;
  });
  return `own() {
  [ -d "$1" ] || return
  mkdir -p "$2"
  mount --rbind --make-rprivate "$1" "$2" || exit 1
}
mounts=()
${lines.join('\n')}
`;
}

/**
 * nspawn has a /run of its own, which it needs: what the image has there is bound into it. A link would be followed on the
 * host.
 */
function runLines({ name, readOnly }: ContainerSpec): string {
  const place = `${runDirectoryOf(name)}/mounts/run`;
  return `from=${rootfsOf({ name })}/run
if [ ! -L $from ] && own $from ${place}; then
  for each in ${place}/*; do
    case $each in *[:\\\\]*) continue ;; esac
    [ -L "$each" ] || { [ ! -d "$each" ] && [ ! -f "$each" ]; } || mounts+=("--bind${readOnly ? '-ro' : ''}=$each:/run/\${each##*/}")
  done
fi
`;
}

const enosys = 38;

/** What a filter answers to a call that hides its flags, so that C libraries use an older one. */
function isUnknown({ defaultAction, defaultErrnoRet, syscalls }: Seccomp, name: string): boolean {
  const rules = syscalls.filter(({ names }) => names.includes(name));
  if (rules.length === 0) return defaultAction === 'SCMP_ACT_ERRNO' && defaultErrnoRet === enosys;
  return rules.every(({ action, errnoRet }) => action === 'SCMP_ACT_ERRNO' && errnoRet === enosys);
}

/**
 * nspawn knows neither a default error number nor one for a rule: what is not allowed is EPERM. clone3 must then be allowed
 * where it is to be unknown, or C libraries start no threads; namespaces stay out of reach by capabilities.
 */
export function plainSeccomp(seccomp: Seccomp): Seccomp {
  const { defaultAction, architectures } = seccomp;
  const syscalls = seccomp.syscalls
    .filter(({ action }) => action !== defaultAction)
    .map(({ errnoRet: _number, ...rule }) => rule);
  const threads = { names: ['clone3'], action: 'SCMP_ACT_ALLOW' };
  return {
    defaultAction,
    architectures,
    syscalls: isUnknown(seccomp, 'clone3') ? [...syscalls, threads] : syscalls,
  };
}

/** What of nspawn only its environment says. */
function settingsOf({ privileged, seccomp }: ContainerSpec): string {
  const settings = [
    'SYSTEMD_NSPAWN_TMPFS_TMP=0',
    'SYSTEMD_LOG_TARGET=journal',
    ...(privileged ? ['SYSTEMD_NSPAWN_API_VFS_WRITABLE=1'] : []),
    // Without a filter in the bundle it would take its own.
    ...(seccomp === 'unconfined' ? ['SYSTEMD_SECCOMP=0'] : []),
  ];
  return `export ${settings.join(' ')}`;
}

/**
 * A root that is read-only has to have the points of its mounts before. Their paths are free of links in the image, and the
 * program has not run yet.
 */
function mountPoints({ name, readOnly, missingTargets = [] }: ContainerSpec): string {
  if (!readOnly) return '';
  const lines = missingTargets.map(({ source, path }) => {
    const made = quoted(`${rootfsOf({ name })}/${path}`);
    const [, parent = ''] = /^(.*)\/[^/]*$/.exec(path) ?? [];
    const file = `mkdir -p ${quoted(`${rootfsOf({ name })}/${parent}`)}; : > ${made}`;
    return source === undefined
      ? `mkdir -p ${made}\n`
      : `if [ -d ${quoted(source)} ]; then mkdir -p ${made}; else ${file}; fi\n`;
  });
  return lines.join('');
}

/** nspawn sets none in namespaces that it joins. The host's /proc may be read-only, as in a lab. */
function sysctlLines({ name, sysctls = {}, joins = {} }: ContainerSpec): string {
  const fresh = `${runDirectoryOf(name)}/proc`;
  const lines = Object.entries(sysctls).map(([key, value]) => {
    const place = `${fresh}/sys/${key.replaceAll('.', '/')}`;
    const [flag, path] = key.startsWith('net.') ? ['--net', joins.network] : ['--ipc', joins.ipc];
    return `nsenter ${flag}=${quoted(path ?? '')} sh -c 'printf %s "$1" > "$0"' ${quoted(place)} ${quoted(value)}\n`;
  });
  return lines.length === 0
    ? ''
    : `mkdir ${fresh}\nmount -t proc proc ${fresh}\n${lines.join('')}umount ${fresh}\n`;
}

/** It makes an IPC namespace or stays in that of its caller; another one has to be its caller's. */
const joining = ({ joins }: ContainerSpec): string =>
  joins?.ipc === undefined ? '' : `nsenter --ipc=${quoted(joins.ipc)} `;

/** What nspawn notes of a machine that is registered, and leaves when it is killed: here it goes with the unit. */
const ownNotes = `mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=755 nspawn /run/systemd/nspawn
`;

/** A FIFO for whoever attaches, which has an end for `once` alone: nobody waits here for the first of them. */
function inputLines({ name, stdin }: ContainerSpec): string {
  if (!stdin) return '';
  const fifo = `${runDirectoryOf(name)}/stdin`;
  return `mkfifo -m 600 ${fifo}
exec < <(exec cat ${stdin === 'once' ? '<' : '<>'} ${fifo})
`;
}

function startScript(spec: ContainerSpec, { register, isTold }: Way): string {
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
    ...(spec.readOnly ? ['--read-only'] : []),
    '--timezone=off',
    '--link-journal=no',
    `--kill-signal=${stopSignal}`,
  ];
  return `${mountScript(spec, 'systemd-nspawn')}rm -f error
mkdir -p ${rootfsOf({ name })}/usr
${isTold ? ownNotes : ''}${mountLines(spec)}${mountPoints(spec)}${sysctlLines(spec)}${typeof spec.network === 'object' ? `connect 2> error || { cat error >&2; exit 1; }\nrm -f error\n` : ''}${gateScript(name, 'exit 1')}# The streams are pipes, so that every user of the container can open /dev/stdout; the journal has them line by line.
out=/dev/null err=/dev/null
[ ! -p ${run}/stdout ] || out=${run}/stdout
[ ! -p ${run}/stderr ] || err=${run}/stderr
${isTold ? inputLines(spec) : `[ ! -p ${run}/stdin ] || exec < ${run}/stdin\n`}# Whatever carries them holds a lock.
exec 9> ${run}/streams
flock --shared 9
log='exec systemd-cat --identifier=${name} --level-prefix=no'
exec > >(trap '' TERM; tee -p "$out" | $log --priority=info) 2> >(trap '' TERM; tee -p "$err" | $log --priority=err)
chmod 666 /proc/self/fd/1 /proc/self/fd/2
${runLines(spec)}${settingsOf(spec)}
# For an image without systemd nspawn would mount a tree of version 1, which every process of the host would then be in.
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec 8<&0
{ echo $BASHPID > ${run}/nspawn; exec ${joining(spec)}systemd-nspawn "\${mounts[@]}" ${words.map(quoted).join(' \\\n  ')}; } <&8 8<&- 9>&- &
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
${findCode(spec)}${
  isTold
    ? `[ -z "$why" ] || echo "$why" > error
`
    : ''
}exit $code
`;
}

/** What the name of a machine may have, in characters. */
const longest = 64;

/**
 * Names of machines are host names: other characters than letters, digits and - become -, and the end of what is too long
 * becomes a digest.
 */
export function machineName(name: string): string {
  const plain = name.replaceAll(/[^a-zA-Z0-9-]+/g, '-').replace(/^-+|-+$/g, '') || 'container';
  if (plain.length <= longest) return plain;
  const { hash } = process.getBuiltinModule('node:crypto');
  return `${plain.slice(0, 47)}-${hash('sha256', name).slice(0, 16)}`;
}

/** What nspawn writes to the container's standard error, last, when it could not run the program. */
const execError = (program: string, why: string) => quoted(`execv(${program}) failed: ${why}`);

/**
 * nspawn exits with 1 when a signal has killed the container, and says so in the journal alone; also when it could not run
 * the program, and says that where the program's errors go.
 */
const findCode = ({ name, args: [program = ''] }: ContainerSpec) => `why=
if [ $code = 1 ]; then
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
        ${execError(program, 'No such file or directory')}) code=127 why='exec: No such file or directory' ;;
        ${execError(program, '')}*) code=126 why='exec: Permission denied' ;;
        *) [ -e started ] || why=$(journalctl --namespace=spawnlet --quiet --no-pager --output=cat --boot \\
          _SYSTEMD_INVOCATION_ID=$INVOCATION_ID SYSLOG_IDENTIFIER=systemd-nspawn PRIORITY=3 | head -n 1) ;;
      esac ;;
  esac
fi
`;

/**
 * Runs when nspawn has told systemd that the container is there. Its first process is the child of nspawn that is in the
 * container's part of the cgroup. A process may have any name, so its parent is looked for by whole lines.
 */
const begunScript = ({ name, directory }: ContainerSpec) => `#!/bin/bash
# Runs when ${name} has begun: leaves which its first process is.
read -r nspawn < ${runDirectoryOf(name)}/nspawn
for each in /proc/[0-9]*; do
  mapfile -d '' -t status < $each/status || continue
  [[ \${status[0]} = *$'\\nPPid:\\t'$nspawn$'\\n'* ]] || continue
  mapfile -d '' -t cgroup < $each/cgroup || continue
  [[ \${cgroup[0]} != */payload$'\\n'* ]] || echo \${each#/proc/} > ${runDirectoryOf(name)}/pid
done 2> /dev/null
: > ${directory}/started
`;

/**
 * The kernel counts who was out of memory in the unit's cgroup; it is the unit's result only where OOMPolicy= is not that of
 * delegated cgroups.
 */
const findOom = (name: string) => `[ "$SERVICE_RESULT" != oom-kill ] || oom=true
group=$(systemctl show --property=ControlGroup --value ${name}.service)
! grep -qs 'oom_kill [1-9]' /sys/fs/cgroup/memory$group/memory.oom_control /sys/fs/cgroup$group/memory.events || oom=true
`;

/** What could not be run has no end, but a reason. */
const ifNotBegun = ({ directory }: ContainerSpec) => `[ ! -s ${directory}/error ] || exit 0
`;

/** nspawn tells systemd when the container is there. */
const toldLines = ({ directory }: ContainerSpec): EngineLines['more'] => [
  ['Type', 'notify'],
  ['NotifyAccess', 'all'],
  ['ExecStartPost', execLine(['/bin/bash', `${directory}/begun`], '+')],
];

export const nspawn: Engine = {
  programs: ['systemd-nspawn'],
  refuse: spec => {
    if (spec.mounts.some(isShared)) return { flag: 'a mount that is shared', hint: 'use --engine crun' };
    if (spec.terminal) return { flag: 'terminal (-t)', hint: 'use --engine crun' };
    return undefined;
  },
  bundle(spec, annotations) {
    const bundle = bundleOf(spec, annotations);
    const { seccomp: _seccomp, sysctl: _sysctl, ...linux } = bundle.linux;
    return {
      ...bundle,
      // nspawn ignores mounts below /dev, /run and /tmp in a bundle; on its command line they work.
      mounts: [],
      linux: {
        ...linux,
        namespaces: [
          ...namespacesOf(spec).filter(({ type, path }) => type !== 'cgroup' && !(type === 'ipc' && path)),
          { type: 'cgroup' },
        ],
        ...(spec.seccomp !== 'unconfined' && { seccomp: plainSeccomp(spec.seccomp) }),
      },
    };
  },
  startScript,
  stoppedScript: (spec, { removeAfterwards, isTold }) =>
    (removeAfterwards
      ? `#!/bin/bash\n${removeScript(spec)}`
      : recordScript(spec, `${isTold ? ifNotBegun(spec) : ''}${findOom(spec.name)}`)) +
    disconnectScript(spec),
  begunScript,
  lines: (spec, { isTold }) => ({
    engine: 'nspawn',
    stopped: true,
    stop: [],
    more: [['Delegate', 'yes'], ...(isTold ? toldLines(spec) : [])],
  }),
  fifos: stdin => ['stdout', 'stderr', ...(stdin ? ['stdin'] : [])],
};
