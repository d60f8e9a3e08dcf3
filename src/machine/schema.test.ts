import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { machineSchema } from './schema.ts';
import { profileNames } from './spec.ts';

interface Schema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly oneOf?: readonly Schema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly maxLength?: number;
}

/** The words of JSON schema that stand beside a value and say nothing of it. */
const notes = ['$schema', '$id', 'title', 'description', 'default'];

const typeOf = (value: unknown) => {
  if (Array.isArray(value)) return ['array'];
  if (Number.isInteger(value)) return ['integer', 'number'];
  return [value === null ? 'null' : typeof value];
};

/** As the specification has it, for the words that the schema uses; another word is an error. */
function isValid(schema: Schema, value: unknown): boolean {
  return Object.entries(schema).every(([word, rule]) => {
    const fields =
      value !== null && typeof value === 'object' && !Array.isArray(value) ? Object.entries(value) : [];
    const text = typeof value === 'string' ? value : undefined;
    const number = typeof value === 'number' ? value : undefined;
    const own = schema.properties ?? {};
    switch (word) {
      case 'type':
        return typeOf(value).some(type => [rule].flat().includes(type));
      case 'enum':
        return (rule as unknown[]).includes(value);
      case 'properties':
        return fields.every(([name, each]) => !Object.hasOwn(own, name) || isValid(own[name] ?? {}, each));
      case 'additionalProperties':
        return fields.every(
          ([name, each]) => Object.hasOwn(own, name) || (rule !== false && isValid(rule as Schema, each)),
        );
      case 'required':
        return (rule as string[]).every(name => fields.some(([field]) => field === name));
      case 'items':
        return !Array.isArray(value) || value.every(each => isValid(rule as Schema, each));
      case 'oneOf':
        return (rule as Schema[]).filter(each => isValid(each, value)).length === 1;
      case 'minimum':
        return number === undefined || number >= Number(rule);
      case 'maximum':
        return number === undefined || number <= Number(rule);
      case 'pattern':
        return text === undefined || new RegExp(String(rule)).test(text);
      case 'maxLength':
        return text === undefined || text.length <= Number(rule);
      default:
        assert.ok(notes.includes(word), `the schema has ${word}, which this check does not know`);
        return true;
    }
  });
}

const schema = machineSchema() as Schema;
const head =
  'apiVersion: spawnlet.io/v1alpha1\nkind: Machine\nmetadata: { name: web }\nspec:\n  from: base:deb\n';
const takes = (lines: string) => isValid(schema, parse(head + lines));

test('the schema takes what the parser takes', () => {
  for (const lines of [
    '',
    '  network: host',
    '  network: { interfaces: [{ kind: ovs, bridge: b, vlan: 3, addresses: dhcp }] }',
    '  network: { interfaces: [{ kind: nat, ports: ["80:80"], addresses: [192.0.2.7/24] }] }',
    '  limits: { memory: 1G, cpus: 1.5, ioWeight: 100 }',
    '  limits: { memory: 1048576 }',
    '  mounts: [{ kind: bind, source: /a, target: /b, readOnly: true }, { kind: inaccessible, target: /c }]',
    '  environment: { A: b }',
    '  profiles: [nested]',
    '  firstBoot: { users: [{ name: ann }] }',
  ])
    assert.equal(takes(lines), true, lines);
});

test('the schema refuses unknown fields, wrong types and wrong words', () => {
  for (const lines of [
    '  colour: blue',
    '  network: nat',
    '  network: { interfaces: [{ kind: bridge }] }',
    '  network: { interfaces: [{ kind: nat, vlan: 3 }] }',
    '  limits: { ioWeight: 0 }',
    '  limits: { tasks: 1.5 }',
    '  environment: { A: 1 }',
    '  profiles: [nestd]',
    '  enabled: "yes"',
    '  firstBoot: { users: [{ uid: 3 }] }',
  ])
    assert.equal(takes(lines), false, lines);
  assert.equal(isValid(schema, parse(head.replace('web', 'Web'))), false);
  assert.equal(isValid(schema, parse(head.replace('Machine', 'Pod'))), false);
});

test('the schema has every profile', () => {
  const profiles = schema.properties?.['spec']?.properties?.['profiles'];
  assert.deepEqual(profiles?.items?.enum, [...profileNames]);
});
