import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import { initBelow } from '../host/pid-namespace.ts';
import type { SystemdClient } from '../systemd/client.ts';
import { machineUnit } from './drop-in.ts';
import type { MachineSpec } from './spec.ts';

/** A machine that runs. */
export interface Running {
  readonly name: string;
  /** The host's number of the process that is 1 in there. */
  readonly leader: number;
  readonly start: MachineSpec['start']['kind'];
}

/**
 * Finds the init of a machine below its unit's main process, which is systemd-nspawn.
 *
 * @throws ERR_NOT_RUNNING
 */
export async function runningMachine(
  { name, start }: { readonly name: string; readonly start: Pick<MachineSpec['start'], 'kind'> },
  systemd: SystemdClient,
  files: Files,
  signal: AbortSignal,
): Promise<Running> {
  const unit = machineUnit(name);
  // To ask for a unit that systemd has not in memory would load it.
  if (await systemd.isLoaded(unit, signal)) {
    const pid = await systemd.unitProperty(unit, 'MainPID', signal);
    const leader = pid > 0 ? await initBelow(files, pid) : undefined;
    if (leader !== undefined) return { name, leader, start: start.kind };
  }
  throw new SpawnletError('ERR_NOT_RUNNING', `${name} is not running`, {
    hint: `spawnlet machine start ${name}`,
  });
}
