/**
 * Shapes of values in documents: each reads a node with its place, writes a value back, and tells its JSON schema. A
 * table of shapes is the one definition of a format. Here are the shapes of scalars; structure.ts has the others.
 */
import type { Json } from '../host/step.ts';
import { type Fault, Faults, type Node } from '../host/yaml.ts';

export interface At {
  /** `spec.limits.memory`. */
  readonly path: string;
  /** What relative paths of the host are taken from. */
  readonly directory: string;
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

/** What is wrong with a node. */
export const fault = (node: Node, at: At, text: string) =>
  new Faults([{ line: node.line, path: at.path, text }]);

/** A value that is not taken, and what would be. */
const untaken = (node: Node, at: At, expected: string) =>
  new Faults([
    { line: node.line, path: at.path, text: `does not take ${shown(node)}: ${expected}`, expected },
  ]);

/** A node as a message names it. */
export function shown(node: Node): string {
  if (node.kind !== 'scalar') return node.kind === 'list' ? 'a list' : 'a mapping';
  return typeof node.value === 'string' ? `'${node.value.slice(0, 80)}'` : String(node.value);
}

/** The place of a field or an entry. */
export const below = (at: At, key: string): At => ({
  ...at,
  path: at.path === '' ? key : `${at.path}.${key}`,
});

const leaf = { within: () => undefined };

/** Runs each reader, and throws what all of them found. */
export function every<K, T>(parts: Iterable<readonly [K, () => T]>): [K, T][] {
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
        throw untaken(node, at, error.message);
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

/** A number between two, both included; `unit` is told to who gives another. */
export function number(
  least: number,
  most: number,
  kind: 'integer' | 'number' = 'integer',
  unit?: string,
): Shape<number> {
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
      throw untaken(node, at, `${what} ${range}${unit === undefined ? '' : `, in ${unit}`}`);
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
    throw untaken(node, at, 'true or false');
  },
  write: value => value,
  ofText: value => (value === 'true' || value === 'false' ? value === 'true' : value),
};

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
