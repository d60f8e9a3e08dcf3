import { logNamespace } from '../../names.ts';
import { recordScript } from '../script.ts';
import type { HostProgram } from './program.ts';

/**
 * The two scripts of a program of the host, which leave what those of other engines leave: who it is, and how it ended. They see
 * the program's /run, and so no socket of systemd's.
 */

/** Runs as soon as the program does. */
export const begunScript = ({ name, directory }: HostProgram): string => `#!/bin/bash
# Runs when ${name} has begun.
echo "\${MAINPID:-}" > ${directory}/pid
: > ${directory}/started
`;

/**
 * Codes from 200 on are systemd's, of a program that it could not begin; then there is no run, but a reason. They may be the
 * program's own, too, once it has begun.
 */
const ifNotBegun = (directory: string) => `code=\${EXIT_CODE:-} status=\${EXIT_STATUS:-0}
if [ ! -e ${directory}/started ] && [ "$code" = exited ] && [ "$status" -ge 200 ]; then
  case $status in
    200) why='its working directory is not there' ;;
    203) why='exec: No such file or directory, or none that its user may execute' ;;
    216|217) why='there is no such user or group' ;;
    226) why='something that is to be mounted is not there' ;;
    *) why='systemd could not begin it' ;;
  esac
  echo "$why (status=$status, systemd.exec(5))" > ${directory}/error
  exit 0
fi
`;

/** The kernel counts who was out of memory in the unit's cgroup, which this script is in. */
const findOom = `[ "$SERVICE_RESULT" != oom-kill ] || oom=true
while IFS=: read -r _ controllers group; do
  case ,$controllers, in
    *,memory,*) events=/sys/fs/cgroup/memory$group/memory.oom_control ;;
    ,,) events=/sys/fs/cgroup$group/memory.events ;;
    *) continue ;;
  esac
  ! grep -qs 'oom_kill [1-9]' "$events" || oom=true
done < /proc/self/cgroup
`;

/** A line that journald reads after the unit's end is of no run: it takes that from the unit when it reads. */
const untilLogged = `nsenter --target 1 --mount timeout 3 journalctl --namespace=${logNamespace} --sync > /dev/null 2>&1
exit 0
`;

/** Runs however it has ended. */
export const stoppedScript = (program: HostProgram): string =>
  recordScript(program, `${ifNotBegun(program.directory)}${findOom}`) + untilLogged;
