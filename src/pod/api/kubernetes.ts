/**
 * Kubernetes' API as the rest of the house sees it: the newest minor that is spoken. The types have the names and the
 * field names of the API; times are RFC 3339, quantities are texts that spec/quantity.ts reads.
 */
export type * from './v1.36.ts';
export { kinds, version } from './v1.36.ts';

import { fields } from './v1.36.ts';

export type TypeName = keyof typeof fields;

/** What a field or an element holds: an object of the API, or a value. */
export type ValueType =
  | { readonly kind: 'object'; readonly type: TypeName }
  | { readonly kind: 'list' | 'map'; readonly of: ValueType }
  | { readonly kind: 'scalar'; readonly type: ScalarName };

/** `bytes` is base64; FieldsV1 and RawExtension are objects of any form. */
export type ScalarName = (typeof scalars)[number];

export interface Field {
  readonly type: ValueType;
  readonly required: boolean;
}

const scalars = [
  'string',
  'boolean',
  'int32',
  'int64',
  'bytes',
  'Quantity',
  'Time',
  'MicroTime',
  'IntOrString',
  'FieldsV1',
  'RawExtension',
] as const;

const parsed = new Map<TypeName, ReadonlyMap<string, Field>>();

/** The fields of a type by their names, in the API's order. */
export function fieldsOf(type: TypeName): ReadonlyMap<string, Field> {
  const known = parsed.get(type);
  if (known) return known;
  const entries = fields[type].split(' ').map(word => {
    const [name = '', written = ''] = word.split(':');
    const required = written.endsWith('!');
    return [name, { type: typeOf(required ? written.slice(0, -1) : written), required }] as const;
  });
  const made = new Map(entries);
  parsed.set(type, made);
  return made;
}

/** True for the name of a type that {@link fieldsOf} knows. */
export const isTypeName = (name: string): name is TypeName => Object.hasOwn(fields, name);

function typeOf(written: string): ValueType {
  if (written.endsWith('[]')) return { kind: 'list', of: typeOf(written.slice(0, -2)) };
  if (written.endsWith('{}')) return { kind: 'map', of: typeOf(written.slice(0, -2)) };
  if (isTypeName(written)) return { kind: 'object', type: written };
  const scalar = scalars.find(name => name === written);
  if (scalar) return { kind: 'scalar', type: scalar };
  throw new Error(`the table of fields has a type that it does not define: ${written}`);
}
