import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { messageOf, SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import type { Executors } from '../../host/step.ts';
import type { SystemdClient } from '../../systemd/client.ts';
import type { TransientProperty } from '../../systemd/manager.ts';
import { type Attachment, type Command, checkAttachment } from './attachment.ts';
import { type NetworkList, programsOf } from './list.ts';
import { isNetns, type MakeNetns, netnsExecutors, type RemoveNetns } from './netns.ts';
import { type Record, readRecord, readResult, writeRecord } from './record.ts';
import { pluginFailed } from './result.ts';
import { addScript, delScript, errorsFile, failedFile, outputFile, type Programs } from './script.ts';

/** Adds a container to a network; undone by taking it away. */
export interface CniAdd {
  readonly do: 'cni-add';
  /** Directory of the record, of this attachment alone. */
  readonly path: string;
  readonly network: NetworkList;
  readonly attachment: Attachment;
}

/** Takes a container out of the network that a record says; what it was added by cannot come back. */
export interface CniDel {
  readonly do: 'cni-del';
  readonly path: string;
}

/** Changes to what containers have of networks. */
export type CniStep = MakeNetns | RemoveNetns | CniAdd | CniDel;

export interface CniDependencies {
  readonly host: Pick<Host, 'files' | 'children' | 'locks'>;
  readonly systemd: () => Promise<Pick<SystemdClient, 'isLoaded' | 'startTransientUnit' | 'waitUntil'>>;
}

/** Plugins may ask others, such as a DHCP server; longer than this none is waited for. In microseconds. */
const longest = 120_000_000n;

export const unitOf = ({ container, interface: link }: Attachment): string =>
  `spawnlet-cni-${container}-${link.replaceAll(/[^\w.-]/g, '_')}.service`;

/** A unit for a chain of plugins: what it has begun it ends, whatever becomes of spawnlet. */
const properties = (script: string, description: string): TransientProperty[] => [
  ['Description', 's', description],
  ['Type', 's', 'oneshot'],
  ['CollectMode', 's', 'inactive-or-failed'],
  ['TimeoutStartUSec', 't', longest],
  ['StandardOutput', 's', 'null'],
  ['StandardError', 's', 'null'],
  // systemd puts variables into the words of a command.
  ['ExecStart', 'a(sasb)', [['/bin/sh', ['/bin/sh', script.replaceAll('$', '$$$$')], false]]],
];

export function cniExecutors({ host, systemd }: CniDependencies): Executors<CniStep> {
  const { files, locks } = host;

  async function programsFor(network: NetworkList, path: readonly string[]): Promise<Programs> {
    const found = new Map<string, string>();
    for (const program of programsOf(network)) {
      for (const directory of path)
        if (!found.has(program) && (await files.look(join(directory, program))))
          found.set(program, join(directory, program));
      if (!found.has(program))
        throw new SpawnletError(
          'ERR_CNI_PLUGIN',
          `network ${network.name} needs the plugin ${program}, which is not in ${path.join(', ')}`,
          { hint: 'apt-get install containernetworking-plugins' },
        );
    }
    return found;
  }

  /** Waits for a unit that a killed process has started. */
  async function settle(attachment: Attachment, signal: AbortSignal): Promise<void> {
    const client = await systemd();
    const unit = unitOf(attachment);
    if (!(await client.isLoaded(unit, signal))) return;
    await client.waitUntil(
      unit,
      ({ ActiveState, Job }) => Job === 0 && ['inactive', 'failed'].includes(ActiveState),
      signal,
    );
  }

  async function run(
    path: string,
    command: Command,
    { network, attachment }: Record,
    script: string,
    signal: AbortSignal,
  ): Promise<void> {
    const file = join(path, command === 'ADD' ? 'add' : 'del');
    await files.write(file, script, 0o700);
    await files.remove(join(path, failedFile));
    const verb = command === 'ADD' ? 'Add' : 'Remove';
    const description = `${verb} ${attachment.container}, network ${network.name}`;
    try {
      await (await systemd()).startTransientUnit(unitOf(attachment), properties(file, description), signal);
    } catch (cause) {
      signal.throwIfAborted();
      throw await failureOf(path, command, network, cause);
    }
  }

  async function failureOf(
    path: string,
    command: Command,
    network: NetworkList,
    cause: unknown,
  ): Promise<unknown> {
    const [failed, stdout = '', stderr = ''] = await Promise.all(
      [failedFile, outputFile, errorsFile].map(name => files.read(join(path, name))),
    );
    const [plugin, code] = (failed ?? '').trim().split(' ');
    if (plugin && code !== undefined)
      return pluginFailed({ network: network.name, plugin, command, code: Number(code), stdout, stderr });
    if (!(cause instanceof SpawnletError && cause.code === 'ERR_UNIT_FAILED')) return cause;
    return new SpawnletError(
      'ERR_CNI_PLUGIN',
      `a plugin of network ${network.name} was ended before it was done: ${messageOf(cause)}`,
      { cause, hint: cause.hint ?? '' },
    );
  }

  /** Has the plugins of a record let go, then removes it. */
  async function disconnect(path: string, record: Record, signal: AbortSignal): Promise<void> {
    const { network, attachment } = record;
    await settle(attachment, signal);
    const programs = await programsFor(network, attachment.path);
    const isThere = record.boot === locks.self.boot && (await isNetns(files, attachment.netns));
    const script = delScript(path, network, attachment, programs, isThere ? 'there' : 'gone');
    await run(path, 'DEL', record, script, signal);
    await files.remove(path);
  }

  async function isConnected({ path, attachment }: CniAdd): Promise<boolean> {
    const record = await readRecord(files, path);
    return (
      record?.boot === locks.self.boot &&
      isDeepStrictEqual(record.attachment, attachment) &&
      (await readResult(files, path)) !== undefined &&
      (await isNetns(files, attachment.netns))
    );
  }

  async function connect(step: CniAdd, signal: AbortSignal): Promise<void> {
    const { path, network, attachment } = step;
    checkAttachment(network, attachment);
    const before = await readRecord(files, path);
    if (before) {
      await settle(before.attachment, signal);
      // Whoever was killed has started what is done now.
      if (await isConnected(step)) return;
      await disconnect(path, before, signal);
    }
    const programs = await programsFor(network, attachment.path);
    const record: Record = { network, attachment, boot: locks.self.boot };
    await files.remove(path);
    await writeRecord(files, path, record);
    try {
      await run(path, 'ADD', record, addScript(path, network, attachment, programs), signal);
    } catch (error) {
      signal.throwIfAborted();
      // What the plugins before the failed one have done; one that fails again is asked again later, by the record.
      await disconnect(path, record, signal).catch(() => undefined);
      throw error;
    }
  }

  return {
    ...netnsExecutors(host),
    'cni-add': {
      describe: ({ network, attachment }) =>
        `connect ${attachment.container} to network ${network.name} as ${attachment.interface} (${network.plugins.map(({ type }) => type).join(', ')})`,
      satisfied: isConnected,
      apply: connect,
      undo: async ({ path }) => {
        const record = await readRecord(files, path);
        if (record) await disconnect(path, record, AbortSignal.timeout(180_000));
        else await files.remove(path);
      },
    },
    'cni-del': {
      describe: ({ path }) => `disconnect what ${path} says`,
      satisfied: async ({ path }) => (await files.look(path)) === undefined,
      apply: async ({ path }, signal) => {
        const record = await readRecord(files, path);
        if (record) await disconnect(path, record, signal);
        else await files.remove(path);
      },
    },
  };
}
