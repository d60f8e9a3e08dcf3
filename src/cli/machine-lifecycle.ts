import { parseCount } from '../app/request.ts';
import { parseSignal } from '../engine/signal.ts';
import { SpawnletError } from '../host/error.ts';
import { parseMachineName, parseSnapshotName } from '../machine/names.ts';
import { defineCommand, dryRunOption, type Option } from './command.ts';
import { each } from './each.ts';
import { change, forEachMachine, machines, parseSnapshotOf } from './machines.ts';

const time = {
  type: 'string',
  short: 't',
  value: 'SECONDS',
  help: 'time until SIGKILL (90)',
} as const satisfies Option;

const secondsOf = (text: string | undefined) =>
  text === undefined ? {} : { seconds: parseCount('time', text, 0, 'seconds') };

export const start = forEachMachine(
  {
    name: 'machine start',
    summary: 'Start machines, and wait until they have booted',
    options: {},
    how: 'at once',
    examples: [['spawnlet machine start web db', "the same as 'machinectl start web db'"]],
  },
  name => ({ do: 'start', name: parseMachineName(name) }),
);

export const stop = forEachMachine(
  {
    name: 'machine stop',
    summary: 'Stop machines',
    options: { time, force: { type: 'boolean', short: 'f', help: 'at once, without asking its init' } },
    how: 'at once',
    examples: [
      ['spawnlet machine stop web', 'its init shuts down; after 90 seconds it is killed, and that is told'],
      ['spawnlet machine stop -t 5 web', 'after five'],
    ],
  },
  (name, options) => ({
    do: 'stop',
    name: parseMachineName(name),
    force: options.force,
    ...secondsOf(options.time),
  }),
);

export const restart = forEachMachine(
  {
    name: 'machine restart',
    summary: 'Stop machines and start them again',
    options: { time },
    how: 'at once',
    examples: [['spawnlet machine restart web', 'what was changed with set takes effect']],
  },
  (name, options) => ({ do: 'restart', name: parseMachineName(name), ...secondsOf(options.time) }),
);

export const kill = forEachMachine(
  {
    name: 'machine kill',
    summary: 'Send a signal to machines',
    options: {
      signal: { type: 'string', short: 's', value: 'SIGNAL', help: 'by name or number (TERM)' },
      'kill-whom': {
        type: 'string',
        value: 'WHOM',
        choices: ['all', 'leader'],
        help: 'all processes (default), or leader: its PID 1',
      },
    },
    examples: [
      ['spawnlet machine kill -s KILL web', 'every process of it'],
      ['spawnlet machine kill -s RTMIN+4 --kill-whom leader web', 'what asks its init to power off'],
    ],
  },
  (name, options) => ({
    do: 'kill',
    name: parseMachineName(name),
    whom: options['kill-whom'] === 'leader' ? 'leader' : 'all',
    signalNumber: parseSignal(options.signal ?? 'TERM'),
  }),
);

export const enable = forEachMachine(
  {
    name: 'machine enable',
    summary: 'Start machines at boot',
    options: {},
    examples: [['spawnlet machine enable web', "the same as 'machinectl enable web'"]],
  },
  name => ({ do: 'enable', name: parseMachineName(name) }),
);

export const disable = forEachMachine(
  {
    name: 'machine disable',
    summary: 'Do not start machines at boot',
    options: {},
    examples: [['spawnlet machine disable web', 'it goes on running']],
  },
  name => ({ do: 'disable', name: parseMachineName(name) }),
);

export const rm = defineCommand({
  name: 'machine rm',
  group: 'Machines',
  summary: 'Remove machines or snapshots',
  synopsis: '[FLAG…] NAME[/SNAPSHOT]…',
  arity: [1, Number.POSITIVE_INFINITY],
  options: {
    force: { type: 'boolean', short: 'f', help: 'also running ones, which are stopped' },
    ignore: { type: 'boolean', short: 'i', help: 'a machine that is not there is no error' },
    ...dryRunOption,
  },
  examples: [
    ['spawnlet machine rm -f web', 'with its snapshots; a tree of --directory stays'],
    ['spawnlet machine rm web/before-upgrade', 'one snapshot'],
  ],
  async run({ options, arguments: words }, context) {
    const chosen = new Map(words.map(word => [word, parseSnapshotOf(word)] as const));
    const api = await machines(context);
    return each([...chosen.keys()], async word => {
      const { name, snapshot } = chosen.get(word) ?? { name: word };
      const value =
        snapshot === undefined
          ? ({ do: 'remove', name, force: options.force } as const)
          : ({ do: 'remove-snapshot', name, snapshot: parseSnapshotName(snapshot) } as const);
      try {
        return await change(api, value, options['dry-run'], context, word);
      } catch (error) {
        const none = error instanceof SpawnletError && error.code === 'ERR_NO_MACHINE';
        if (none && options.ignore) return undefined;
        throw error;
      }
    });
  },
});

export const rename = defineCommand({
  name: 'machine rename',
  group: 'Machines',
  summary: 'Give a machine another name',
  synopsis: '[FLAG…] NAME NEW',
  arity: [2, 2],
  options: dryRunOption,
  examples: [['spawnlet machine rename web www', 'while it is stopped']],
  async run({ options, arguments: [from = '', to = ''] }, context) {
    const value = { do: 'rename', name: parseMachineName(from), to: parseMachineName(to) } as const;
    const api = await machines(context);
    process.stdout.write(`${await change(api, value, options['dry-run'], context, to)}\n`);
    return 0;
  },
});
