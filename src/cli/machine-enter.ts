import { resolve } from 'node:path';
import * as flags from '../app/request.ts';
import { SpawnletError } from '../host/error.ts';
import type { LogOptions, Place } from '../machine/api.ts';
import { parseMachineName } from '../machine/names.ts';
import { defineCommand } from './command.ts';
import { machines } from './machines.ts';
import { needTerminal } from './terminal.ts';

export const exec = defineCommand({
  name: 'machine exec',
  group: 'Machines',
  summary: 'Run a command in a machine',
  synopsis: '[FLAG…] NAME [--] COMMAND [ARG…]',
  arity: [2, Number.POSITIVE_INFINITY],
  passThrough: true,
  options: {
    interactive: { type: 'boolean', short: 'i', help: 'pass standard input on' },
    tty: { type: 'boolean', short: 't', help: 'give it a terminal' },
    env: { type: 'strings', short: 'e', value: 'NAME[=VALUE]', help: 'set a variable' },
    user: { type: 'string', short: 'u', value: 'USER', help: 'of the machine (root)' },
    workdir: { type: 'string', short: 'w', value: 'DIR', help: 'working directory' },
  },
  examples: [
    ['spawnlet machine exec web -- systemctl status', 'standard output and the exit code pass through'],
    ['spawnlet machine exec -it -u ann web bash', 'on a terminal, as another user'],
  ],
  async run({ options, arguments: [argument = '', ...words] }, context) {
    const name = parseMachineName(argument);
    const argv = words[0] === '--' ? words.slice(1) : words;
    if (argv.length === 0)
      throw new SpawnletError('ERR_USAGE', 'machine exec needs a command', {
        hint: 'spawnlet machine exec --help',
      });
    const asked = {
      env: options.env.flatMap(entry => flags.parseEnv(entry, context.env) ?? []),
      terminal: options.tty,
      stdin: options.interactive,
      ...(options.user !== undefined && { user: options.user }),
      ...(options.workdir !== undefined && { directory: flags.parseWorkdir(options.workdir) }),
    };
    return (await machines(context)).exec(name, argv, asked, context.signal);
  },
});

export const shell = defineCommand({
  name: 'machine shell',
  group: 'Machines',
  summary: 'Open a shell in a machine',
  synopsis: '[USER@]NAME',
  arity: [1, 1],
  options: {},
  examples: [
    ['spawnlet machine shell web', 'of root'],
    ['spawnlet machine shell ann@web', "of another user, as 'machinectl shell' has it"],
  ],
  async run({ arguments: [argument = ''] }, context) {
    const [, user = 'root', machine = argument] = /^([^@]+)@(.*)$/s.exec(argument) ?? [];
    const name = parseMachineName(machine);
    needTerminal('machine shell', `machine exec -i ${user === 'root' ? '' : `-u ${user} `}${name} -- sh`);
    return (await machines(context)).shell(name, user, context.signal);
  },
});

export const login = defineCommand({
  name: 'machine login',
  group: 'Machines',
  summary: 'Log in to a machine',
  synopsis: 'NAME',
  arity: [1, 1],
  options: {},
  examples: [['spawnlet machine login web', 'its own login prompt; ^] three times leaves it']],
  async run({ arguments: [argument = ''] }, context) {
    const name = parseMachineName(argument);
    needTerminal('machine login', `machine exec -i ${name} -- sh`);
    return (await machines(context)).login(name, context.signal);
  },
});

export const logs = defineCommand({
  name: 'machine logs',
  group: 'Machines',
  summary: 'Show the journal of a machine',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: {
    follow: { type: 'boolean', short: 'f', help: 'go on with what comes' },
    lines: { type: 'string', short: 'n', value: 'LINES', help: 'the last so many lines' },
    since: { type: 'string', value: 'TIME', help: 'as journalctl(1) takes it: today, -10min' },
    until: { type: 'string', value: 'TIME', help: 'the same' },
    unit: { type: 'string', short: 'u', value: 'UNIT', help: 'of a unit of the machine' },
    console: { type: 'boolean', help: 'what it wrote to its console, from the journal of the host' },
  },
  examples: [
    ['spawnlet machine logs -f -u nginx web', 'of one service of it'],
    ['spawnlet machine logs --console web', 'why it does not boot'],
  ],
  async run({ options, arguments: [argument = ''] }, context) {
    const name = parseMachineName(argument);
    const { lines, since, until, unit } = options;
    if (options.console && unit !== undefined)
      throw new SpawnletError('ERR_FLAG_CONFLICT', '--console and --unit do not go together', {
        hint: 'leave one of them out',
      });
    const asked: LogOptions = {
      follow: options.follow,
      of: options.console ? 'console' : 'journal',
      ...(lines !== undefined && { lines: flags.parseCount('lines', lines, 0) }),
      ...(since !== undefined && { since }),
      ...(until !== undefined && { until }),
      ...(unit !== undefined && { unit }),
    };
    return (await machines(context)).logs(name, asked, context.signal);
  },
});

export const top = defineCommand({
  name: 'machine top',
  group: 'Machines',
  summary: 'Show what machines take of the host',
  synopsis: '[NAME…]',
  arity: [0, Number.POSITIVE_INFINITY],
  options: {},
  examples: [['spawnlet machine top', 'processors, memory and I/O, until q is pressed']],
  async run({ arguments: words }, context) {
    const names = words.map(parseMachineName);
    return (await machines(context)).top(names, context.signal);
  },
});

/** `NAME:/path`, or a path of the host; a colon behind a slash belongs to the path, as docker has it. */
export function parsePlace(text: string): Place {
  const [, machine, path = ''] = /^([A-Za-z0-9-]*):(.*)$/s.exec(text) ?? [];
  if (machine === undefined) return { kind: 'host', path: resolve(text) + (text.endsWith('/.') ? '/.' : '') };
  if (!path.startsWith('/') || path.includes('\0'))
    throw new SpawnletError('ERR_USAGE', `'${text}' needs a whole path behind the colon`, {
      hint: `as in ${machine}:/etc/hosts; for a file of the host of this name: ./${text}`,
    });
  return { kind: 'machine', machine: parseMachineName(machine), path };
}

export const cp = defineCommand({
  name: 'machine cp',
  group: 'Machines',
  summary: 'Copy files to or from machines',
  synopsis: '[NAME:]SRC [NAME:]DST',
  arity: [2, 2],
  options: {},
  examples: [
    ['spawnlet machine cp ./site web:/var/www', 'a tree into a machine: /var/www/site'],
    ['spawnlet machine cp web:/var/log/. logs', 'what is in a directory of it'],
  ],
  async run({ arguments: [source = '', target = ''] }, context) {
    const [from, to] = [parsePlace(source), parsePlace(target)];
    if (from.kind === 'host' && to.kind === 'host')
      throw new SpawnletError('ERR_USAGE', 'neither of the two is in a machine', {
        hint: 'as in spawnlet machine cp file web:/root',
      });
    await (await machines(context)).copy(from, to, context.signal);
    return 0;
  },
});
