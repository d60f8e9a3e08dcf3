import { closeSync, constants, openSync } from 'node:fs';
import { holdProcess } from '../../engine/held-process.ts';
import { isErrno, SpawnletError } from '../../host/error.ts';
import type { Files } from '../../host/files.ts';
import { pathOf, pathOnly } from '../../host/handle.ts';
import { type PodIdentity, unitOf } from '../unit/names.ts';

/** The root directory of a container that runs, with all that is mounted in it, held open. */
export interface HeldRoot extends Disposable {
  /** Leads there in this process, whatever becomes of the container. */
  readonly path: string;
}

/**
 * Opens the root of a container by its first process.
 *
 * @param pidFile where the engine says which that is
 * @throws ERR_NOT_RUNNING
 */
export async function openRoot(
  files: Files,
  pod: PodIdentity,
  container: string,
  pidFile: string,
): Promise<HeldRoot> {
  using held = await holdProcess(files, pidFile, unitOf(pod, container));
  try {
    if (held) {
      const handle = openSync(`${held.path}/root`, pathOnly | constants.O_DIRECTORY);
      return { path: pathOf(handle), [Symbol.dispose]: () => closeSync(handle) };
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ESRCH')) throw error;
  }
  throw new SpawnletError('ERR_NOT_RUNNING', `container ${container} of ${pod.name} is not running`, {
    hint: `spawnlet pod describe ${pod.name}`,
  });
}
