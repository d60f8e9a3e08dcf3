import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { messageOf, SpawnletError } from '../host/error.ts';
import type { MachinesApi } from '../machine/api.ts';
import { parseMachineName } from '../machine/names.ts';
import type { MachineSpec } from '../machine/spec.ts';
import { defineCommand, dryRunOption, type Options, type Values } from './command.ts';
import type { Context } from './context.ts';
import { each } from './each.ts';
import { machineOptions } from './machine-options.ts';
import { change, machines, parseSetting } from './machines.ts';
import { refusedPasswords } from './password-flags.ts';

const caller = (context: Context) => ({ directory: process.cwd(), environment: context.env });

/** A file that a command line names, or `ERR_USAGE`. */
function readNamed(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new SpawnletError('ERR_USAGE', `${path} cannot be read: ${messageOf(cause)}`, {
      cause,
      hint: 'name a file that is there',
    });
  }
}

/** Keys of `--ssh-key`: what is no key is a file of them. */
function keysOf(words: readonly string[]): string[] {
  return words.flatMap(word => {
    if (/\s/.test(word.trim())) return [word];
    const lines = readNamed(word).split('\n');
    return lines.map(line => line.trim()).filter(line => line !== '' && !line.startsWith('#'));
  });
}

const createOptions = {
  ...machineOptions,
  start: { type: 'boolean', help: 'start it, and wait until it has booted' },
  quiet: { type: 'boolean', short: 'q', help: 'do not show how its base is built' },
  ...dryRunOption,
} as const satisfies Options;

export const create = defineCommand({
  name: 'machine create',
  group: 'Machines',
  summary: 'Make a machine',
  synopsis: 'NAME --from SOURCE [FLAG…] [--no-boot -- COMMAND…]',
  arity: [1, Number.POSITIVE_INFINITY],
  options: createOptions,
  refused: {
    boot: 'machines boot; --no-boot -- COMMAND runs a command',
    bridge: '--network bridge=BR',
    'network-bridge': '--network bridge=BR',
    'network-veth': '--network nat, or --network zone=Z',
    'network-zone': '--network zone=Z',
    'network-macvlan': '--network macvlan=IF',
    'network-ipvlan': '--network ipvlan=IF',
    'network-interface': '--network physical=IF',
    port: '-p HOST:PORT',
    setenv: '-e NAME=VALUE',
    'load-credential': '--credential ID:PATH',
    'set-credential': '--credential ID:PATH: a secret on a command line can be seen by every user',
    ...refusedPasswords,
    privileged: '--profile privileged',
    volume: '--bind SRC:DST, --bind-ro SRC:DST',
    v: '--bind SRC:DST, --bind-ro SRC:DST',
    ephemeral: 'clone a base, and remove the clone: it costs a mount',
  },
  examples: [
    ['spawnlet machine create web --from debian:bookworm --start', 'a Debian, built once, then cloned'],
    [
      'spawnlet machine create db --from base:deb --network bridge=br0,address=192.0.2.7/24,gateway=192.0.2.1',
      'an address of its own on a bridge',
    ],
    [
      'spawnlet machine create ci --from base:deb --profile nested -m 2g -p 8080:80',
      'one that runs containers itself',
    ],
    ['spawnlet machine create old -D /srv/trees/old', 'a tree that is there, booted in place'],
    [
      'spawnlet machine create job --from base:deb --no-boot -- /usr/bin/make -C /src',
      'one command instead of an init',
    ],
    ['spawnlet machine create web --from base:deb --dry-run', 'what would be written'],
  ],
  async run({ options, arguments: [argument = '', ...command] }, context) {
    const name = parseMachineName(argument);
    checkCommand(options['no-boot'], command);
    const [{ machineOf }, { askPassword, passwordOf }] = await Promise.all([
      import('../machine/flags.ts'),
      import('./password.ts'),
    ]);
    const given = { ...options, 'ssh-key': keysOf(options['ssh-key']) };
    const spec = machineOf(name, given, command, caller(context));
    const said = await passwordOf(options);
    const password = said ?? (options.password ? await askPassword('root', context.signal) : undefined);
    const api = await machines(context);
    const value = { do: 'create', spec, start: options.start, ...(password && { password }) } as const;
    const done = await whileShown(options.quiet, context, () =>
      change(api, value, options['dry-run'], context, name),
    );
    process.stdout.write(`${done}\n`);
    return 0;
  },
});

/** Shows meanwhile how a base is built, if one is. */
async function whileShown<T>(quiet: boolean, context: Context, work: () => Promise<T>): Promise<T> {
  if (quiet) return work();
  const { showBuild } = await import('./progress.ts');
  using _progress = showBuild(context);
  return await work();
}

function checkCommand(noBoot: boolean, command: readonly string[]): void {
  if (noBoot && command.length === 0)
    throw new SpawnletError('ERR_USAGE', '--no-boot needs a command', {
      hint: 'spawnlet machine create NAME --from SOURCE --no-boot -- COMMAND',
    });
  if (noBoot || command.length === 0) return;
  throw new SpawnletError('ERR_USAGE', `machine create does not take '${command[0]}'`, {
    hint: 'a command goes with --no-boot',
  });
}

const applyOptions = {
  quiet: { type: 'boolean', short: 'q', help: 'do not show the differences' },
  ...dryRunOption,
} as const satisfies Options;

/** Makes a machine what the spec says, after the differences were shown. */
async function applySpec(
  api: MachinesApi,
  spec: MachineSpec,
  options: Values<typeof applyOptions>,
  context: Context,
): Promise<string> {
  const value = { do: 'apply', spec } as const;
  if (!options.quiet && !options['dry-run'])
    process.stderr.write(await api.dryRun(value, context.signal, 'left out'));
  return whileShown(options.quiet, context, () =>
    change(api, value, options['dry-run'], context, changed =>
      changed ? `${spec.name}: changed` : `${spec.name}: unchanged`,
    ),
  );
}

export const apply = defineCommand({
  name: 'machine apply',
  group: 'Machines',
  summary: 'Make machines what files say',
  synopsis: '-f FILE… [FLAG…]',
  arity: [0, 0],
  options: {
    filename: {
      type: 'strings',
      short: 'f',
      value: 'FILE',
      help: 'kind: Machine, one or more; - is standard input',
    },
    ...applyOptions,
  },
  examples: [
    ['spawnlet machine apply -f web.yaml', 'shows what differs, and changes it'],
    ['spawnlet machine apply -f web.yaml --dry-run', 'shows it only'],
  ],
  async run({ options }, context) {
    if (options.filename.length === 0)
      throw new SpawnletError('ERR_USAGE', 'machine apply needs -f FILE', {
        hint: 'spawnlet machine apply -f web.yaml',
      });
    const { parseMachines } = await import('../machine/document.ts');
    const specs = new Map<string, MachineSpec>();
    for (const file of options.filename) {
      const source = file === '-' ? await text(process.stdin) : readNamed(file);
      const name = file === '-' ? '(standard input)' : file;
      for (const spec of await parseMachines(source, name)) {
        if (specs.has(spec.name))
          throw new SpawnletError(
            'ERR_MACHINE_FILE',
            `${name}: there is a machine ${spec.name} in another file, too`,
            {
              hint: 'leave one of them out',
            },
          );
        specs.set(spec.name, spec);
      }
    }
    const api = await machines(context);
    return each([...specs.keys()], async name => {
      const spec = specs.get(name);
      return spec ? applySpec(api, spec, options, context) : name;
    });
  },
});

export const set = defineCommand({
  name: 'machine set',
  group: 'Machines',
  summary: 'Change settings of a machine',
  synopsis: '[FLAG…] NAME KEY=VALUE…',
  arity: [2, Number.POSITIVE_INFINITY],
  options: applyOptions,
  examples: [
    ['spawnlet machine set web memory=1g cpus=1.5', 'limits change while it runs'],
    ['spawnlet machine set web network.interfaces[0].addresses=192.0.2.7/24', 'a field by its path'],
    ['spawnlet machine set web bind=/srv/www:/var/www', 'one more directory of the host'],
    ['spawnlet machine set web limits.memory=', 'without that limit'],
  ],
  async run({ options, arguments: [argument = '', ...words] }, context) {
    const name = parseMachineName(argument);
    const settings = words.map(parseSetting);
    const { withSetting } = await import('../machine/flags.ts');
    const api = await machines(context);
    const spec = settings.reduce(
      (before, [key, value]) => withSetting(before, key, value, caller(context)),
      await api.spec(name, context.signal),
    );
    process.stdout.write(`${await applySpec(api, spec, options, context)}\n`);
    return 0;
  },
});

export const edit = defineCommand({
  name: 'machine edit',
  group: 'Machines',
  summary: 'Change a machine in an editor',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: applyOptions,
  examples: [['spawnlet machine edit web', 'VISUAL or EDITOR, else nano, vim or vi']],
  async run({ options, arguments: [argument = ''] }, context) {
    const name = parseMachineName(argument);
    const [{ formatMachine, parseMachine }, { editText }] = await Promise.all([
      import('../machine/document.ts'),
      import('./editor.ts'),
    ]);
    const api = await machines(context);
    const before = await formatMachine(await api.spec(name, context.signal));
    await using edited = await editText(before, `${name}.yaml`, context);
    const spec = await parseMachine(edited.text, resolve(edited.path)).catch((error: unknown) => {
      edited.keep(`spawnlet machine apply -f ${edited.path}`);
      throw error;
    });
    if (spec.name !== name)
      throw new SpawnletError('ERR_USAGE', `this is ${name}, and cannot become ${spec.name} here`, {
        hint: `spawnlet machine rename ${name} ${spec.name}`,
      });
    process.stdout.write(`${await applySpec(api, spec, options, context)}\n`);
    return 0;
  },
});
