import { SpawnletError } from '../host/error.ts';

/** JSON of an image: an own object whose every field is looked at before it is used. */
export type Fields = Readonly<Record<string, unknown>>;

/** How many entries a list or a table in an image document may have, unless told otherwise. */
const maxEntries = 4096;

/** An image that breaks its specification. `where` is the field, in jq's notation. */
export function invalid(where: string, why: string): SpawnletError {
  return new SpawnletError('ERR_IMAGE_INVALID', `the image is not valid: ${where} ${why}`, {
    hint: 'the image has to be built or pushed again',
  });
}

/** An image that is right, but of a kind that is not run here. */
export function unsupported(what: string, hint: string): SpawnletError {
  return new SpawnletError('ERR_IMAGE_UNSUPPORTED', what, { hint });
}

/** Parses UTF-8 JSON whose root is an object. Error messages never quote the text: it may hold credentials. */
export function parseObject(bytes: Uint8Array, where: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    throw invalid(where, 'is not JSON in UTF-8');
  }
  return asObject(value, where);
}

export function asObject(value: unknown, where: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(where, 'is not an object');
  return value as Fields;
}

/** Own fields only: nothing that a prototype has is taken for a field. Null counts as absent, as in Go's JSON. */
export function field(fields: Fields, name: string): unknown {
  return Object.hasOwn(fields, name) ? (fields[name] ?? undefined) : undefined;
}

export function asArray(value: unknown, where: string, max = maxEntries): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(where, 'is not a list');
  if (value.length > max) throw invalid(where, `has ${value.length} entries, more than ${max}`);
  return value;
}

/** A string without NUL; `line` refuses control characters too, `text` keeps newlines and tabs. */
export function asString(value: unknown, where: string, form: 'line' | 'text' = 'line'): string {
  if (typeof value !== 'string') throw invalid(where, 'is not a string');
  if (value.includes('\0')) throw invalid(where, 'holds a NUL');
  if (form === 'line' && /[\x00-\x1f\x7f]/.test(value)) throw invalid(where, 'holds a control character');
  if (!value.isWellFormed()) throw invalid(where, 'holds half of a surrogate pair');
  return value;
}

export function asStrings(value: unknown, where: string, form: 'line' | 'text' = 'line'): string[] {
  if (value === undefined) return [];
  return asArray(value, where).map((item, index) => asString(item, `${where}[${index}]`, form));
}

/** Names and values of a table of strings. The result has no prototype, so that any name is just a name. */
export function asTable(value: unknown, where: string): Record<string, string> {
  const table = Object.create(null) as Record<string, string>;
  for (const [name, item] of entriesOf(value, where))
    table[asString(name, `a name in ${where}`)] = asString(item, `${where}[${JSON.stringify(name)}]`, 'text');
  return table;
}

/** Names of a table whose values are empty objects: Go's form of a set. */
export function asSet(value: unknown, where: string): string[] {
  return entriesOf(value, where).map(([name]) => asString(name, `a name in ${where}`));
}

function entriesOf(value: unknown, where: string): [string, unknown][] {
  if (value === undefined) return [];
  const entries = Object.entries(asObject(value, where));
  if (entries.length > maxEntries)
    throw invalid(where, `has ${entries.length} entries, more than ${maxEntries}`);
  return entries;
}
