/**
 * Shapes of values in documents: each reads a node with its place, writes a value back, and tells its JSON schema. A
 * table of shapes is the one definition of a format.
 */
import type { Json } from '../host/step.ts';

/** A node of a document, whatever it was written in. Lines count from 1; 0 where there is none. */
export type Node = { readonly line: number } & (
  | { readonly kind: 'scalar'; readonly value: string | number | boolean | null }
  | { readonly kind: 'list'; readonly items: readonly Node[] }
  | { readonly kind: 'map'; readonly entries: ReadonlyMap<string, Node> }
);

export interface At {
  /** `spec.limits.memory`. */
  readonly path: string;
  /** What relative paths of the host are taken from. */
  readonly directory: string;
}

/** One thing that is wrong: where, what, and what would be right. */
export interface Fault {
  readonly line: number;
  readonly path: string;
  readonly text: string;
}

/** All that is wrong with a node. */
export class Faults extends Error {
  readonly list: readonly Fault[];

  constructor(list: readonly Fault[]) {
    super(list.map(({ path, text }) => `${path} ${text}`).join('; '));
    this.list = list;
  }
}

/** What a parser of texts throws; the message says what it takes: `a whole number of at least 1`. */
export class Expected extends Error {}

export interface Shape<T> {
  readonly schema: { readonly [key: string]: Json };
  /** Throws {@link Faults}. */
  read(node: Node, at: At): T;
  write(value: T): Json;
  /** What {@link read} takes, of a text on a command line. */
  ofText(text: string): Json;
  /** Of a field, an entry (by its key) or an item (by its index); undefined if there can be none. */
  within(key: string): Shape<unknown> | undefined;
}

const fault = (node: Node, at: At, text: string) => new Faults([{ line: node.line, path: at.path, text }]);

function shown(node: Node): string {
  if (node.kind !== 'scalar') return node.kind === 'list' ? 'a list' : 'a mapping';
  return typeof node.value === 'string' ? `'${node.value.slice(0, 80)}'` : String(node.value);
}

const below = (at: At, key: string): At => ({ ...at, path: at.path === '' ? key : `${at.path}.${key}` });

const leaf = { within: () => undefined };

/** Runs each reader, and throws what all of them found. */
function every<K, T>(parts: Iterable<readonly [K, () => T]>): [K, T][] {
  const faults: Fault[] = [];
  const values: [K, T][] = [];
  for (const [key, read] of parts) {
    try {
      values.push([key, read()]);
    } catch (error) {
      if (!(error instanceof Faults)) throw error;
      faults.push(...error.list);
    }
  }
  if (faults.length > 0) throw new Faults(faults);
  return values;
}

/** A text with a form of its own. `parse` throws {@link Expected}; what `format` gives parses to the same value. */
export function text<T>(
  parse: (value: string, directory: string) => T,
  format: (value: T) => string,
  schema: { readonly [key: string]: Json } = {},
): Shape<T> {
  return {
    ...leaf,
    schema: { type: 'string', ...schema },
    read(node, at) {
      if (node.kind !== 'scalar' || typeof node.value !== 'string') {
        const quoted = node.kind === 'scalar' && node.value !== null ? `: "${String(node.value)}"` : '';
        throw fault(node, at, `takes a text, not ${shown(node)}; in quotes it is one${quoted}`);
      }
      try {
        return parse(node.value, at.directory);
      } catch (error) {
        if (!(error instanceof Expected)) throw error;
        throw fault(node, at, `does not take ${shown(node)}: ${error.message}`);
      }
    },
    write: format,
    ofText: value => value,
  };
}

/** {@link text} that may be written as a number, too. */
export function textOrNumber<T>(parse: (value: string) => T, format: (value: T) => string): Shape<T> {
  const shape = text(parse, format, { type: ['string', 'integer'] });
  return {
    ...shape,
    read(node, at) {
      const isNumber = node.kind === 'scalar' && typeof node.value === 'number';
      return shape.read(isNumber ? { ...node, value: String(node.value) } : node, at);
    },
  };
}

/** One of a few words. */
export function choice<const T extends string>(values: readonly T[]): Shape<T> {
  const known: readonly string[] = values;
  return text(
    value => {
      if (known.includes(value)) return value as T;
      throw new Expected(`one of ${known.join(', ')}`);
    },
    value => value,
    { enum: known },
  );
}

/** A number between two, both included. */
export function number(least: number, most: number, kind: 'integer' | 'number' = 'integer'): Shape<number> {
  return {
    ...leaf,
    schema: { type: kind, minimum: least, ...(Number.isFinite(most) && { maximum: most }) },
    read(node, at) {
      const value = node.kind === 'scalar' ? node.value : undefined;
      if (typeof value === 'number' && value >= least && value <= most) {
        if (kind === 'integer' ? Number.isSafeInteger(value) : Number.isFinite(value)) return value;
      }
      const what = kind === 'integer' ? 'a whole number' : 'a number';
      const range = Number.isFinite(most) ? `from ${least} to ${most}` : `of at least ${least}`;
      throw fault(node, at, `does not take ${shown(node)}: ${what} ${range}`);
    },
    write: value => value,
    ofText: value => (/^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value),
  };
}

export const boolean: Shape<boolean> = {
  ...leaf,
  schema: { type: 'boolean' },
  read(node, at) {
    if (node.kind === 'scalar' && typeof node.value === 'boolean') return node.value;
    throw fault(node, at, `does not take ${shown(node)}: true or false`);
  },
  write: value => value,
  ofText: value => (value === 'true' || value === 'false' ? value === 'true' : value),
};

/** A structured value on a command line: JSON, or what is no value of it. */
function jsonOf(value: string): Json {
  try {
    return JSON.parse(value) as Json;
  } catch {
    return value;
  }
}

export function list<T>(item: Shape<T>): Shape<readonly T[]> {
  return {
    schema: { type: 'array', items: item.schema },
    read(node, at) {
      if (node.kind !== 'list') throw fault(node, at, `takes a list, not ${shown(node)}`);
      const readers = node.items.map(
        (each, index) => [index, () => item.read(each, { ...at, path: `${at.path}[${index}]` })] as const,
      );
      return every(readers).map(([, value]) => value);
    },
    write: values => values.map(value => item.write(value)),
    ofText: value =>
      value.startsWith('[') ? jsonOf(value) : value.split(',').map(each => item.ofText(each)),
    within: key => (/^\d+$/.test(key) ? item : undefined),
  };
}

/** Keys of the user's own; `key` throws {@link Expected}. */
export function dictionary<T>(
  key: (name: string) => string,
  value: Shape<T>,
): Shape<Readonly<Record<string, T>>> {
  return {
    schema: { type: 'object', additionalProperties: value.schema },
    read(node, at) {
      if (node.kind !== 'map') throw fault(node, at, `takes a mapping, not ${shown(node)}`);
      const readers = [...node.entries].map(
        ([name, each]) =>
          [
            name,
            () => {
              try {
                key(name);
              } catch (error) {
                if (!(error instanceof Expected)) throw error;
                throw fault(each, at, `does not take the key '${name.slice(0, 80)}': ${error.message}`);
              }
              return value.read(each, below(at, name));
            },
          ] as const,
      );
      return Object.fromEntries(every(readers));
    },
    write: values =>
      Object.fromEntries(Object.entries(values).map(([name, each]) => [name, value.write(each)])),
    ofText: jsonOf,
    within: () => value,
  };
}

/** `initially`: what a field that is not there means; without it, it is left out of the value. */
export type Field<T> =
  | { readonly is: 'needed'; readonly shape: Shape<T>; readonly about?: string }
  | { readonly is: 'optional'; readonly shape: Shape<T>; readonly about?: string }
  | { readonly is: 'defaulted'; readonly shape: Shape<T>; readonly initially: T; readonly about?: string };

export const needed = <T>(shape: Shape<T>, about?: string): Field<T> => ({
  is: 'needed',
  shape,
  ...(about !== undefined && { about }),
});
export const optional = <T>(shape: Shape<T>, about?: string): Field<T> => ({
  is: 'optional',
  shape,
  ...(about !== undefined && { about }),
});
export const defaulted = <T>(shape: Shape<T>, initially: T, about?: string): Field<T> => ({
  is: 'defaulted',
  shape,
  initially,
  ...(about !== undefined && { about }),
});

export type Fields<T> = { readonly [K in keyof T]-?: Field<Exclude<T[K], undefined>> };

const same = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);

/** A mapping with fields of these names and no others. Nothing behind a colon is as if the field were not there. */
export function record<T extends object>(fields: Fields<T>): Shape<T> {
  const table = Object.entries<Field<unknown>>(fields as Readonly<Record<string, Field<unknown>>>);
  const find = (name: string) => table.find(([key]) => key === name)?.[1];
  return {
    schema: {
      type: 'object',
      properties: Object.fromEntries(table.map(([name, field]) => [name, schemaOf(field)])),
      required: table.filter(([, field]) => field.is === 'needed').map(([name]) => name),
      additionalProperties: false,
    },
    read(node, at) {
      if (node.kind !== 'map') throw fault(node, at, `takes a mapping, not ${shown(node)}`);
      const refuseField = (name: string, each: Node): unknown => {
        const known = table.map(([key]) => key).join(', ');
        throw fault(each, below(at, name.slice(0, 80)), `is not known: one of ${known}`);
      };
      const readField = (name: string, field: Field<unknown>): unknown => {
        const each = node.entries.get(name);
        if (each !== undefined && !(each.kind === 'scalar' && each.value === null))
          return field.shape.read(each, below(at, name));
        if (field.is === 'needed') throw fault(node, below(at, name), 'is missing');
        return field.is === 'defaulted' ? field.initially : undefined;
      };
      const unknown = [...node.entries].flatMap(([name, each]) =>
        find(name) === undefined ? [[name, () => refuseField(name, each)] as const] : [],
      );
      const readers = table.map(([name, field]) => [name, () => readField(name, field)] as const);
      const values = every([...unknown, ...readers]).filter(([, value]) => value !== undefined);
      return Object.fromEntries(values) as T;
    },
    write(value) {
      const own = value as Readonly<Record<string, unknown>>;
      const written = table.flatMap(([name, field]) => {
        const each = own[name];
        if (each === undefined) return [];
        const left = field.is === 'defaulted' && same(each, field.initially);
        return left ? [] : [[name, field.shape.write(each)] as const];
      });
      return Object.fromEntries(written);
    },
    ofText: jsonOf,
    within: name => find(name)?.shape,
  };
}

function schemaOf(field: Field<unknown>): { readonly [key: string]: Json } {
  return {
    ...field.shape.schema,
    ...(field.about !== undefined && { description: field.about }),
    ...(field.is === 'defaulted' && { default: field.shape.write(field.initially) }),
  };
}

/** Records that are told apart by their field `kind`. */
export function tagged<T extends { readonly kind: string }>(
  variants: {
    readonly [K in T['kind']]: Fields<Omit<Extract<T, { readonly kind: K }>, 'kind'>>;
  },
): Shape<T> {
  const shapes = new Map(
    Object.entries<Fields<object>>(variants).map(
      ([kind, fields]) =>
        [kind, record({ kind: needed(choice([kind])), ...fields }) as unknown as Shape<T>] as const,
    ),
  );
  const kinds = [...shapes.keys()];
  return {
    schema: { oneOf: [...shapes.values()].map(shape => shape.schema) },
    read(node, at) {
      if (node.kind !== 'map') throw fault(node, at, `takes a mapping with kind: ${kinds.join(', ')}`);
      const kind = node.entries.get('kind');
      const shape = kind?.kind === 'scalar' ? shapes.get(String(kind.value)) : undefined;
      if (shape) return shape.read(node, at);
      const text = kind ? `does not take ${shown(kind)}` : 'is missing';
      throw fault(kind ?? node, below(at, 'kind'), `${text}: one of ${kinds.join(', ')}`);
    },
    write: value => shapes.get(value.kind)?.write(value) ?? null,
    ofText: jsonOf,
    within: name => [...shapes.values()].map(shape => shape.within(name)).find(shape => shape !== undefined),
  };
}

/** One of a few words, or a list or mapping of another shape. */
export function wordOr<const W extends string, T extends object>(
  words: readonly W[],
  other: Shape<T>,
): Shape<W | T> {
  const word = choice(words);
  const known: readonly string[] = words;
  return {
    schema: { oneOf: [word.schema, other.schema] },
    read: (node, at) => (node.kind === 'scalar' ? word : other).read(node, at),
    write: value => (typeof value === 'string' ? word.write(value) : other.write(value)),
    ofText: value => (known.includes(value) ? value : other.ofText(value)),
    within: key => other.within(key),
  };
}

/** The same document for another value. `to` throws {@link Expected}. */
export function mapped<S, T>(shape: Shape<S>, to: (value: S) => T, from: (value: T) => S): Shape<T> {
  return {
    ...shape,
    read(node, at) {
      const value = shape.read(node, at);
      try {
        return to(value);
      } catch (error) {
        if (!(error instanceof Expected)) throw error;
        throw fault(node, at, error.message);
      }
    },
    write: value => shape.write(from(value)),
  };
}

/** A JSON value as a node without lines. */
export function nodeOf(value: Json): Node {
  if (Array.isArray(value)) return { line: 0, kind: 'list', items: value.map((item: Json) => nodeOf(item)) };
  if (value !== null && typeof value === 'object')
    return {
      line: 0,
      kind: 'map',
      entries: new Map(Object.entries(value).map(([key, each]) => [key, nodeOf(each)])),
    };
  return { line: 0, kind: 'scalar', value };
}
