import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  container,
  ended,
  known,
  knownOf,
  noon,
  podWith,
  running,
  seconds,
  sidecar,
} from '../status/fake-pod.ts';
import { courseOf } from './course.ts';

const grace = seconds(30);

test('a pod goes on while a main container runs, will run again, or has never run', () => {
  const two = { containers: [container('a'), container('b')], restartPolicy: 'OnFailure' };
  for (const containers of [{}, { a: ended(0) }, { a: ended(0), b: running() }, { a: ended(0), b: ended(1) }])
    assert.equal(courseOf(podWith(two), knownOf(containers)).kind, 'on');
  assert.equal(courseOf(podWith(), knownOf({ main: ended(0) })).kind, 'on');
});

test('a pod ends with its last main container that is not run again, sidecars or not', () => {
  const pod = podWith({
    restartPolicy: 'Never',
    initContainers: [sidecar('proxy')],
    containers: [container('a'), container('b')],
  });
  const last = ended(0, { finishedAt: noon + seconds(9) });
  const observed = knownOf({ proxy: running(), a: ended(1), b: last });
  assert.deepEqual(courseOf(pod, observed), { kind: 'ending', deadline: last.finishedAt + grace });
});

test('an init container that fails for good ends the pod; one that is run again does not', () => {
  const spec = { initContainers: [container('setup')] };
  const observed = knownOf({ setup: ended(3) });
  const ending = { kind: 'ending', deadline: ended(3).finishedAt + grace };
  assert.deepEqual(courseOf(podWith({ ...spec, restartPolicy: 'Never' }), observed), ending);
  assert.equal(courseOf(podWith({ ...spec, restartPolicy: 'OnFailure' }), observed).kind, 'on');
  assert.equal(
    courseOf(podWith({ ...spec, restartPolicy: 'Never' }), knownOf({ setup: ended(0) })).kind,
    'on',
  );
});

test('a grace period only gets shorter', () => {
  const failure = { reason: 'Evicted', message: '', at: noon };
  const deadline = (rest: object) => {
    const course = courseOf(podWith(), knownOf({ main: known(running()) }, rest));
    return course.kind === 'ending' ? (course.deadline - noon) / 1000 : undefined;
  };
  assert.equal(deadline({}), undefined);
  assert.equal(deadline({ deletion: { at: noon, graceSeconds: 60 } }), 60);
  assert.equal(deadline({ failure }), 30);
  assert.equal(deadline({ failure, deletion: { at: noon, graceSeconds: 60 } }), 30);
  assert.equal(deadline({ failure: { ...failure, graceSeconds: 0 } }), 0);
});

test('a pod that was told to have ended does not begin again', () => {
  assert.equal(courseOf(podWith({}, { phase: 'Failed' }), knownOf()).kind, 'ending');
});
