import type { Files } from '../host/files.ts';
import { bundleOf } from './bundle.ts';
import type { ContainerSpec } from './container.ts';
import type { Engine, Way } from './engine.ts';
import { gateScript, mountScript, recordScript, removeScript, runDirectoryOf } from './script.ts';
import { quoted } from './shell.ts';
import { signalName } from './signal.ts';
import type { EngineLines } from './unit.ts';

/**
 * The `crun` engine: a unit whose main process is conmon, with the container's bundle run by crun below it.
 * What a unit file cannot say in one line stands in two scripts beside the bundle, so that the unit stays readable and
 * goes on working without spawnlet.
 */

/**
 * The ID of a container is the InvocationID of its unit: conmon writes it into each line of the log, so that the journal
 * tells the runs apart.
 */
const id = '$INVOCATION_ID';

/** The ID of the container that crun has of this name, which is that of its run; undefined if there is none. */
export async function containerIdOf(files: Files, name: string): Promise<string | undefined> {
  const ids = await files.list(`${runDirectoryOf(name)}/crun`);
  return ids.find(entry => /^[0-9a-f]{32}$/.test(entry));
}

const crunCommand = (name: string) =>
  `/usr/bin/crun --root=${runDirectoryOf(name)}/crun --cgroup-manager=disabled`;

/** The words of a crun command on a running container. */
export const crunWords = (name: string, ...words: string[]): string[] => [
  ...crunCommand(name).split(' '),
  ...words,
];

/**
 * Mounts the image's layers and hands over to conmon, which has crun make the container.
 *
 * conmon tells through a pipe when that is done; then there is a file `pid`, or `error` says why not. Only then, and once
 * the gate is passed, is the program let go, by `crun start`.
 */
function startScript(spec: ContainerSpec, { removeAfterwards }: Way): string {
  const { name, directory } = spec;
  const run = runDirectoryOf(name);
  const conmon = [
    '--sync',
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
    ...(removeAfterwards ? ['--exit-command=/bin/bash', `--exit-command-arg=${directory}/stopped`] : []),
    // With --stdin too, conmon closes the terminal's input when the first of those who attach goes.
    ...(spec.terminal ? ['--terminal'] : spec.stdin ? ['--stdin'] : []),
  ];
  return `${mountScript(spec, 'conmon and crun')}[ ! -e ctl ] || rm -f attach ctl winsz
started() {
  local made
  read -r made <&4
  [ -e ${run}/pid ] || exit 1
${spec.terminal ? '' : openStreams(run)}  ${gateScript(name, `${crunCommand(name)} kill ${id} KILL; exit 1`)
    .trimEnd()
    .replaceAll('\n', '\n  ')}
  wait
  exec ${crunCommand(name)} start ${id}
}
exec 3> >(started 4<&0 < /dev/null)
export _OCI_SYNCPIPE=3
exec conmon ${[`--cid=${id} --cuuid=${id} --log-tag=${name}`, ...conmon.map(quoted)].join(' \\\n  ')}
`;
}

/** conmon's pipes are the first user's alone; a program that has changed its user may open /dev/stdout again. */
const openStreams = (run: string) => `  read -r made < ${run}/pid || :
  chmod 666 /proc/$made/fd/1 /proc/$made/fd/2 &
`;

/** Signals that conmon, the unit's main process, passes on to PID 1 of the container: SIGINT, SIGQUIT, SIGTERM. */
const passedOn = [2, 3, 15];

/**
 * How systemd asks the container to end. A signal that conmon does not pass on is sent by crun; systemd then signals
 * the main process too: SIGCONT does nothing to conmon, which ends when the container has ended.
 */
function stopLines({ name, stopSignal }: ContainerSpec): EngineLines['stop'] {
  if (passedOn.includes(stopSignal)) return [['KillSignal', signalName(stopSignal)]];
  return [
    ['ExecStop', `-${crunCommand(name)} kill ${id} ${stopSignal}`],
    ['KillSignal', 'SIGCONT'],
  ];
}

/**
 * What conmon becomes when a container of `--rm` has ended; it ends as the container did. One that could not be made has
 * no exit code: `spawnlet run` reads why not, and removes it.
 */
const afterConmon = (spec: ContainerSpec) => `#!/bin/bash
# Runs when ${spec.name} has ended, in conmon's place.
code=${runDirectoryOf(spec.name)}/${id}
[ -e $code ] || exit 1
read -r code < $code || :
umount --lazy ${spec.directory}/rootfs
${removeScript(spec)}exit "$code"
`;

export const crun: Engine = {
  refuse: () => undefined,
  bundle: bundleOf,
  startScript,
  stoppedScript: (spec, { removeAfterwards }) =>
    removeAfterwards
      ? afterConmon(spec)
      : recordScript(spec, `[ ! -e ${runDirectoryOf(spec.name)}/oom ] || oom=true\n`),
  lines: (spec, { removeAfterwards }) => ({
    engine: 'crun',
    stop: stopLines(spec),
    // To spawn a command after the main process takes systemd as long as to start a container.
    stopped: !removeAfterwards,
    more: [['Delegate', 'memory pids']],
  }),
  fifos: () => [],
};
