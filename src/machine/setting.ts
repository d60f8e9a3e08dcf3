/** `machine set`: one field of a spec, by its path. */

import { SpawnletError } from '../host/error.ts';
import type { Json } from '../host/step.ts';
import { Faults } from '../host/yaml.ts';
import { type MachineBody, machineBody } from './fields.ts';
import { nodeOf, type Shape } from './shape.ts';
import type { MachineSpec } from './spec.ts';

const hint =
  'as in limits.memory=1G or network.interfaces[0].dns=192.0.2.1; spawnlet machine schema has all fields';

const wrong = (what: string, why: string) => new SpawnletError('ERR_FLAG_VALUE', `${what}: ${why}`, { hint });

/** A field that was asked for: its path, the text, and the word by which whoever asked calls it. */
interface Asked {
  readonly key: string;
  readonly value: string;
  readonly word: string;
}

function readBody(body: Json, directory: string, asked: Asked | string): MachineBody {
  try {
    return machineBody.read(nodeOf(body), { path: '', directory });
  } catch (error) {
    if (!(error instanceof Faults)) throw error;
    if (typeof asked === 'string') throw wrong(asked, error.message);
    const { key, value, word } = asked;
    const [first, ...more] = error.list;
    if (first?.expected === undefined || more.length > 0 || !first.path.startsWith(key))
      throw wrong(`${key}=${value}`, error.message);
    throw new SpawnletError('ERR_FLAG_VALUE', `${word} does not take '${value}'`, { hint: first.expected });
  }
}

/**
 * A spec that a document could have. `what` was asked for.
 *
 * @throws ERR_FLAG_VALUE
 */
export function validated({ name, ...body }: MachineSpec, what: string): MachineSpec {
  return { name, ...readBody(machineBody.write(body), '/', what) };
}

/** `limits.memory`, `network.interfaces[0].dns` as its parts. */
function partsOf(key: string): string[] | undefined {
  if (!/^[A-Za-z_]\w*(\[\d{1,4}\]|\.\w+)*$/.test(key)) return undefined;
  return key.split(/[.[]/).map(part => part.replace(/\]$/, ''));
}

/**
 * A spec with one field changed: the key is the field's path below `spec`, an empty text takes the field away, lists of
 * texts are written with commas, anything else as JSON. `word` is what whoever asks calls the field.
 *
 * @throws ERR_FLAG_VALUE
 */
export function setField(
  spec: MachineSpec,
  key: string,
  value: string,
  directory: string,
  word = key,
): MachineSpec {
  const { name, ...body } = spec;
  const what = `${key}=${value}`;
  const parts = partsOf(key);
  if (parts === undefined) throw wrong(what, 'the key is no path of a field');
  const changed = replaced(machineBody.write(body), machineBody, parts);
  return { name, ...readBody(changed, directory, { key, value, word }) };

  function replaced(whole: Json, shape: Shape<unknown>, [part = '', ...rest]: readonly string[]): Json {
    const within = shape.within(part);
    if (!within) throw wrong(what, `there is no field ${part}`);
    const change = (old: Json) => (rest.length === 0 ? within.ofText(value) : replaced(old, within, rest));
    const goes = rest.length === 0 && value === '';
    if (/^\d+$/.test(part)) {
      const items: readonly Json[] = Array.isArray(whole) ? whole : [];
      const index = Number(part);
      if (index > items.length) throw wrong(what, `there are ${items.length} of these`);
      return goes ? items.toSpliced(index, 1) : items.toSpliced(index, 1, change(items[index] ?? {}));
    }
    const fields = new Map(
      whole !== null && typeof whole === 'object' ? Object.entries<Json>(whole as {}) : [],
    );
    if (goes) fields.delete(part);
    else fields.set(part, change(fields.get(part) ?? defaultOf(shape, part)));
    return Object.fromEntries(fields);
  }
}

/** What a field is while it is not written. */
function defaultOf(shape: Shape<unknown>, field: string): Json {
  const properties = shape.schema['properties'] as Readonly<Record<string, { default?: Json }>> | undefined;
  return (properties && Object.hasOwn(properties, field) ? properties[field]?.default : undefined) ?? {};
}
