import { existsSync } from 'node:fs';
import { SpawnletError } from '../host/error.ts';
import type { MachineChange, MachinesApi } from '../machine/api.ts';
import { parseMachineName } from '../machine/names.ts';
import { type Command, defineCommand, dryRunOption, type Options, type Values } from './command.ts';
import type { Context } from './context.ts';
import { each } from './each.ts';

/**
 * The machines of this host.
 *
 * @throws ERR_NO_SYSTEMD before anything is looked at, where systemd is not PID 1.
 */
export async function machines(context: Context): Promise<MachinesApi> {
  if (!existsSync('/run/systemd/system')) await context.systemd();
  return context.machines();
}

/** Makes a change, or prints its plan; what people should know of it goes to standard error. Gives `done`, or the plan. */
export async function change(
  api: MachinesApi,
  value: MachineChange,
  dryRun: boolean,
  context: Context,
  done: string | ((changed: boolean) => string),
): Promise<string> {
  if (dryRun) return (await api.dryRun(value, context.signal)).trimEnd();
  const { changed, notes } = await api.perform(value, context.signal);
  for (const note of notes) process.stderr.write(`spawnlet: ${note}\n`);
  return typeof done === 'string' ? done : done(changed);
}

/** `NAME/SNAPSHOT`, as lxc has it, or a machine alone. */
export function parseSnapshotOf(text: string): { readonly name: string; readonly snapshot?: string } {
  const [name = '', snapshot] = text.split(/\/(.*)/s, 2);
  return { name: parseMachineName(name), ...(snapshot !== undefined && { snapshot }) };
}

/** A command that makes one change to each machine that it is given. */
export function forEachMachine<const O extends Options>(
  definition: Pick<Command<O>, 'name' | 'summary' | 'options' | 'examples' | 'refused'> & {
    readonly synopsis?: string;
    readonly how?: 'in turn' | 'at once';
  },
  changeOf: (name: string, options: Values<O>) => MachineChange,
): Command {
  const { how, synopsis = '[FLAG…] NAME…', ...rest } = definition;
  return defineCommand<O & typeof dryRunOption>({
    ...rest,
    options: { ...definition.options, ...dryRunOption },
    group: 'Machines',
    synopsis,
    arity: [1, Number.POSITIVE_INFINITY],
    async run({ options, arguments: names }, context) {
      const changes = new Map(names.map(name => [name, changeOf(name, options as Values<O>)] as const));
      const api = await machines(context);
      const dryRun = (options as Values<typeof dryRunOption>)['dry-run'];
      const act = async (name: string) => {
        const value = changes.get(name);
        return value ? change(api, value, dryRun, context, name) : name;
      };
      return each([...changes.keys()], act, how);
    },
  });
}

/** One of `KEY=VALUE` words. */
export function parseSetting(text: string): readonly [key: string, value: string] {
  const equals = text.indexOf('=');
  if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)];
  throw new SpawnletError('ERR_USAGE', `'${text}' is not KEY=VALUE`, {
    hint: 'as in limits.memory=1G; a key with nothing behind = is as if it had not been set',
  });
}
