import { bundleOf } from '../../engine/bundle.ts';
import type { CgroupVersion } from '../../engine/cgroup.ts';
import type { ContainerSpec, Users } from '../../engine/container.ts';
import { rootfsOf, runDirectories, runDirectoryOf } from '../../engine/script.ts';
import type { Seccomp } from '../../engine/seccomp.ts';
import { deviceLines } from '../../engine/unit.ts';
import type { HostStep } from '../../host/step.ts';
import { formatVersion, transientUnits } from '../../names.ts';
import { description, execLine } from '../../systemd/escape.ts';
import type { SystemdStep } from '../../systemd/executors.ts';
import { renderUnit, section, unitFile } from '../../systemd/unit-file.ts';
import {
  anchorOf,
  directoryOf,
  type PodIdentity,
  pidNamespaceOf,
  type QosClass,
  sliceOf,
  targetOf,
} from './names.ts';

/**
 * PID 1 of a PID namespace that containers share: a process that sleeps, and whose children the kernel reaps. It is a
 * container by itself, of no user that another has, since what shares its namespace may look into it: no capabilities, the
 * default filter, no network, and an empty root once it has begun.
 */

/** As the kubelet's pause container. */
const nobody = 65_535;
const oomScore = -998;

/** A signal that is ignored stays so in the next program; with SIGCHLD ignored no child is left to be reaped. */
const words = ['/usr/bin/env', '--ignore-signal=CHLD', '/usr/bin/sleep', 'infinity'];

const directory = (pod: PodIdentity) => `${directoryOf(pod.uid)}/anchor`;

const nameOf = (pod: PodIdentity) => anchorOf(pod).replace(/\.service$/, '');

/** What of the host it is made of. */
export interface AnchorFacts {
  readonly seccomp: Seccomp;
  readonly cgroups: CgroupVersion;
  /** Of a pod that has users of its own. */
  readonly users: Users | undefined;
}

const specOf = (pod: PodIdentity, { seccomp, cgroups, users }: AnchorFacts): ContainerSpec => ({
  name: nameOf(pod),
  directory: directory(pod),
  args: words,
  env: [],
  cwd: '/',
  user: { uid: nobody, gid: nobody, additionalGids: [] },
  hostname: '',
  terminal: false,
  stdin: false,
  layers: [],
  readOnly: true,
  mounts: [
    { kind: 'bind', source: '/usr', target: '/usr', readOnly: true, propagation: 'rprivate', unmapped: true },
  ],
  volumes: [],
  missingDirectory: undefined,
  devices: [],
  capabilities: [],
  privileged: false,
  noNewPrivileges: true,
  seccomp,
  network: 'none',
  ...(users && { users }),
  cgroups,
  limits: {},
  stopSignal: 9,
  stopTimeout: 1,
});

/** Runs it from the host's /usr, takes that away from it, and keeps its namespace as a file. */
function script(pod: PodIdentity, spec: ContainerSpec): string {
  const file = pidNamespaceOf(pod.uid);
  const run = runDirectoryOf(spec.name);
  const root = rootfsOf(spec);
  return `#!/bin/sh
# Runs PID 1 of the processes of pod ${pod.namespace}/${pod.name}.
set -eu
umount --lazy ${file} 2> /dev/null || :
chmod 755 ${root}
mkdir ${['dev', 'proc', 'sys', 'usr'].map(name => `${root}/${name}`).join(' ')}
ln -s usr/lib usr/lib64 ${root}
: > ${file}
crun --root=${run}/crun --cgroup-manager=disabled --log=${run}/error \\
  run --detach --pid-file=${run}/pid --bundle=${directory(pod)} anchor < /dev/null > /dev/null 2>&1 ||
  { cat ${run}/error >&2; exit 1; }
read -r pid < ${run}/pid || :
nsenter --target="$pid" --mount --pid umount --lazy /usr
mount --bind "/proc/$pid/ns/pid" ${file}
`;
}

const unitText = (pod: PodIdentity, qos: QosClass, spec: ContainerSpec): string =>
  renderUnit(
    unitFile(`The process namespace of pod ${pod.namespace}/${pod.name}, made by spawnlet.`, [
      section('Unit', [
        ['Description', description(`Process namespace of pod ${pod.namespace}/${pod.name}`)],
        ['PartOf', targetOf(pod)],
        ['StartLimitIntervalSec', '0'],
      ]),
      section('Service', [
        ['Type', 'forking'],
        ['Slice', sliceOf(pod, qos)],
        ['ExecStart', execLine(['/bin/sh', `${spec.directory}/start`])],
        ['ExecStopPost', execLine(['/usr/bin/umount', '--lazy', pidNamespaceOf(pod.uid)], '-')],
        ['PIDFile', `${runDirectoryOf(spec.name)}/pid`],
        // A PID 1 hears no other signal.
        ['KillSignal', 'SIGKILL'],
        ['OOMScoreAdjust', String(oomScore)],
        ...runDirectories(spec),
        ...deviceLines(spec),
      ]),
      section('X-Spawnlet', [
        ['FormatVersion', String(formatVersion)],
        ['Namespace', pod.namespace],
        ['Pod', pod.name],
        ['UID', pod.uid],
      ]),
    ]),
  );

/** It runs, once the pod's slice and target are there. */
export function anchorSteps(pod: PodIdentity, qos: QosClass, facts: AnchorFacts): (HostStep | SystemdStep)[] {
  const at = directory(pod);
  const spec = specOf(pod, facts);
  const file = (name: string, content: string): HostStep => ({
    do: 'write-file',
    path: `${at}/${name}`,
    content,
    mode: 0o600,
  });
  return [
    { do: 'make-directory', path: at, mode: 0o700 },
    file('config.json', JSON.stringify(bundleOf(spec, {}))),
    file('start', script(pod, spec)),
    {
      do: 'write-file',
      path: `${transientUnits}/${anchorOf(pod)}`,
      content: unitText(pod, qos, spec),
      mode: 0o644,
    },
    { do: 'start-unit', name: anchorOf(pod) },
  ];
}

/** It is down: what was still in its namespace is gone with it. */
export const anchorRemoval = (pod: PodIdentity): (HostStep | SystemdStep)[] => [
  { do: 'kill-unit', name: anchorOf(pod) },
  { do: 'remove', path: `${transientUnits}/${anchorOf(pod)}` },
  { do: 'reset-failed-unit', name: anchorOf(pod) },
];
