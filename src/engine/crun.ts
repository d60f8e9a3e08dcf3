import type { Files } from '../host/files.ts';
import { quoted } from '../host/shell.ts';
import { bundleOf } from './bundle.ts';
import type { ContainerSpec } from './container.ts';
import type { Engine, Way } from './engine.ts';
import {
  disconnectScript,
  gateScript,
  mountScript,
  removeScript,
  runDirectoryOf,
  writeRecord,
} from './script.ts';
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

export const isContainerId = (word: string): boolean => /^[0-9a-f]{32}$/.test(word);

/** The ID of the container that crun has of this name, which is that of its run; undefined if there is none. */
export async function containerIdOf(files: Files, name: string): Promise<string | undefined> {
  const ids = await files.list(`${runDirectoryOf(name)}/crun`);
  return ids.find(isContainerId);
}

/** Whether crun has made a container whose program it has not let run yet. */
export async function isHeld(files: Files, name: string): Promise<boolean> {
  const id = await containerIdOf(files, name);
  return id !== undefined && (await files.look(`${runDirectoryOf(name)}/crun/${id}/exec.fifo`)) !== undefined;
}

const crunCommand = (name: string) =>
  `/usr/bin/crun --root=${runDirectoryOf(name)}/crun --cgroup-manager=disabled`;

/** The words of a crun command on a running container. */
export const crunWords = (name: string, ...words: string[]): string[] => [
  ...crunCommand(name).split(' '),
  ...words,
];

/** With --stdin too, conmon closes a terminal's input when the first of those who attach goes. */
function inputWords({ terminal, stdin }: ContainerSpec): string[] {
  if (terminal) return ['--terminal'];
  if (!stdin) return [];
  return stdin === 'once' ? ['--stdin'] : ['--stdin', '--leave-stdin-open'];
}

/**
 * Mounts the image's layers and hands over to conmon, which has crun make the container.
 *
 * conmon tells through a pipe when that is done; then there is a file `pid`, or `error` says why not. Only then, and once
 * the gate is passed, is the program let go, by `crun start`.
 */
function startScript(spec: ContainerSpec, { removeAfterwards }: Way): string {
  const { name, directory } = spec;
  const run = runDirectoryOf(name);
  // While crun makes the container.
  const isConnected = typeof spec.network === 'object';
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
    `--exit-command=/bin/${removeAfterwards ? 'sh' : 'bash'}`,
    `--exit-command-arg=${directory}/stopped`,
    ...inputWords(spec),
  ];
  return `${mountScript(spec, 'conmon and crun')}[ ! -e ctl ] || rm -f attach ctl winsz
started() {
  local made${isConnected ? ' failed=' : ''}
${isConnected ? `  connect 2> ${run}/network || failed=1\n` : ''}  read -r made <&4
  [ -e ${run}/pid ] || exit 1
${removeAfterwards ? '' : indented(ifKilled(spec))}${isConnected ? unconnected(spec) : ''}${spec.terminal ? '' : openStreams(run)}${indented(gateScript(name, `${crunCommand(name)} kill ${id} KILL; exit 1`))}  wait
  ${removeAfterwards ? `exec ${crunCommand(name)} start ${id}` : `${crunCommand(name)} start ${id}\n  : > ${directory}/started`}
}
exec 3> >(started 4<&0 < /dev/null)
# In another locale conmon would keep tables of characters that it does not use.
export LC_ALL=C _OCI_SYNCPIPE=3
exec conmon ${[`--cid=${id} --cuuid=${id} --log-tag=${name}`, ...conmon.map(quoted)].join(' \\\n  ')}
`;
}

const indented = (text: string) => text.replaceAll(/^(?=.)/gm, '  ');

/** The record of a run whose conmon is killed, or whose host is switched off: nobody is left to write another. */
const ifKilled = (spec: ContainerSpec) => writeRecord(spec, 'signal', 'killed', 'KILL', 'false', '0');

/**
 * A container whose network could not be connected does not start; the file `error` says why. conmon is killed with it, so
 * that nothing removes that file before it is read.
 */
const unconnected = ({ name, directory }: ContainerSpec) => `  if [ -n "$failed" ]; then
    failed=$(< ${runDirectoryOf(name)}/network)
    echo "its network was not connected: \${failed//$'\\n'/; }" > ${directory}/error
    kill -KILL $$
  fi
`;

/** conmon's pipes are the first user's alone; a program that has changed its user may open /dev/stdout again. */
const openStreams = (run: string) => `  read -r made < ${run}/pid || :
  chmod 666 /proc/$made/fd/1 /proc/$made/fd/2 &
`;

/** Signals that conmon, the unit's main process, passes on to PID 1 of the container: SIGINT, SIGQUIT, SIGTERM. */
const passedOn = [2, 3, 15];

/**
 * How systemd asks the container to end. A signal that conmon does not pass on is sent by crun; systemd then signals
 * the main process too: SIGCONT does nothing to conmon, which ends when the container has ended. Where there is no container
 * yet, whoever is making it ends.
 */
function stopLines({ name, stopSignal }: ContainerSpec): EngineLines['stop'] {
  if (passedOn.includes(stopSignal)) return [['KillSignal', signalName(stopSignal)]];
  return [
    ['ExecStop', `-/bin/sh -c "${crunCommand(name)} kill $${id} ${stopSignal} || kill $$MAINPID"`],
    ['KillSignal', 'SIGCONT'],
  ];
}

/**
 * What conmon becomes when the container has ended; it ends as the container did. One that could not be made has no exit
 * code: the unit has failed, and `spawnlet run` reads why.
 *
 * systemd's SIGTERM may come meanwhile: the container has heard it, or has ended without.
 */
const afterConmon = (
  spec: ContainerSpec,
  { removeAfterwards }: Way,
) => `#!/bin/${removeAfterwards ? 'sh' : 'bash'}
# Runs when ${spec.name} has ended, in conmon's place.
trap '' TERM INT QUIT
code=${runDirectoryOf(spec.name)}/${id}
[ -e $code ] || exit 1
read -r code < $code || :
${removeAfterwards ? removeScript(spec) : record(spec)}${disconnectScript(spec)}exit "$code"
`;

const record = (spec: ContainerSpec) => `oom=false
[ ! -e ${runDirectoryOf(spec.name)}/oom ] || oom=true
result=success
[ "$code" = 0 ] || result=exit-code
${writeRecord(spec, '$result', 'exited', '"$code"', '$oom', '"$EPOCHSECONDS"')}`;

export const crun: Engine = {
  programs: ['crun', 'conmon'],
  refuse: () => undefined,
  bundle: bundleOf,
  startScript,
  stoppedScript: afterConmon,
  lines: spec => ({
    engine: 'crun',
    stop: stopLines(spec),
    // To spawn a command after the main process takes systemd as long as to start a container: conmon becomes it.
    stopped: false,
    more: [['Delegate', 'memory pids']],
  }),
  fifos: () => [],
};
