import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lowerBases } from '../image/tree/bases.ts';
import { placesOf } from './places.ts';
import { mountSteps } from './plan.ts';
import { unmountSteps } from './rename.ts';

test('a base is in use at every moment of a rename', () => {
  const [old, next] = [placesOf('old'), placesOf('new')];
  const lower = ['/var/lib/spawnlet/base/deb/tree'];
  const before = mountSteps(old, lower, false).flatMap(step => (step.do === 'write-file' ? [step] : []));
  const files = new Map(before.map(({ path, content }) => [path, content]));
  for (const step of unmountSteps(old, next, { lower })) {
    if (step.do === 'write-file') files.set(step.path, step.content);
    if (step.do === 'remove') files.delete(step.path);
    assert.ok([...files.values()].flatMap(lowerBases).includes('deb'), `after ${step.do}`);
  }
  assert.deepEqual([...files.keys()], [next.mountFile]);
  const [wanted] = mountSteps(next, lower, false).flatMap(step => (step.do === 'write-file' ? [step] : []));
  assert.equal(files.get(next.mountFile), wanted?.content, 'and is not written again');
});
