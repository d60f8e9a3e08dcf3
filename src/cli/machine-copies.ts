import { basename, resolve } from 'node:path';
import { SpawnletError } from '../host/error.ts';
import type { MachineChange, SnapshotRow } from '../machine/api.ts';
import { parseMachineName, parseSnapshotName } from '../machine/names.ts';
import { defineCommand, dryRunOption, outputOption } from './command.ts';
import type { Context } from './context.ts';
import { change, machines, parseSnapshotOf } from './machines.ts';
import { ago, bytes, type List, printList, rfc3339 } from './output.ts';

async function make(value: MachineChange, dryRun: boolean, context: Context, done: string): Promise<number> {
  process.stdout.write(`${await change(await machines(context), value, dryRun, context, done)}\n`);
  return 0;
}

/** `20261122-142100`, in UTC. */
const nameNow = (now: number) =>
  new Date(now).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-');

export const snapshot = defineCommand({
  name: 'machine snapshot',
  group: 'Machines',
  summary: 'Keep a machine as it is now',
  synopsis: '[FLAG…] NAME [SNAPSHOT]',
  arity: [1, 2],
  options: dryRunOption,
  examples: [
    ['spawnlet machine snapshot web before-upgrade', 'a running one is frozen meanwhile'],
    ['spawnlet machine snapshot web', 'named by the time'],
  ],
  run({ options, arguments: [argument = '', given] }, context) {
    const name = parseMachineName(argument);
    const of = parseSnapshotName(given ?? nameNow(context.host.clock.now()));
    return make({ do: 'snapshot', name, snapshot: of }, options['dry-run'], context, `${name}/${of}`);
  },
});

export const restore = defineCommand({
  name: 'machine restore',
  group: 'Machines',
  summary: 'Make a machine what it was',
  synopsis: '[FLAG…] NAME SNAPSHOT',
  arity: [2, 2],
  options: dryRunOption,
  examples: [['spawnlet machine restore web before-upgrade', 'what came since is lost']],
  run({ options, arguments: [argument = '', given = ''] }, context) {
    const name = parseMachineName(argument);
    const of = parseSnapshotName(given);
    return make({ do: 'restore', name, snapshot: of }, options['dry-run'], context, `${name}/${of}`);
  },
});

const list = (now: number): List<SnapshotRow> => ({
  columns: [
    ['SNAPSHOT', row => row.name],
    ['CREATED', row => ago(row.created, now)],
    ['SIZE', row => (row.size === undefined ? '' : bytes(row.size))],
  ],
  key: row => row.name,
});

export const snapshots = defineCommand({
  name: 'machine snapshots',
  group: 'Machines',
  summary: 'List snapshots of a machine',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: { quiet: { type: 'boolean', short: 'q', help: 'names only' }, ...outputOption },
  examples: [['spawnlet machine snapshots web', "'spawnlet machine rm web/NAME' removes one"]],
  async run({ options, arguments: [argument = ''] }, context) {
    const name = parseMachineName(argument);
    const sizes = options.quiet ? 'left out' : 'measured';
    const rows = await (await machines(context)).snapshots(name, sizes, context.signal);
    const plain = options.output === undefined || options.output === 'table' || options.quiet;
    if (plain) await printList(rows, list(context.host.clock.now()), options);
    else
      await printList(
        rows.map(row => ({ ...row, created: rfc3339(row.created) })),
        { columns: [], key: row => row.name },
        options,
      );
    return 0;
  },
});

export const clone = defineCommand({
  name: 'machine clone',
  group: 'Machines',
  summary: 'Make a machine like another',
  synopsis: '[FLAG…] NAME[/SNAPSHOT] NEW',
  arity: [2, 2],
  options: { start: { type: 'boolean', help: 'start it, and wait until it has booted' }, ...dryRunOption },
  examples: [
    ['spawnlet machine clone web web2', 'with an identity of its own; a running one is frozen meanwhile'],
    ['spawnlet machine clone web/before-upgrade old', 'as it was then'],
  ],
  run({ options, arguments: [from = '', argument = ''] }, context) {
    const { name, snapshot: of } = parseSnapshotOf(from);
    const to = parseMachineName(argument);
    const value = {
      do: 'clone',
      name,
      ...(of !== undefined && { snapshot: parseSnapshotName(of) }),
      to,
      start: options.start,
    } as const;
    return make(value, options['dry-run'], context, to);
  },
});

const archives = /\.(tar|tar\.gz|tgz|tar\.xz|txz|tar\.zst|tzst)$/;

function parseArchive(text: string): string {
  if (archives.test(basename(text))) return resolve(text);
  throw new SpawnletError('ERR_USAGE', `${text} is no name of an archive`, {
    hint: 'it ends with .tar, .tar.gz, .tar.xz or .tar.zst',
  });
}

export const exportMachine = defineCommand({
  name: 'machine export',
  group: 'Machines',
  summary: 'Write a machine to an archive',
  synopsis: '[FLAG…] NAME [FILE]',
  arity: [1, 2],
  options: dryRunOption,
  examples: [['spawnlet machine export web web.tar.zst', 'its tree and its settings, while it is stopped']],
  run({ options, arguments: [argument = '', given] }, context) {
    const name = parseMachineName(argument);
    const file = parseArchive(given ?? `${name}.tar.gz`);
    return make({ do: 'export', name, file }, options['dry-run'], context, file);
  },
});

export const importMachine = defineCommand({
  name: 'machine import',
  group: 'Machines',
  summary: 'Make a machine from an archive of export',
  synopsis: '[FLAG…] FILE [NAME]',
  arity: [1, 2],
  options: {
    trust: {
      type: 'boolean',
      help: 'give the machine what its settings ask of this host: directories, devices, capabilities, networks, ports',
    },
    ...dryRunOption,
  },
  examples: [
    ['spawnlet machine import web.tar.zst', 'under the name that it had'],
    ['spawnlet machine import web.tar.zst web2', 'under another'],
  ],
  async run({ options, arguments: [archive = '', given] }, context) {
    const file = parseArchive(archive);
    const name =
      given === undefined
        ? await (await machines(context)).archivedName(file, context.signal)
        : parseMachineName(given);
    const { trust } = options;
    return make({ do: 'import', file, name, trust }, options['dry-run'], context, name);
  },
});
