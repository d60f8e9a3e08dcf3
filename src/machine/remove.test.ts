import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planRemove } from './plan.ts';

const removed = (tree: Parameters<typeof planRemove>[1]['tree']) =>
  planRemove('web', { tree, enabled: false, network: [] }).steps.flatMap(step =>
    'path' in step && step.path === '/var/lib/machines/web' ? [step.do] : [],
  );

test('a tree goes with its machine, a link or a mount point alone where it lies elsewhere, nothing where it is kept', () => {
  assert.deepEqual(removed('plain'), ['remove-machine-tree']);
  assert.deepEqual(removed('link'), ['remove']);
  assert.deepEqual(removed('overlay'), ['remove-directory']);
  assert.deepEqual(removed('kept'), []);
});
