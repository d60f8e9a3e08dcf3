import { ended } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { LogOptions } from './api.ts';
import { machineUnit } from './drop-in.ts';
import type { MachineSpec } from './spec.ts';

/**
 * A machine of one command has no journal of its own: what the command writes is its unit's on the host.
 *
 * @throws ERR_GUEST_OS for a unit of such a machine
 */
export function ofCommand(
  { name, start }: Pick<MachineSpec, 'name' | 'start'>,
  options: LogOptions,
): LogOptions {
  if (start.kind === 'boot') return options;
  if (options.unit === undefined) return { ...options, of: 'console' };
  throw new SpawnletError('ERR_GUEST_OS', `${name} runs one command, and has no units`, {
    hint: `spawnlet machine logs ${name}`,
  });
}

/**
 * The command line of journalctl(1): the machine's own journal, where it runs or where it lies in its tree, or what its
 * unit has said on the host.
 *
 * @param tree of a machine that does not run
 */
export function logWords(name: string, tree: string | undefined, options: LogOptions): string[] {
  const { follow, lines, since, until, unit, of } = options;
  const own = [tree === undefined ? `--machine=${name}` : `--root=${tree}`];
  return [
    'journalctl',
    '--no-hostname',
    ...(of === 'journal' ? own : [`--unit=${machineUnit(name)}`]),
    ...(of === 'journal' && unit !== undefined ? [`--unit=${unit}`] : []),
    ...(follow ? ['--follow'] : []),
    ...(lines === undefined ? [] : [`--lines=${lines}`]),
    ...(since === undefined ? [] : [`--since=${since}`]),
    ...(until === undefined ? [] : [`--until=${until}`]),
  ];
}

/** A path by a handle of this process, as its children reach it. */
export const pathForChild = (path: string): string => path.replace('/proc/self/', `/proc/${process.pid}/`);

/** Shows them with the caller's streams, and gives journalctl's exit code; an abort ends it. */
export async function showLogs(host: Host, words: readonly string[], signal: AbortSignal): Promise<number> {
  const child = host.children.spawn(words, { stdio: ['ignore', 'inherit', 'inherit'] });
  const abort = () => child.kill('SIGTERM');
  signal.addEventListener('abort', abort, { once: true });
  try {
    const code = await ended(child);
    signal.throwIfAborted();
    return code;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
