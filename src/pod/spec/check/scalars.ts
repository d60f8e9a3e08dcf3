/** Values of the API that are no objects. */
import type { Node, Scalar } from '../../../host/yaml.ts';
import type { ScalarName } from '../../api/kubernetes.ts';
import { formatQuantity, parseQuantity } from '../quantity.ts';

/** What each takes, as a message says it. */
export const scalarNames: { readonly [T in ScalarName]: string } = {
  string: 'a text',
  boolean: 'true or false',
  int32: 'a whole number',
  int64: 'a whole number',
  bytes: 'base64',
  Quantity: 'a quantity such as 100m or 1.5Gi',
  Time: 'a time such as 2030-01-01T00:00:00Z',
  MicroTime: 'a time such as 2030-01-01T00:00:00.000000Z',
  IntOrString: 'a whole number or a text',
  FieldsV1: 'a mapping',
  RawExtension: 'a mapping',
};

/** The value if it is one of the type's, in the API's form. */
export function acceptScalar(type: ScalarName, value: Scalar): Scalar | undefined {
  switch (type) {
    case 'boolean':
      return typeof value === 'boolean' ? value : undefined;
    case 'int32':
      return typeof value === 'number' && value === Math.trunc(value) && Math.abs(value) < 2 ** 31
        ? value
        : undefined;
    case 'int64':
      return Number.isSafeInteger(value) ? value : undefined;
    case 'IntOrString':
      return typeof value === 'string' || Number.isSafeInteger(value) ? value : undefined;
    case 'Quantity': {
      const text = typeof value === 'number' ? String(value) : value;
      const quantity = typeof text === 'string' ? parseQuantity(text) : undefined;
      return quantity && (typeof value === 'number' ? formatQuantity(quantity) : value);
    }
    case 'bytes':
      return typeof value === 'string' && isBase64(value) ? value.replaceAll(/\s/g, '') : undefined;
    case 'Time':
    case 'MicroTime':
      return typeof value === 'string' && rfc3339.test(value) && !Number.isNaN(Date.parse(value))
        ? value
        : undefined;
    case 'string':
      return typeof value === 'string' ? value : undefined;
    case 'FieldsV1':
    case 'RawExtension':
      return undefined;
    default:
      return type satisfies never;
  }
}

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/;

/** Newlines may stand between, as tools break long lines. */
function isBase64(text: string): boolean {
  const bare = text.replaceAll(/[\r\n]/g, '');
  return bare.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(bare);
}

/** A node as a message names it. */
export function shown(node: Node): string {
  if (node.kind !== 'scalar') return node.kind === 'list' ? 'a list' : 'a mapping';
  return typeof node.value === 'string' ? `'${node.value.slice(0, 80)}'` : String(node.value ?? 'nothing');
}
