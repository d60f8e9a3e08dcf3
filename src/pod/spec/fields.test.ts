import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldsOf, isTypeName, type TypeName } from '../api/kubernetes.ts';
import { elsewhere, fieldPaths, refused, supportOf, typesIn, working } from './fields.ts';
import { manifestKinds } from './validate.ts';

/** Types whose fields a node has to answer for. */
function typesOfManifests(): Set<TypeName> {
  const found = new Set<TypeName>(manifestKinds.filter(isTypeName));
  for (const type of found) {
    for (const [name, { type: value }] of fieldsOf(type)) {
      const inner = typesIn(value);
      if (inner && supportOf(type, name).kind === 'works') found.add(inner);
    }
  }
  return found;
}

const named = (type: TypeName) =>
  [working[type], elsewhere[type], Object.keys(refused[type] ?? {}).join(' ')]
    .join(' ')
    .split(/\s+/)
    .filter(Boolean);

test('each field of a manifest is named once, and each that is named is one of the API', () => {
  const types = typesOfManifests();
  for (const type of types)
    assert.deepEqual(named(type).toSorted(), [...fieldsOf(type).keys()].toSorted(), type);
  for (const type of [...Object.keys(working), ...Object.keys(elsewhere), ...Object.keys(refused)]) {
    assert.ok(isTypeName(type), type);
    assert.ok(types.has(type), `${type} is in no manifest`);
  }
});

test('what is refused says why', () => {
  for (const reasons of Object.values(refused))
    for (const reason of Object.values(reasons)) assert.ok(reason.length > 10, reason);
  assert.deepEqual(supportOf('Volume', 'gitRepo').kind, 'refused');
  assert.deepEqual(supportOf('PodSpec', 'affinity').kind, 'elsewhere');
  assert.deepEqual(supportOf('LeaseSpec', 'holderIdentity').kind, 'works');
});

test('every place in a pod can be listed', () => {
  const paths = new Map(fieldPaths());
  assert.ok(paths.size > 500, String(paths.size));
  assert.equal(paths.get('containers[].env[].valueFrom.secretKeyRef.key')?.kind, 'works');
  assert.equal(paths.get('volumes[].csi')?.kind, 'refused');
  assert.equal(paths.has('volumes[].csi.driver'), false);
  assert.equal(paths.get('resources.limits')?.kind, 'works');
});
