import { join } from 'node:path';
import type { Files } from './files.ts';

const path = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Whether a program is installed where a unit of systemd finds it, too. */
export async function hasProgram(files: Pick<Files, 'look'>, name: string): Promise<boolean> {
  for (const directory of path) if (await files.look(join(directory, name))) return true;
  return false;
}
