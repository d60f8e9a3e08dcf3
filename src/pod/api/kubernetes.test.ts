import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldsOf, kinds, type Pod, type TypeName, version } from './kubernetes.ts';
import { fields } from './v1.36.ts';

test('every type of the table can be read, and refers to what is there', () => {
  const names = Object.keys(fields) as TypeName[];
  assert.ok(names.length > 200);
  for (const name of names) assert.ok(fieldsOf(name).size > 0, name);
});

test('a field tells its type and whether it is required', () => {
  const container = fieldsOf('Container');
  assert.deepEqual(container.get('name'), { type: { kind: 'scalar', type: 'string' }, required: true });
  assert.deepEqual(container.get('image'), { type: { kind: 'scalar', type: 'string' }, required: false });
  assert.deepEqual(container.get('ports'), {
    type: { kind: 'list', of: { kind: 'object', type: 'ContainerPort' } },
    required: false,
  });
  assert.deepEqual(fieldsOf('Secret').get('data')?.type, {
    kind: 'map',
    of: { kind: 'scalar', type: 'bytes' },
  });
  assert.equal(container.get('toString'), undefined);
});

test('kinds have the apiVersion that their objects carry', () => {
  const pod: Pod = { apiVersion: kinds.Pod, kind: 'Pod', spec: { containers: [{ name: 'a', image: 'b' }] } };
  assert.equal(pod.apiVersion, 'v1');
  assert.equal(kinds.Deployment, 'apps/v1');
  assert.match(version, /^1\.\d+\.\d+$/);
});
