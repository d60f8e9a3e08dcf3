import { existsSync } from 'node:fs';
import type { Apps } from '../app/app.ts';
import { dropInsOf } from '../app/plan.ts';
import type { Context } from './context.ts';

/**
 * The containers of this host. systemd is connected to meanwhile.
 *
 * @throws ERR_NO_SYSTEMD before anything is looked at or fetched, where systemd is not PID 1.
 */
export async function containers(context: Context): Promise<Apps> {
  const systemd = context.systemd();
  systemd.catch(() => undefined);
  if (!existsSync('/run/systemd/system')) await systemd;
  return context.apps();
}

/** Says on standard error that there are drop-ins for a container's name: they are the user's, and outlive containers. */
export async function tellDropIns(name: string, what: string, { host }: Context): Promise<void> {
  for (const path of dropInsOf(name)) {
    if ((await host.files.list(path)).some(file => file.endsWith('.conf')))
      process.stderr.write(`spawnlet: ${path} ${what}\n`);
  }
}
