import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodSpec } from '../api/kubernetes.ts';
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
  starting,
} from './fake-pod.ts';
import type { ContainerObserved } from './observed.ts';
import type { Phase } from './phase.ts';
import { podStatus } from './status.ts';

type States = Readonly<Record<string, ContainerObserved | ContainerObserved['state']>>;
type Row = [spec: Partial<PodSpec>, states: States, phase: Phase];

const two = { containers: [container('a'), container('b')] };
const setup = { initContainers: [container('setup')] };
const proxy = { initContainers: [sidecar('proxy')] };
const slow = { initContainers: [sidecar('proxy', { startupProbe: { periodSeconds: 1 } })] };
const never = { restartPolicy: 'Never' };
const onFailure = { restartPolicy: 'OnFailure' };
const crashing = known(ended(1), { backOff: { key: '["a",""]', delay: seconds(80), updated: noon } });
const pulling = known(
  { kind: 'waiting', failure: { reason: 'ErrImagePull', message: '', at: noon } },
  { last: ended(1) },
);
const up = running();

const rows: Row[] = [
  // Main containers alone.
  [two, {}, 'Pending'],
  [two, { a: up }, 'Pending'],
  [two, { a: up, b: starting() }, 'Pending'],
  [two, { a: up, b: up }, 'Running'],
  [two, { a: up, b: ended(0) }, 'Running'],
  [two, { a: up, b: ended(1) }, 'Running'],
  [two, { a: ended(0), b: ended(0) }, 'Running'],
  [two, { a: crashing, b: crashing }, 'Running'],
  [two, { a: crashing, b: { kind: 'waiting' } }, 'Pending'],
  [two, { a: pulling, b: up }, 'Running'],
  [{ ...two, ...onFailure }, { a: ended(0), b: ended(0) }, 'Succeeded'],
  [{ ...two, ...onFailure }, { a: ended(0), b: ended(1) }, 'Running'],
  [{ ...two, ...never }, { a: ended(0), b: ended(0) }, 'Succeeded'],
  [{ ...two, ...never }, { a: ended(0), b: ended(1) }, 'Failed'],
  [{ ...two, ...never }, { a: ended(1), b: up }, 'Running'],
  [{ ...two, ...never }, { a: ended(0) }, 'Pending'],
  [{ ...never, containers: [container('a', { restartPolicy: 'OnFailure' })] }, { a: ended(1) }, 'Running'],
  [{ containers: [container('a', { restartPolicy: 'Never' })] }, { a: ended(1) }, 'Failed'],
  // Init containers.
  [setup, {}, 'Pending'],
  [setup, { setup: up }, 'Pending'],
  [setup, { setup: ended(0) }, 'Pending'],
  [setup, { setup: ended(1) }, 'Pending'],
  [{ ...setup, ...never }, { setup: ended(1) }, 'Failed'],
  [{ ...setup, ...onFailure }, { setup: ended(1) }, 'Pending'],
  [setup, { setup: ended(0), main: up }, 'Running'],
  [{ ...setup, ...never }, { setup: ended(0), main: ended(0) }, 'Succeeded'],
  // Sidecars.
  [proxy, { proxy: up }, 'Pending'],
  [proxy, { proxy: up, main: up }, 'Running'],
  [slow, { proxy: up }, 'Pending'],
  // Up again after the main container has begun: the pod is not pending for that.
  [slow, { proxy: up, main: up }, 'Running'],
  [proxy, { proxy: ended(1), main: up }, 'Running'],
  [{ ...proxy, ...never }, { proxy: up, main: ended(0) }, 'Running'],
  [{ ...proxy, ...never }, { proxy: ended(137), main: ended(0) }, 'Succeeded'],
  [{ ...proxy, ...never }, { proxy: ended(0), main: ended(1) }, 'Failed'],
];

for (const [spec, states, phase] of rows) {
  const kinds = Object.entries(states).map(([name, value]) => {
    const state = 'state' in value ? value.state : value;
    return `${name} ${state.kind}${state.kind === 'terminated' ? ` ${state.exitCode}` : ''}`;
  });
  const policy = spec.restartPolicy ?? 'Always';
  test(`${policy}, ${kinds.join(', ') || 'nothing begun'}: ${phase}`, () => {
    assert.equal(podStatus(podWith(spec), knownOf(states), noon + seconds(6)).phase, phase);
  });
}

test('a pod that is deleted is over when its last process is gone, and succeeded if every main container did', () => {
  const deletion = { at: noon, graceSeconds: 30 };
  const phase = (states: States) => podStatus(podWith(two), knownOf(states, { deletion }), noon).phase;
  assert.equal(phase({ a: up, b: ended(0) }), 'Running');
  assert.equal(phase({ a: ended(0), b: ended(0) }), 'Succeeded');
  assert.equal(phase({ a: ended(0), b: ended(137) }), 'Failed');
  assert.equal(phase({ a: ended(0) }), 'Failed');
  assert.equal(phase({}), 'Failed');
});

test('a decided failure is told when nothing of the pod runs any more, with its reason', () => {
  const failure = { reason: 'DeadlineExceeded', message: 'too long', at: noon };
  const former = podWith({}, { phase: 'Running', reason: 'Kept', message: 'kept' });
  const before = podStatus(former, knownOf({ main: up }, { failure }), noon);
  assert.deepEqual([before.phase, before.reason], ['Running', 'Kept']);
  const after = podStatus(former, knownOf({ main: ended(0) }, { failure }), noon);
  assert.deepEqual([after.phase, after.reason, after.message], ['Failed', 'DeadlineExceeded', 'too long']);
});

test('no pod leaves a terminal phase, and its reason stays', () => {
  const former = podWith({}, { phase: 'Failed', reason: 'Evicted', message: 'disk' });
  const status = podStatus(former, knownOf({ main: up }), noon);
  assert.deepEqual([status.phase, status.reason, status.message], ['Failed', 'Evicted', 'disk']);
});

test('after a new sandbox the pod is pending until its init containers are done again', () => {
  const again = { attempt: 1 };
  const phase = (states: States) => podStatus(podWith(setup), knownOf(states, again), noon).phase;
  const anew = running({ attempt: 1 });
  assert.equal(phase({ setup: ended(0), main: ended(137) }), 'Pending');
  assert.equal(phase({ setup: known(anew, { last: ended(0) }), main: ended(137) }), 'Pending');
  assert.equal(phase({ setup: ended(0, { attempt: 1 }), main: ended(137) }), 'Running');
});
