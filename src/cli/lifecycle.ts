import type { Apps } from '../app/app.ts';
import { dropInsOf } from '../app/plan.ts';
import { parseCount } from '../app/request.ts';
import { parseSignal } from '../engine/signal.ts';
import { messageOf, SpawnletError } from '../host/error.ts';
import { defineCommand, type Options } from './command.ts';
import type { Context } from './context.ts';

const many = [0, Number.POSITIVE_INFINITY] as const;
const all = { type: 'boolean', short: 'a', help: 'all containers' } as const;
const time = {
  type: 'string',
  short: 't',
  value: 'SECONDS',
  help: "time until SIGKILL (the container's own)",
} as const;

/** Drop-ins are the user's, and would apply to a new container of the same name. */
async function tellDropIn(name: string, context: Context): Promise<void> {
  const path = dropInsOf(name);
  if (await context.host.files.look(path)) process.stderr.write(`spawnlet: ${path} is yours and stays\n`);
}

/** Does something for each container, goes on after an error, prints the names that it was done for. */
async function each(
  names: readonly string[],
  everything: boolean,
  context: Context,
  act: (apps: Apps, name: string) => Promise<string>,
): Promise<number> {
  if (everything && names.length > 0) {
    throw new SpawnletError('ERR_FLAG_CONFLICT', `--all and the name ${names[0]} do not go together`, {
      hint: 'leave one of them out',
    });
  }
  const apps = await context.apps();
  const chosen = everything ? (await apps.list(context.signal)).map(app => app.name) : names;
  if (chosen.length === 0 && !everything) {
    throw new SpawnletError('ERR_USAGE', 'name a container, or say --all', {
      hint: 'spawnlet ps -a lists them',
    });
  }
  let code = 0;
  for (const name of chosen) {
    try {
      process.stdout.write(`${await act(apps, name)}\n`);
    } catch (error) {
      if (chosen.length === 1 || !(error instanceof SpawnletError)) throw error;
      process.stderr.write(`spawnlet: ${messageOf(error)} [${error.code}]\n`);
      code = 125;
    }
  }
  return code;
}

export const stop = defineCommand({
  name: 'stop',
  group: 'Containers',
  summary: 'Stop containers',
  synopsis: '[FLAG…] NAME…',
  arity: many,
  options: { all, time },
  examples: [['spawnlet stop -t 3 web', 'SIGKILL after three seconds']],
  run: ({ options, arguments: names }, context) =>
    each(names, options.all, context, async (apps, name) => {
      const seconds = options.time === undefined ? undefined : parseCount('time', options.time, 0);
      await apps.stop(name, seconds, context.signal);
      return name;
    }),
});

export const start = defineCommand({
  name: 'start',
  group: 'Containers',
  summary: 'Start containers that were stopped',
  synopsis: '[FLAG…] NAME…',
  arity: many,
  options: { all: { type: 'boolean', help: 'all containers' } },
  refused: {
    attach: 'spawnlet start NAME, then spawnlet attach NAME',
    a: 'spawnlet start NAME, then spawnlet attach NAME',
  },
  examples: [['spawnlet start web', "the same as 'systemctl start web'"]],
  run: ({ options, arguments: names }, context) =>
    each(names, options.all, context, async (apps, name) => {
      await apps.start(name, context.signal);
      return name;
    }),
});

export const kill = defineCommand({
  name: 'kill',
  group: 'Containers',
  summary: 'Send a signal to containers',
  synopsis: '[FLAG…] NAME…',
  arity: many,
  options: { all, signal: { type: 'string', short: 's', value: 'SIGNAL', help: 'by name or number (KILL)' } },
  examples: [['spawnlet kill -s HUP web', 'have it read its configuration again']],
  run: ({ options, arguments: names }, context) =>
    each(names, options.all, context, async (apps, name) => {
      await apps.kill(name, parseSignal(options.signal ?? 'KILL'), context.signal);
      return name;
    }),
});

export const wait = defineCommand({
  name: 'wait',
  group: 'Containers',
  summary: 'Wait until containers end, print their exit codes',
  synopsis: 'NAME…',
  arity: [1, Number.POSITIVE_INFINITY],
  options: {} satisfies Options,
  examples: [['spawnlet wait job', 'prints 0 if it went well']],
  run: ({ arguments: names }, context) =>
    each(names, false, context, async (apps, name) => String(await apps.wait(name, context.signal))),
});

export const rm = defineCommand({
  name: 'rm',
  group: 'Containers',
  summary: 'Remove containers',
  synopsis: '[FLAG…] NAME…',
  arity: many,
  options: {
    all,
    force: { type: 'boolean', short: 'f', help: 'also running ones, which are killed' },
    ignore: { type: 'boolean', short: 'i', help: 'a container that is not there is no error' },
    'dry-run': { type: 'boolean', help: 'print every step, change nothing' },
  },
  refused: {
    volumes: 'volumes of a container always go with it',
    v: 'volumes of a container always go with it',
  },
  examples: [['spawnlet rm -f web', 'whatever it is doing']],
  run: ({ options, arguments: names }, context) =>
    each(names, options.all, context, async (apps, name) => {
      if (options['dry-run']) return (await apps.removeDryRun(name, context.signal)).trimEnd();
      if (options.ignore && !(await apps.find(name, context.signal))) return name;
      await apps.remove(name, options.force, context.signal);
      await tellDropIn(name, context);
      return name;
    }),
});
