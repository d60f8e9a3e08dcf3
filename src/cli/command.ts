/**
 * Commands as data: help, completion, the documentation and the parser all read the same definition.
 */
import { SpawnletError } from '../host/error.ts';
import { nearest } from '../host/nearest.ts';
import type { Context } from './context.ts';

export interface Option {
  readonly type: 'boolean' | 'string' | 'strings';
  readonly short?: string;
  /** What stands for the value in help: `NAME`. */
  readonly value?: string;
  readonly help: string;
  /** A boolean that is true unless `--flag=false`. */
  readonly initially?: true;
  /** The only values allowed. */
  readonly choices?: readonly string[];
}

export type Options = Readonly<Record<string, Option>>;

type ValueOf<O extends Option> = O['type'] extends 'boolean'
  ? boolean
  : O['type'] extends 'strings'
    ? readonly string[]
    : string | undefined;

export type Values<O extends Options> = { readonly [K in keyof O]: ValueOf<O[K]> };

export interface Input<O extends Options = Options> {
  readonly options: Values<O>;
  readonly arguments: readonly string[];
}

export type Group = 'Containers' | 'Pods' | 'Images' | 'Machines' | 'Labs' | 'Host';

export interface Command<O extends Options = Options> {
  /** `image pull`. */
  readonly name: string;
  readonly group: Group;
  readonly summary: string;
  /** What follows the name, as in a man page. */
  readonly synopsis: string;
  /** How many arguments it takes. */
  readonly arity: readonly [least: number, most: number];
  readonly options: O;
  /** Everything after the first argument belongs to the program that is run, flags too. */
  readonly passThrough?: boolean;
  /** With that: flags may stand behind the first argument, too, up to `--` or the next argument. */
  readonly flagsBehind?: boolean;
  /** Flags of podman's that are refused, and what to use instead. */
  readonly refused?: Readonly<Record<string, string>>;
  readonly examples: readonly (readonly [line: string, what: string])[];
  /** Gives the exit code. */
  run(input: Input<O>, context: Context): Promise<number>;
}

/** Keeps the types of a definition's options for its `run`. */
export function defineCommand<const O extends Options>(command: Command<O>): Command {
  return command;
}

/** The flag of list commands. */
export const outputOption = {
  output: {
    type: 'string',
    short: 'o',
    value: 'FORMAT',
    choices: ['table', 'json', 'yaml'],
    help: 'table (default), json or yaml',
  },
} as const satisfies Options;

/** The flag of commands that ask registries. */
export const authFileOption = {
  type: 'string',
  value: 'FILE',
  help: 'credentials for registries (REGISTRY_AUTH_FILE, else those of podman login)',
} as const;

/** The flag of commands that show documents. */
export const documentOption = {
  output: { ...outputOption.output, choices: ['json', 'yaml'], help: 'json (default) or yaml' },
} as const satisfies Options;

/** The flag of commands that change the host. */
export const dryRunOption = {
  'dry-run': { type: 'boolean', help: 'print what would be done, change nothing' },
} as const satisfies Options;

function usageError(command: Command, message: string, hint = ''): SpawnletError {
  return new SpawnletError('ERR_USAGE', message, { hint: `${hint}spawnlet ${command.name} --help` });
}

function lookup(command: Command, flag: string): [string, Option] {
  const found = flag.startsWith('--')
    ? Object.entries(command.options).find(([name]) => name === flag.slice(2))
    : Object.entries(command.options).find(([, option]) => option.short === flag.slice(1));
  if (found) return found;
  const name = flag.replace(/^-+/, '');
  const instead = command.refused?.[name];
  if (instead)
    throw new SpawnletError('ERR_FLAG_REFUSED', `${flag} is not supported by ${command.name}`, {
      hint: instead,
    });
  if (flag === '--debug')
    throw usageError(command, `${flag} goes before the command`, `spawnlet --debug ${command.name} …; `);
  const meant = flag.startsWith('--') ? nearest(name, Object.keys(command.options)) : undefined;
  throw usageError(command, `${command.name} has no flag ${flag}`, meant && `is --${meant} meant? `);
}

/**
 * Parses the words after a command's name, as podman and docker read them: `-it`, `-eA=b`, `-e A=b`, `--env=A=b`,
 * `--flag=false` for a boolean, `--` ends the flags.
 */
export function parseInput(command: Command, argv: readonly string[]): Input | 'help' {
  const values: Record<string, boolean | string | string[]> = {};
  for (const [name, option] of Object.entries(command.options)) {
    if (option.type === 'boolean') values[name] = option.initially ?? false;
    if (option.type === 'strings') values[name] = [];
  }
  const rest: string[] = [];
  const words = [...argv];

  function set(flag: string, inline: string | undefined): void {
    const [name, option] = lookup(command, flag);
    if (option.type === 'boolean') {
      if (inline !== undefined && inline !== 'true' && inline !== 'false')
        throw usageError(command, `${flag} takes true or false`);
      values[name] = inline !== 'false';
      return;
    }
    const value = inline ?? words.shift();
    if (value === undefined) throw usageError(command, `${flag} needs a value (${option.value ?? 'VALUE'})`);
    if (option.choices && !option.choices.includes(value)) {
      throw usageError(command, `${flag} takes one of ${option.choices.join(', ')}, not '${value}'`);
    }
    const before = values[name];
    if (Array.isArray(before)) before.push(value);
    else values[name] = value;
  }

  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === '--') {
      rest.push(...words.splice(0));
    } else if (word.startsWith('--')) {
      if (word === '--help') return 'help';
      const equals = word.indexOf('=');
      if (equals < 0) set(word, undefined);
      else set(word.slice(0, equals), word.slice(equals + 1));
    } else if (word.startsWith('-') && word.length > 1) {
      for (let at = 1; at < word.length; at++) {
        const flag = `-${word[at]}`;
        if (flag === '-h' && !Object.values(command.options).some(option => option.short === 'h'))
          return 'help';
        const [, option] = lookup(command, flag);
        if (option.type === 'boolean') {
          set(flag, undefined);
          continue;
        }
        const inline = word.slice(at + 1).replace(/^=/, '');
        set(flag, at + 1 < word.length ? inline : undefined);
        break;
      }
    } else {
      rest.push(word);
      const isFlagNext = command.flagsBehind && rest.length === 1 && words[0]?.startsWith('-');
      if (command.passThrough && !isFlagNext) rest.push(...words.splice(0));
    }
  }
  const [least, most] = command.arity;
  if (rest.length < least) throw usageError(command, `${command.name} needs ${command.synopsis}`);
  if (rest.length > most) throw usageError(command, `${command.name} does not take '${rest[most]}'`);
  return { options: values, arguments: rest } as Input;
}
