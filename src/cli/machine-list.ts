import { SpawnletError } from '../host/error.ts';
import type { Json } from '../host/step.ts';
import type { MachineRow, MachineStatus } from '../machine/api.ts';
import { parseMachineName } from '../machine/names.ts';
import { profileNames } from '../machine/spec.ts';
import { defineCommand, outputOption } from './command.ts';
import { machines } from './machines.ts';
import { bytes, duration, type List, print, printable, printList, rfc3339 } from './output.ts';

const list = (now: number): List<MachineRow> => ({
  columns: [
    ['NAME', row => row.name],
    ['STATE', row => row.state],
    ['UP', row => (row.since === undefined ? '' : duration(now - row.since))],
    ['BOOT', row => (row.enabled ? 'enabled' : 'disabled')],
    ['MEMORY', row => (row.memory === undefined ? '' : bytes(row.memory))],
    ['ADDRESSES', row => row.addresses.join(' ')],
    ['FROM', row => row.from],
  ],
  key: row => row.name,
});

/** A row as `-o json` gives it: times are RFC 3339, null where there is none. */
const documentOfRow = (row: MachineRow) => ({
  ...row,
  since: rfc3339(row.since),
  memory: row.memory ?? null,
});

export const ls = defineCommand({
  name: 'machine ls',
  group: 'Machines',
  summary: 'List machines',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: { quiet: { type: 'boolean', short: 'q', help: 'names only' }, ...outputOption },
  refused: { all: 'it lists all machines', a: 'it lists all machines', format: 'use -o json or -o yaml' },
  examples: [
    ['spawnlet machine ls', 'what there is, and what it does'],
    ['spawnlet machine ls -o json', 'for scripts'],
  ],
  async run({ options }, context) {
    const rows = await (await machines(context)).list(context.signal);
    const shown = options.output === undefined || options.output === 'table' || options.quiet;
    if (shown) await printList(rows, list(context.host.clock.now()), options);
    else await print(rows.map(documentOfRow), options.output);
    return 0;
  },
});

/** What systemd knows of a machine, for people. `settings` is its document. */
export function describe(status: MachineStatus, settings: string, now: number): string {
  const up = status.since === undefined ? '' : ` for ${duration(now - status.since).toLowerCase()}`;
  const rows: readonly (readonly [string, string])[] = [
    ['State', `${status.state}${up}${status.enabled ? ', starts at boot' : ''}`],
    ['OS', status.os],
    ['Tree', treeOf(status)],
    ['Unit', status.unit],
    ['PID 1', status.leader === undefined ? '' : String(status.leader)],
    ['Memory', status.memory === undefined ? '' : bytes(status.memory)],
    ['Tasks', tasksOf(status)],
    ['Addresses', status.addresses.join(', ')],
    ['Users', `${status.users.range}${status.users.why === undefined ? '' : ` (${status.users.why})`}`],
    ['Snapshots', status.snapshots.join(', ')],
    ...status.files.map((file, at) => [at === 0 ? 'Files' : '', file] as const),
    ...status.missing.map((line, at) => [at === 0 ? 'Missing' : '', line] as const),
    ...status.pending.map((line, at) => [at === 0 ? 'At restart' : '', line] as const),
  ];
  const told = rows.filter(([, value]) => value !== '');
  const lines = told.map(([head, value]) => `${head.padStart(10)}${head ? ':' : ' '} ${printable(value)}`);
  const indented = settings.trimEnd().replaceAll(/^/gm, '    ');
  return `${[status.name, ...lines, '', indented].join('\n')}\n`;
}

function treeOf({ tree: { kind, path, layers, changed } }: MachineStatus): string {
  if (kind === 'plain') return path;
  const below = layers.length === 0 ? '' : ` on ${layers.toReversed().join(', ')}`;
  const own = changed === undefined ? '' : `, ${bytes(changed)} of its own`;
  return `${path} (${kind}${below}${own})`;
}

function tasksOf({ tasks, tasksMax }: MachineStatus): string {
  if (tasks === undefined) return '';
  return tasksMax === undefined ? String(tasks) : `${tasks} (limit ${tasksMax})`;
}

export const status = defineCommand({
  name: 'machine status',
  group: 'Machines',
  summary: 'Show machines and their settings',
  synopsis: '[-o FORMAT] NAME…',
  arity: [1, Number.POSITIVE_INFINITY],
  options: {
    output: {
      ...outputOption.output,
      choices: ['text', 'json', 'yaml'],
      help: "text (default), json, or yaml: the file that 'machine apply' takes",
    },
  },
  examples: [
    ['spawnlet machine status web', 'what it does, its files, what waits for a restart'],
    ['spawnlet machine status web -o yaml', 'its kind: Machine file'],
    ['spawnlet machine status web -o json', 'for scripts'],
  ],
  async run({ options, arguments: words }, context) {
    const names = words.map(parseMachineName);
    const { documentOf, formatMachine } = await import('../machine/document.ts');
    const api = await machines(context);
    const now = context.host.clock.now();
    const documents: Json[] = [];
    const texts: string[] = [];
    for (const name of names) {
      if (options.output === 'yaml') {
        texts.push(await formatMachine(await api.spec(name, context.signal)));
        continue;
      }
      const found = await api.status(name, context.signal);
      if (options.output !== 'json') texts.push(describe(found, await formatMachine(found.spec), now));
      else {
        const { spec, ...rest } = found;
        const seen = JSON.parse(
          JSON.stringify({ ...rest, ...documentOfRow(found), spec: undefined }),
        ) as Json;
        documents.push({ ...(documentOf(spec) as { readonly [key: string]: Json }), status: seen });
      }
    }
    if (options.output === 'json') await print(documents, 'json');
    else process.stdout.write(texts.join(options.output === 'yaml' ? '---\n' : '\n'));
    return 0;
  },
});

export const profiles = defineCommand({
  name: 'machine profiles',
  group: 'Machines',
  summary: 'Explain what each profile allows, line by line',
  synopsis: '[FLAG…] [PROFILE…]',
  arity: [0, Number.POSITIVE_INFINITY],
  options: outputOption,
  examples: [
    ['spawnlet machine profiles', 'all of them'],
    ['spawnlet machine profiles nested', 'what a machine needs to run containers itself'],
  ],
  async run({ options, arguments: wanted }) {
    const unknown = wanted.find(name => !profileNames.some(known => known === name));
    if (unknown !== undefined)
      throw new SpawnletError('ERR_USAGE', `there is no profile '${unknown}'`, {
        hint: `there are ${profileNames.join(', ')}`,
      });
    const { profileRows } = await import('../machine/profiles.ts');
    const rows = profileRows().filter(({ profile }) => wanted.length === 0 || wanted.includes(profile));
    if (options.output !== undefined && options.output !== 'table') {
      await print(rows, options.output);
      return 0;
    }
    const parts = profileNames.flatMap(name => {
      const lines = rows.filter(({ profile }) => profile === name);
      const told = lines.map(({ place, key, value, why }) => `  [${place}] ${key}=${value}\n      ${why}`);
      return lines.length === 0 ? [] : [`${name}\n${told.join('\n')}\n`];
    });
    process.stdout.write(parts.join('\n'));
    return 0;
  },
});

export const schema = defineCommand({
  name: 'machine schema',
  group: 'Machines',
  summary: 'Print the JSON schema of kind: Machine',
  synopsis: '',
  arity: [0, 0],
  options: {},
  examples: [['spawnlet machine schema', 'redirected to a file, editors complete and check machines by it']],
  async run() {
    const { machineSchema } = await import('../machine/schema.ts');
    await print(machineSchema(), 'json');
    return 0;
  },
});
