/**
 * Reads a node as an object of the API: the fields that its type has, each with a value of the right kind. What is wrong is
 * noted, and the zero value stands in its place, so that the rest can be read and checked all the same.
 */

import { nearest } from '../../../host/nearest.ts';
import type { Node } from '../../../host/yaml.ts';
import {
  type Field,
  fieldsOf,
  type ScalarName,
  type TypeName,
  type ValueType,
} from '../../api/kubernetes.ts';
import { supportOf } from '../fields.ts';
import type { Mistake, Path } from '../path.ts';
import { wordsOf } from './enumerations.ts';
import { acceptScalar, scalarNames, shown } from './scalars.ts';

/** An object of `type` at `path`; what is wrong with it is added to `mistakes`. `T` must be the type of that name. */
export function readObject<T extends object>(type: TypeName, node: Node, path: Path, mistakes: Mistake[]): T {
  const fields = fieldsOf(type);
  const object: { [key: string]: unknown } = {};
  if (node.kind !== 'map') mistakes.push({ path, text: `takes a mapping, not ${shown(node)}` });
  const entries = node.kind === 'map' ? node.entries : new Map<string, Node>();
  for (const [name, each] of entries) {
    const at = [...path, name];
    const field = fields.get(name);
    if (field === undefined) mistakes.push({ path: at, text: unknownField(name, [...fields.keys()]) });
    else if (!isEmpty(each)) {
      const value = readField(type, name, field, each, at, mistakes);
      if (value !== undefined) object[name] = value;
    }
  }
  for (const [name, { type: value, required }] of fields) {
    if (!required || Object.hasOwn(object, name)) continue;
    const written = entries.get(name);
    if (written === undefined || isEmpty(written))
      mistakes.push({ path: [...path, name], text: 'is missing' });
    object[name] = zeroOf(value);
  }
  return object as T;
}

type ScalarNode = Extract<Node, { kind: 'scalar' }>;

/** Nothing behind the colon is as if the field were not there. */
const isEmpty = (node: Node) => node.kind === 'scalar' && node.value === null;

function unknownField(name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  if (near !== undefined) return `is not known: is ${near} meant?`;
  return `is not known: one of ${known.join(', ')}`;
}

function readField(
  type: TypeName,
  name: string,
  field: Field,
  node: Node,
  path: Path,
  mistakes: Mistake[],
): unknown {
  const support = supportOf(type, name);
  if (support.kind === 'refused') {
    const isNothing = node.kind === 'list' && node.items.length === 0;
    if (!isNothing) mistakes.push({ path, text: `is not supported: ${support.reason}` });
    return undefined;
  }
  if (type === 'Secret' && (name === 'data' || name === 'stringData')) {
    const own: Mistake[] = [];
    const secret = readValue(field.type, node, path, own);
    const text = `takes ${name === 'data' ? 'base64' : 'a text, in quotes'}`;
    mistakes.push(...own.map(each => (each.path.length > path.length ? { ...each, text } : each)));
    return secret;
  }
  const value = readValue(field.type, node, path, mistakes);
  const words = wordsOf(type, name);
  if (words === undefined) return value;
  if (value === '' && field.required) mistakes.push({ path, text: `is missing: one of ${words.join(', ')}` });
  if (value === '') return undefined;
  const each = Array.isArray(value)
    ? value.map((item: unknown, index) => [item, [...path, index]] as const)
    : [];
  let isTaken = true;
  for (const [item, at] of each.length > 0 ? each : [[value, path] as const]) {
    if (typeof item !== 'string' || words.includes(item)) continue;
    mistakes.push({ path: at, text: `does not take '${item}': one of ${words.join(', ')}` });
    isTaken = false;
  }
  return isTaken ? value : undefined;
}

function readValue(type: ValueType, node: Node, path: Path, mistakes: Mistake[]): unknown {
  switch (type.kind) {
    case 'object':
      return readObject(type.type, node, path, mistakes);
    case 'list':
      if (node.kind !== 'list') break;
      return node.items.map((item, index) => readValue(type.of, item, [...path, index], mistakes));
    case 'map': {
      if (node.kind !== 'map') break;
      const value = (each: Node, key: string) =>
        isEmpty(each) ? zeroOf(type.of) : readValue(type.of, each, [...path, key], mistakes);
      return Object.fromEntries([...node.entries].map(([key, each]) => [key, value(each, key)]));
    }
    case 'scalar':
      if (type.type === 'FieldsV1' || type.type === 'RawExtension') return {};
      if (node.kind !== 'scalar') break;
      return readScalar(type.type, node, path, mistakes);
    default:
      return type satisfies never;
  }
  const wanted =
    type.kind === 'scalar' ? scalarNames[type.type] : `a ${type.kind === 'map' ? 'mapping' : 'list'}`;
  mistakes.push({ path, text: `takes ${wanted}, not ${shown(node)}` });
  return zeroOf(type);
}

function readScalar(type: ScalarName, node: ScalarNode, path: Path, mistakes: Mistake[]): unknown {
  const { value, written = String(value) } = node;
  const accepted = acceptScalar(type, value);
  if (accepted !== undefined) return accepted;
  const isWord = type === 'string' && (typeof value === 'number' || typeof value === 'boolean');
  const quoted = isWord ? `; in quotes it is one: "${written}"` : '';
  mistakes.push({ path, text: `takes ${scalarNames[type]}, not ${shown(node)}${quoted}` });
  return zeroOf({ kind: 'scalar', type });
}

function zeroOf(type: ValueType): unknown {
  switch (type.kind) {
    case 'list':
      return [];
    case 'map':
      return {};
    case 'object': {
      const required = [...fieldsOf(type.type)].filter(([, field]) => field.required);
      return Object.fromEntries(required.map(([name, field]) => [name, zeroOf(field.type)]));
    }
    case 'scalar':
      if (type.type === 'boolean') return false;
      if (type.type === 'int32' || type.type === 'int64' || type.type === 'IntOrString') return 0;
      return type.type === 'Quantity' ? '0' : '';
    default:
      return type satisfies never;
  }
}
