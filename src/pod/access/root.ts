import { closeSync, constants, openSync } from 'node:fs';
import { runDirectoryOf } from '../../engine/script.ts';
import { isErrno, SpawnletError } from '../../host/error.ts';
import type { Files } from '../../host/files.ts';
import { pathOf, pathOnly } from '../../host/handle.ts';
import { engineName, type PodIdentity, unitOf } from '../unit/names.ts';

/** The root directory of a container that runs, with all that is mounted in it, held open. */
export interface HeldRoot extends Disposable {
  /** Leads there in this process, whatever becomes of the container. */
  readonly path: string;
}

/**
 * Opens the root of a container by its first process. The number of that one may be another's by the time that it is opened, who
 * may have the root of the host: it is the container's if the process is still in the container's unit afterwards.
 *
 * @throws ERR_NOT_RUNNING
 */
export async function openRoot(files: Files, pod: PodIdentity, container: string): Promise<HeldRoot> {
  const pid = (await files.read(`${runDirectoryOf(engineName(pod, container))}/pid`))?.trim() ?? '';
  const gone = new SpawnletError('ERR_NOT_RUNNING', `container ${container} of ${pod.name} is not running`, {
    hint: `spawnlet pod describe ${pod.name}`,
  });
  if (!/^\d+$/.test(pid)) throw gone;
  let handle: number;
  try {
    handle = openSync(`/proc/${pid}/root`, pathOnly | constants.O_DIRECTORY);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH')) throw gone;
    throw error;
  }
  const groups = (await files.read(`/proc/${pid}/cgroup`)) ?? '';
  if (groups.split(/[\n/]/).includes(unitOf(pod, container)))
    return { path: pathOf(handle), [Symbol.dispose]: () => closeSync(handle) };
  closeSync(handle);
  throw gone;
}
