/** Shapes of lists, mappings and records; see shape.ts. */

import type { Json } from '../host/step.ts';
import type { Node } from '../host/yaml.ts';
import { below, choice, Expected, every, fault, type Shape, shown } from './shape.ts';

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

const same = (one: Json, other: Json) => JSON.stringify(one) === JSON.stringify(other);

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
      const values = value as Readonly<Record<string, unknown>>;
      const written = table.flatMap(([name, field]) => {
        const each = values[name];
        if (each === undefined) return [];
        const own = field.shape.write(each);
        const left = field.is === 'defaulted' && same(own, field.shape.write(field.initially));
        return left ? [] : [[name, own] as const];
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
