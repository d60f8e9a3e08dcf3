import { closeSync, constants, openSync } from 'node:fs';
import { isErrno } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import { pathOf, pathOnly } from '../host/handle.ts';

/** A process by its directory in /proc, held open: nothing that is looked up in it is another process's. */
export interface HeldProcess extends Disposable {
  readonly handle: number;
  /** `/proc/self/fd/N`, in this process. */
  readonly path: string;
}

/**
 * Holds the process whose number is in a file. The number may be another's by the time that it is looked at: it is the one that
 * is meant if it is in the unit.
 *
 * @returns undefined if that process has ended
 */
export async function holdProcess(
  files: Files,
  pidFile: string,
  unit: string,
): Promise<HeldProcess | undefined> {
  const pid = (await files.read(pidFile))?.trim() ?? '';
  if (!/^\d+$/.test(pid)) return undefined;
  let handle: number;
  try {
    handle = openSync(`/proc/${pid}`, pathOnly | constants.O_DIRECTORY);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
  const path = pathOf(handle);
  try {
    const groups = await files.read(`${path}/cgroup`);
    if (groups?.split(/[\n/]/).includes(unit))
      return { handle, path, [Symbol.dispose]: () => closeSync(handle) };
  } catch (error) {
    if (!isErrno(error, 'ESRCH')) throw error;
  }
  closeSync(handle);
  return undefined;
}
