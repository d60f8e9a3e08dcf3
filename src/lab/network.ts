import { join } from 'node:path';
import { check } from '../host/child.ts';
import { isErrno, SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import type { Host } from '../host/host.ts';
import type { Executor } from '../host/step.ts';
import { labDirectory } from '../names.ts';
import { hardwareAddress } from '../network/subnet.ts';
import { readRecords } from './record.ts';

/** The bridge in a network's namespace. */
export const bridge = 'lab0';
/** What the namespace itself has on the bridge: registries listen there. */
export const gateway = '10.77.0.1';
export const prefixLength = 24;

export interface MakeNetwork {
  readonly do: 'make-network';
  readonly network: string;
  /** The lab that asks for it. */
  readonly lab: string;
}

export interface RemoveNetwork {
  readonly do: 'remove-network';
  readonly network: string;
}

/** That a network is ours: written before it is made, removed after it is gone. */
export interface NetworkRecord {
  readonly version: 1;
  readonly network: string;
}

/** A file for each network; `.egress` beside it for its way out. */
export const networksDirectory = join(labDirectory, 'networks');
const recordPath = (network: string) => join(networksDirectory, `${network}.json`);

export async function readNetworks(files: Files): Promise<NetworkRecord[]> {
  const records: NetworkRecord[] = [];
  for (const name of await files.list(networksDirectory)) {
    if (!name.endsWith('.json')) continue;
    const text = await files.read(join(networksDirectory, name));
    if (text !== undefined) records.push(JSON.parse(text) as NetworkRecord);
  }
  return records;
}

/**
 * Where a namespace is mounted. Not where ip(8) has namespaces: the first `ip netns add` on a host mounts that directory over
 * itself, and what was mounted below it can no longer be reached.
 */
export const namespacePath = (network: string) => join(networksDirectory, `${network}.netns`);

/** Where ip(8) looks for namespaces, a link: `ip netns exec NAME` works. */
const shownPath = (network: string) => `/run/netns/${network}`;

/** The lowest address that no lab of the network has. */
export function freeAddress(taken: Iterable<string>): string {
  const used = new Set(taken);
  for (let host = 2; host < 255; host++) {
    const address = `10.77.0.${host}`;
    if (!used.has(address)) return address;
  }
  throw new SpawnletError('ERR_LAB_NETWORK_FULL', 'this network has no address left for another lab', {
    hint: 'use another one: --network NAME',
  });
}

/** The child that runs `argv` in a network's namespace. */
export const inNetwork = (network: string, argv: readonly string[]): string[] => [
  'nsenter',
  `--net=${namespacePath(network)}`,
  '--',
  ...argv,
];

/**
 * Executors of a network: a namespace that is a file, so that it needs no process, and a bridge in it.
 */
export function networkExecutors({ files, children }: Host): {
  'make-network': Executor<MakeNetwork>;
  'remove-network': Executor<RemoveNetwork>;
} {
  async function isUp(network: string): Promise<boolean> {
    if ((await files.look(namespacePath(network))) === undefined) return false;
    const shown = await children.capture(
      inNetwork(network, ['ip', '-o', '-4', 'address', 'show', 'dev', bridge, 'up']),
    );
    return shown.code === 0 && shown.stdout.includes(`${gateway}/${prefixLength}`);
  }

  async function remove(network: string): Promise<void> {
    const path = namespacePath(network);
    if ((await files.look(path)) !== undefined) {
      // Not mounted if its making was cut off. Busy while somebody enters it, which does not keep it from going.
      await children.capture(['umount', '--lazy', path]);
      await files.remove(path);
    }
    if ((await files.look(shownPath(network))) !== undefined) {
      await files.remove(shownPath(network));
      await removeIfEmpty(files, '/run/netns');
    }
    await files.remove(recordPath(network));
  }

  return {
    'make-network': {
      describe: step =>
        `make network namespace ${step.network} with bridge ${bridge} (${gateway}/${prefixLength})`,
      satisfied: step => isUp(step.network),
      apply: async step => {
        const path = namespacePath(step.network);
        if (!(await readNetworks(files)).some(({ network }) => network === step.network)) {
          if ((await files.look(shownPath(step.network))) !== undefined)
            throw new SpawnletError(
              'ERR_LAB_NETWORK_TAKEN',
              `network namespace ${step.network} is not a lab's`,
              {
                hint: 'use another one: --network NAME',
              },
            );
        }
        await remove(step.network);
        await files.makeDirectory(networksDirectory, 0o700);
        const record: NetworkRecord = { version: 1, network: step.network };
        await files.write(recordPath(step.network), JSON.stringify(record), 0o600);
        await files.makeDirectory('/run/netns', 0o755);
        await files.link(shownPath(step.network), path);
        await files.append(path, '', 0o444);
        await check(children, ['unshare', `--net=${path}`, 'true']);
        await check(children, inNetwork(step.network, ['ip', '-batch', '-']), {
          input: [
            'link set lo up',
            `link add ${bridge} address ${hardwareAddress(gateway)} type bridge forward_delay 0`,
            `link set ${bridge} up`,
            `address add ${gateway}/${prefixLength} dev ${bridge}`,
            '',
          ].join('\n'),
        });
      },
      undo: async step => {
        // Labs that came since the making was cut off go on using it.
        const labs = await readRecords(files);
        if (!labs.some(({ spec }) => spec.network === step.network && spec.name !== step.lab))
          await remove(step.network);
      },
    },
    'remove-network': {
      describe: step => `remove network namespace ${step.network}`,
      satisfied: async step => (await files.look(namespacePath(step.network))) === undefined,
      apply: step => remove(step.network),
    },
  };
}

/** Takes away a directory that is shared with other programs, if none of them has anything in it. */
export async function removeIfEmpty(files: Host['files'], path: string): Promise<void> {
  if ((await files.list(path)).length > 0) return;
  const { rmdir } = await import('node:fs/promises');
  try {
    await rmdir(path);
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EBUSY')) throw error;
  }
}
