import type { Apps } from '../app/app.ts';
import { parseCount } from '../app/request.ts';
import { parseSignal } from '../engine/signal.ts';
import { SpawnletError } from '../host/error.ts';
import { type Command, defineCommand, dryRunOption, type Options, type Values } from './command.ts';
import { containers, tellDropIns } from './containers.ts';
import type { Context } from './context.ts';
import { each } from './each.ts';

const all = { type: 'boolean', short: 'a', help: 'all containers' } as const;
const time = {
  type: 'string',
  short: 't',
  value: 'SECONDS',
  help: "time until SIGKILL (the container's own)",
} as const;

/** Does something for each container, goes on after an error, prints the names that it was done for. */
async function eachOf(
  names: readonly string[],
  everything: boolean,
  context: Context,
  act: (apps: Apps, name: string) => Promise<string | undefined>,
): Promise<number> {
  if (everything && names.length > 0) {
    throw new SpawnletError('ERR_FLAG_CONFLICT', `--all and the name ${names[0]} do not go together`, {
      hint: 'leave one of them out',
    });
  }
  const apps = await containers(context);
  const chosen = everything ? (await apps.list(context.signal)).map(app => app.name) : names;
  if (chosen.length === 0 && !everything) {
    throw new SpawnletError('ERR_USAGE', 'name a container, or say --all', {
      hint: 'spawnlet ps -a lists them',
    });
  }
  return each(chosen, name => act(apps, name));
}

/** A command that does something for each container that it is given, and prints what that gives. */
function lifecycle<const O extends Options>(
  definition: Pick<Command<O>, 'name' | 'summary' | 'options' | 'refused' | 'examples'>,
  act: (apps: Apps, name: string, options: Values<O>, context: Context) => Promise<string | undefined>,
): Command {
  const hasAll = 'all' in definition.options;
  return defineCommand<O>({
    ...definition,
    group: 'Containers',
    synopsis: Object.keys(definition.options).length > 0 ? '[FLAG…] NAME…' : 'NAME…',
    arity: [hasAll ? 0 : 1, Number.POSITIVE_INFINITY],
    run: ({ options, arguments: names }, context) =>
      eachOf(names, hasAll && options['all'] === true, context, (apps, name) =>
        act(apps, name, options, context),
      ),
  });
}

export const stop = lifecycle(
  {
    name: 'stop',
    summary: 'Stop containers',
    options: { all, time },
    examples: [['spawnlet stop -t 3 web', 'SIGKILL after three seconds']],
  },
  async (apps, name, options, { signal }) => {
    const seconds = options.time === undefined ? undefined : parseCount('time', options.time, 0, 'seconds');
    await apps.stop(name, seconds, signal);
    return name;
  },
);

export const start = lifecycle(
  {
    name: 'start',
    summary: 'Start containers that were stopped',
    options: { all: { type: 'boolean', help: 'all containers' } },
    refused: {
      attach: 'spawnlet start NAME, then spawnlet attach NAME',
      a: 'spawnlet start NAME, then spawnlet attach NAME',
    },
    examples: [['spawnlet start web', "the same as 'systemctl start web'"]],
  },
  async (apps, name, _options, { signal }) => {
    await apps.start(name, signal);
    return name;
  },
);

export const kill = lifecycle(
  {
    name: 'kill',
    summary: 'Send a signal to containers',
    options: {
      all,
      signal: { type: 'string', short: 's', value: 'SIGNAL', help: 'by name or number (KILL)' },
    },
    examples: [['spawnlet kill -s HUP web', 'have it read its configuration again']],
  },
  async (apps, name, options, { signal }) => {
    await apps.kill(name, parseSignal(options.signal ?? 'KILL'), signal);
    return name;
  },
);

export const wait = lifecycle(
  {
    name: 'wait',
    summary: 'Wait until containers end, print their exit codes',
    options: {},
    examples: [['spawnlet wait job', 'prints 0 if it went well']],
  },
  async (apps, name, _options, { signal }) => String(await apps.wait(name, signal)),
);

export const rm = lifecycle(
  {
    name: 'rm',
    summary: 'Remove containers',
    options: {
      all,
      force: { type: 'boolean', short: 'f', help: 'also running ones, which are killed' },
      ignore: { type: 'boolean', short: 'i', help: 'a container that is not there is no error' },
      ...dryRunOption,
    },
    refused: {
      volumes: 'volumes of a container always go with it',
      v: 'volumes of a container always go with it',
    },
    examples: [['spawnlet rm -f web', 'whatever it is doing']],
  },
  async (apps, name, options, context) => {
    if (options['dry-run']) return (await apps.removeDryRun(name, context.signal)).trimEnd();
    if (options.ignore && !(await apps.find(name, context.signal))) return undefined;
    await apps.remove(name, options.force, context.signal);
    await tellDropIns(name, 'is yours and stays', context);
    return name;
  },
);
