import {
  type BridgeStep,
  bridgeDirectories,
  filesOfBridge,
  planBridge,
  planBridgeRemoval,
} from '../network/bridge.ts';
import { natBridge } from '../network/names.ts';
import { observeBridges } from '../network/observe.ts';
import { defineCommand, dryRunOption, outputOption } from './command.ts';
import type { Context } from './context.ts';
import { type List, printList } from './output.ts';

interface Row {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly ports: readonly string[];
  /** `spawnlet`: made by it, and taken away by `network rm`, or with the last machine on it. */
  readonly madeBy: 'spawnlet' | 'others';
}

const list: List<Row> = {
  columns: [
    ['NAME', row => row.name],
    ['ADDRESSES', row => row.addresses.join(' ')],
    ['MADE BY', row => row.madeBy],
    ['PORTS', row => row.ports.join(' ')],
  ],
  key: row => row.name,
};

/** Names of files where those of bridges lie. */
async function namesIn({ files }: Context['host']): Promise<Record<string, readonly string[]>> {
  const pairs = bridgeDirectories.map(async path => [path, await files.list(path)] as const);
  return Object.fromEntries(await Promise.all(pairs));
}

/** Every bridge, those that come with the next boot included. */
async function rowsOf({ host, signal }: Context): Promise<Row[]> {
  const [facts, files] = await Promise.all([observeBridges(host, signal), namesIn(host)]);
  return facts.links
    .filter(({ kind }) => kind === 'bridge')
    .map(({ name }) => ({
      name,
      addresses: facts.addresses[name] ?? [],
      ports: facts.links.filter(({ master }) => master === name).map(port => port.name),
      madeBy: name === natBridge || filesOfBridge(name, files).length > 0 ? 'spawnlet' : 'others',
    }));
}

export const ls = defineCommand({
  name: 'network ls',
  group: 'Machines',
  summary: 'List bridges that machines can be on',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: outputOption,
  examples: [['spawnlet network ls -o json', 'for scripts']],
  async run({ options }, context) {
    await printList(await rowsOf(context), list, options);
    return 0;
  },
});

/** Prints a plan, or does it. */
async function carryOut(
  title: string,
  ifInterrupted: 'undo' | 'finish',
  steps: readonly BridgeStep[],
  dryRun: boolean,
  context: Context,
): Promise<void> {
  const applier = await context.applier();
  const plan = { title, ifInterrupted, steps };
  if (dryRun) process.stdout.write(await applier.dryRun(plan));
  else await applier.apply(plan, context.signal);
}

export const create = defineCommand({
  name: 'network create',
  group: 'Machines',
  summary: 'Make a bridge for machines that is there after a boot',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: {
    uplink: { type: 'strings', value: 'INTERFACE', help: 'make an interface of this host a port of it' },
    address: { type: 'strings', value: 'CIDR', help: "this host's address on it: 10.0.0.1/24, or dhcp" },
    gateway: { type: 'strings', value: 'ADDRESS', help: 'where the default route leads' },
    dns: { type: 'strings', value: 'ADDRESS', help: 'a name server' },
    ...dryRunOption,
  },
  examples: [
    ['spawnlet network create br0 --uplink enp2s0', 'machines on the network behind enp2s0'],
    ['spawnlet network create br0 --uplink enp1s0 --address dhcp --dry-run', 'the files, nothing is changed'],
    ['spawnlet network create br1 --address 10.9.0.1/24', 'machines and this host, nobody else'],
  ],
  async run({ options, arguments: [name = ''] }, context) {
    const { uplink: uplinks, address, gateway: gateways, dns } = options;
    const addresses = address.length === 1 && address[0] === 'dhcp' ? 'dhcp' : address;
    const facts = await observeBridges(context.host, context.signal);
    await using _lock = await context.host.locks.take(`network-${name}`);
    const { steps, takesEffect } = planBridge({ name, uplinks, addresses, gateways, dns }, facts);
    await carryOut(`create network ${name}`, 'undo', steps, options['dry-run'], context);
    if (!options['dry-run']) process.stdout.write(`${name}\n`);
    if (takesEffect === 'boot')
      process.stderr.write(
        `${uplinks.join(', ')} has an address of this host: ${name} is set up at the next boot, not now.\n`,
      );
    return 0;
  },
});

export const rm = defineCommand({
  name: 'network rm',
  group: 'Machines',
  summary: 'Remove a bridge that spawnlet made',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: dryRunOption,
  examples: [['spawnlet network rm br0', 'when no machine is on it']],
  async run({ options, arguments: [name = ''] }, context) {
    const [facts, files] = await Promise.all([
      observeBridges(context.host, context.signal),
      namesIn(context.host),
    ]);
    await using _lock = await context.host.locks.take(`network-${name}`);
    const ports = facts.links.filter(({ master }) => master === name).map(port => port.name);
    const steps = planBridgeRemoval(name, filesOfBridge(name, files), ports);
    await carryOut(`rm network ${name}`, 'finish', steps, options['dry-run'], context);
    if (!options['dry-run']) process.stdout.write(`${name}\n`);
    return 0;
  },
});
