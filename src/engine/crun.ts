import { layersDirectory, runtimeDirectory, transientUnits } from '../names.ts';
import type { ContainerSpec } from './container.ts';
import { quoted } from './shell.ts';

/**
 * The `crun` engine: a unit whose main process is conmon, with the container's bundle run by crun below it.
 * What a unit file cannot say in one line stands in two scripts beside the bundle, so that the unit stays readable and
 * goes on working without spawnlet.
 */

/** crun's and conmon's files of one run: in the unit's RuntimeDirectory=, which systemd removes when the unit ends. */
export const runDirectoryOf = (name: string): string => `${runtimeDirectory}/${name}`;

/** conmon refuses an ID of 12 characters or less. */
export const containerIdOf = (name: string): string => `spawnlet-app-${name}`;

const crunCommand = (name: string) =>
  `/usr/bin/crun --root=${runDirectoryOf(name)}/crun --cgroup-manager=disabled`;

/** The words of a crun command on a running container. */
export const crunWords = (name: string, ...words: string[]): string[] => [
  ...crunCommand(name).split(' '),
  ...words,
];

/**
 * Mounts the image's layers, makes the container and hands over to conmon.
 *
 * The overlay is mounted in the unit's own mount namespace: nothing is on the host, nothing is left after a crash. The
 * layers' paths are relative, since overlayfs takes no more than 4,096 bytes of options. conmon tells through the pipe
 * that crun has made the container; why it could not is in the file `error`. Only then is the program let go, by
 * `crun start`, once whoever waits at the gate (`spawnlet run`, which attaches first) has written a line.
 */
export function startScript(spec: ContainerSpec): string {
  const { name, directory } = spec;
  const run = runDirectoryOf(name);
  const conmon = [
    '--sync',
    `--cid=${containerIdOf(name)}`,
    `--name=${name}`,
    '--runtime=/usr/bin/crun',
    `--runtime-arg=--root=${run}/crun`,
    '--runtime-arg=--cgroup-manager=disabled',
    `--runtime-arg=--log=${directory}/error`,
    `--bundle=${directory}`,
    `--container-pidfile=${run}/pid`,
    `--persist-dir=${run}`,
    `--exit-dir=${run}`,
    `--socket-dir-path=${run}`,
    '--full-attach',
    '--log-path=journald:',
    '--log-level=error',
    ...(spec.stdin ? ['--stdin'] : []),
    ...(spec.terminal ? ['--terminal'] : []),
  ];
  return `#!/bin/bash
# Runs the container ${name}: mounts its image's layers, then conmon, which has crun make the container.
set -eu
cd ${quoted(directory)}
rm -f attach ctl winsz error
${spec.network === 'host' ? hostNames : ''}cd ${layersDirectory}
mount -t overlay overlay -o lowerdir=${lowerDirectories(spec)},upperdir=${directory}/upper,workdir=${directory}/work ${directory}/rootfs 2> ${directory}/error || { cat ${directory}/error >&2; exit 1; }
cd ${directory}
${prepare(spec)}started() {
  local made
  read -r made <&4
  [ -e ${run}/pid ] || exit 1
  if [ -p ${run}/gate ]; then
    exec 5<>${run}/gate
    read -r -t 10 -u 5 made || { echo 'spawnlet run went away before it had attached' >&2; ${crunCommand(name)} kill ${containerIdOf(name)} KILL; exit 1; }
    rm -f ${run}/gate
  fi
  exec ${crunCommand(name)} start ${containerIdOf(name)}
}
exec 3> >(started 4<&0 < /dev/null)
export _OCI_SYNCPIPE=3
exec conmon ${['--cuuid="$INVOCATION_ID"', ...conmon.map(quoted)].join(' \\\n  ')}
`;
}

/** On the host's network its names hold, as they are at each start. */
const hostNames = `[ ! -e /etc/resolv.conf ] || echo "$(</etc/resolv.conf)" > resolv.conf
[ ! -e /etc/hosts ] || echo "$(</etc/hosts)" > hosts
[ -s hostname ] || echo "$HOSTNAME" > hostname
`;

/** Highest first, as overlayfs wants it; an image without layers still needs one lower directory. */
const lowerDirectories = (spec: ContainerSpec): string =>
  spec.layers.length === 0 ? `${spec.directory}/empty` : spec.layers.toReversed().join(':');

/** The content of volumes, copied out of the image at the first start, and a working directory that it does not have. */
function prepare(spec: ContainerSpec): string {
  const volumes = spec.volumes.map(({ directory, content }) => {
    const make =
      content === undefined ? `mkdir ${directory}~` : `cp -a -T ${quoted(`rootfs/${content}`)} ${directory}~`;
    return `[ -e ${directory} ] || { rm -rf ${directory}~; ${make}; mv ${directory}~ ${directory}; }\n`;
  });
  const cwd =
    spec.missingDirectory === undefined ? '' : `mkdir -p ${quoted(`rootfs/${spec.missingDirectory}`)}\n`;
  return `${volumes.join('')}${cwd}`;
}

/** A gate that is still there: the container was not made, and `spawnlet run` has yet to read why. */
const waitAtGate = (name: string) => `gate=${runDirectoryOf(name)}/gate
if [ -p $gate ]; then exec 5<>$gate; read -r -t 10 -u 5 _ || :; fi
`;

/**
 * What is left to say when the unit has ended: the record that `ps -a`, `wait` and `inspect` read. It is written by
 * the unit itself, so that it is there though nobody watched. With `--rm`, the container's files go instead.
 */
export function stoppedScript(name: string, directory: string, removeAfterwards: boolean): string {
  const head = `#!/bin/bash
# Runs when ${name} has ended, however it ended.
`;
  if (removeAfterwards) {
    return `${head}${waitAtGate(name)}rm -rf ${directory} ${transientUnits}/${name}.service
`;
  }
  return `${head}${waitAtGate(name)}oom=false
[ ! -e ${runDirectoryOf(name)}/oom ] || oom=true
printf '{"version":1,"invocation":"%s","result":"%s","code":"%s","status":"%s","oom":%s,"ended":%s}\\n' \\
  "$INVOCATION_ID" "$SERVICE_RESULT" "$EXIT_CODE" "$EXIT_STATUS" "$oom" "$EPOCHSECONDS" > ${directory}/record~
mv ${directory}/record~ ${directory}/record
`;
}
