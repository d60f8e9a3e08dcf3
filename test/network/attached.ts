/** Containers of tests of CNI: a namespace and records each, by the executors alone. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeApplier, type Plan, type Watchers } from '../../src/host/apply.ts';
import { realHost } from '../../src/host/host.ts';
import { hostExecutors } from '../../src/host/step.ts';
import { type Attachment, pluginPath } from '../../src/network/cni/attachment.ts';
import { type CniStep, cniExecutors } from '../../src/network/cni/executors.ts';
import type { NetworkList } from '../../src/network/cni/list.ts';
import { readResult } from '../../src/network/cni/record.ts';
import { SystemdClient } from '../../src/systemd/client.ts';

export const signal = AbortSignal.timeout(500_000);
export const host = realHost('/run/spawnlet/lock', 'cni test');
export const client = await SystemdClient.connect({ signal });

/** Ends what the tests share; without it the process does not end. */
export const close = () => client[Symbol.asyncDispose]();

export const cniApplier = (journals: string, watchers: Watchers = {}, its = host) =>
  makeApplier(
    { ...hostExecutors(its.files), ...cniExecutors({ host: its, systemd: async () => client }) },
    its.files,
    its.locks,
    journals,
    watchers,
  );

const run = promisify(execFile);

/** Runs a command of this host to its end; what it printed. */
export async function shell(...argv: [string, ...string[]]): Promise<string> {
  const [program, ...args] = argv;
  return (await run(program, args, { encoding: 'utf8', timeout: 60_000 })).stdout;
}

/** A place for records and a journal, gone with the test. */
export async function usePlace() {
  const directory = await mkdtemp(join(tmpdir(), 'cni-'));
  return {
    directory,
    journals: join(directory, 'journal'),
    record: (container: string, link = 'eth0') => join(directory, `${container}-${link}`),
    records: async () =>
      (await readdir(directory)).filter(name => name !== 'journal').map(name => join(directory, name)),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}

export type Place = Awaited<ReturnType<typeof usePlace>>;

export const attachmentOf = (container: string, some: Partial<Attachment> = {}): Attachment => ({
  container,
  netns: container,
  interface: 'eth0',
  args: {},
  capabilities: {},
  path: pluginPath,
  ...some,
});

export const addStep = (
  place: Place,
  network: NetworkList,
  container: string,
  some: Partial<Attachment> = {},
): CniStep => ({
  do: 'cni-add',
  path: place.record(container, some.interface),
  network,
  attachment: attachmentOf(container, some),
});

/** A network of addresses enough for `10.NUMBER.0.0/24`, or as the prefix says. */
export const aNetwork = (number: number, plugins: NetworkList['plugins'] = [], prefix = 24): NetworkList => ({
  cniVersion: '1.0.0',
  name: `net${number}`,
  plugins: [
    {
      type: 'bridge',
      bridge: `test${number}`,
      isGateway: true,
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: `10.${number}.0.0/${prefix}` }]],
        routes: [{ dst: '0.0.0.0/0' }],
      },
    },
    ...plugins,
  ],
});

export const undoable = (...steps: CniStep[]): Plan<CniStep> => ({
  title: 'add',
  ifInterrupted: 'undo',
  steps,
});
export const finished = (...steps: CniStep[]): Plan<CniStep> => ({
  title: 'remove',
  ifInterrupted: 'finish',
  steps,
});

/** A container with a namespace in these networks: `eth0`, `eth1`, and so on. */
export async function useContainer(place: Place, name: string, networks: readonly NetworkList[]) {
  const applier = cniApplier(place.journals);
  const links = networks.map((_network, at) => `eth${at}`);
  const adds = networks.map((network, at) => addStep(place, network, name, { interface: `eth${at}` }));
  await applier.apply(undoable({ do: 'make-netns', name }, ...adds), signal);
  const results = await Promise.all(links.map(link => readResult(host.files, place.record(name, link))));
  return {
    addresses: results.flatMap(result => (result?.addresses ?? []).map(({ address }) => address)),
    inside: (...argv: string[]) => shell('ip', 'netns', 'exec', name, ...argv),
    async [Symbol.asyncDispose]() {
      const dels = links.map((link): CniStep => ({ do: 'cni-del', path: place.record(name, link) }));
      await applier.apply(finished(...dels, { do: 'remove-netns', name }), signal);
    },
  };
}
