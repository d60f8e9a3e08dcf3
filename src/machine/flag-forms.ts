/** Forms of values that flags have and documents write as fields. */

import { SpawnletError } from '../host/error.ts';
import { Expected } from './shape.ts';
import type { Mount, User } from './spec.ts';
import * as values from './values.ts';

/** Where a command was given: what relative paths and `-e NAME` are taken from. */
export interface Caller {
  readonly directory: string;
  readonly environment: NodeJS.ProcessEnv;
}

export const wrong = (flag: string, text: string, hint: string) =>
  new SpawnletError('ERR_FLAG_VALUE', `--${flag} does not take '${text}'`, { hint });

/** The value of a flag, or `ERR_FLAG_VALUE` with what it takes. */
export function take<T>(flag: string, text: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof Expected)) throw error;
    throw wrong(flag, text, error.message);
  }
}

/** Parts between colons; `\:` is a colon, as in systemd-nspawn's own flags. */
const split = (text: string): string[] =>
  [...`${text}:`.matchAll(/((?:\\.|[^\\:])*):/g)].map(([, part = '']) => part.replaceAll(/\\([\\:])/g, '$1'));

type MountFlag = 'bind' | 'bind-ro' | 'tmpfs' | 'overlay' | 'inaccessible';

/** `SRC[:DST]`, `DST[:OPTIONS]`, `LOWER:…:UPPER:DST`, `PATH`. */
export function parseMount(flag: MountFlag, text: string, { directory }: Caller): Mount {
  const parts = split(text);
  const [first = '', second] = parts;
  const atMost = (count: number, example: string) => {
    if (parts.length > count) throw new Expected(`as in --${flag} ${example}; \\: is a colon of a path`);
  };
  switch (flag) {
    case 'bind':
    case 'bind-ro': {
      atMost(2, '/srv/www:/var/www');
      const source = values.parseHostPath(first, directory);
      return {
        kind: 'bind',
        source,
        target: values.parseInnerPath(second ?? source),
        readOnly: flag === 'bind-ro',
      };
    }
    case 'tmpfs':
      atMost(2, '/scratch:size=64m');
      return {
        kind: 'tmpfs',
        target: values.parseInnerPath(first),
        options: values.parseTmpfsOptions(second ?? ''),
      };
    case 'overlay': {
      if (parts.length < 3)
        throw new Expected('LOWER:UPPER:DST, with more lower directories in front if need be');
      const layers = parts.slice(0, -1).map(path => values.parseHostPath(path, directory));
      return { kind: 'overlay', layers, target: values.parseInnerPath(parts.at(-1) ?? '') };
    }
    case 'inaccessible':
      atMost(1, '/sys/firmware');
      return { kind: 'inaccessible', target: values.parseInnerPath(first) };
  }
}

/** `NAME[:uid=1000,group=sudo,shell=/bin/bash]`. */
export function parseUser(text: string): User {
  const [name = '', options = ''] = text.split(/:(.*)/s, 2);
  const groups: string[] = [];
  let user: Omit<User, 'groups'> = { name: values.parseUserName(name), sshKeys: [] };
  for (const option of options.split(',').filter(Boolean)) {
    const [key = '', value = ''] = option.split(/=(.*)/s, 2);
    if (key === 'uid' && /^\d{1,10}$/.test(value)) user = { ...user, uid: Number(value) };
    else if (key === 'group') groups.push(values.parseUserName(value));
    else if (key === 'shell') user = { ...user, shell: values.parseInnerPath(value) };
    else throw new Expected('NAME, or NAME:uid=1000,group=sudo,shell=/bin/bash (group= more than once)');
  }
  return { ...user, groups };
}

/** `A:B`, both there. */
export function parsePair(text: string, example: string): readonly [string, string] {
  const [first = '', second = '', ...more] = split(text);
  if (first !== '' && second !== '' && more.length === 0) return [first, second];
  throw new Expected(`as in ${example}`);
}
