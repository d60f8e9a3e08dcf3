import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crashKey } from '../restart/backoff.ts';
import { nextContainers } from '../restart/next.ts';
import { container, ended, known, knownOf, noon, podWith, running, seconds } from './fake-pod.ts';
import { podStatus } from './status.ts';

/** systemk, which this engine of pods replaces, has each of these wrong. */

const kinds = (
  pod: Parameters<typeof nextContainers>[0],
  observed: Parameters<typeof nextContainers>[1],
  now = noon,
) =>
  nextContainers(pod, observed, now).decisions.map(decision =>
    decision.kind === 'start' ? `start ${decision.container}` : decision.kind,
  );

const later = noon + seconds(6);
const statusOf = (name: string, status: ReturnType<typeof podStatus>) =>
  [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])].find(
    each => each.name === name,
  );

test('an init container that fails keeps the main container from starting, is tried again, and shows in the phase', () => {
  const pod = podWith({ initContainers: [container('setup')] });
  const failed = knownOf({ setup: ended(1) });
  assert.deepEqual(kinds(pod, failed, later), ['start setup']);
  assert.equal(podStatus(pod, failed, later).phase, 'Pending');
  const never = podWith({ initContainers: [container('setup')], restartPolicy: 'Never' });
  assert.deepEqual(kinds(never, failed, later), ['finish']);
  assert.equal(podStatus(never, failed, later).phase, 'Failed');
});

test('a container that is to run always runs again after it has ended well', () => {
  assert.deepEqual(kinds(podWith(), knownOf({ main: ended(0) }), later), ['start main']);
});

test('a crash loop is shown as one, not as running, and is never given up', () => {
  const backOff = { key: crashKey(container('main')), delay: seconds(300), updated: noon };
  const observed = knownOf({ main: known(ended(1, { restartCount: 50 }), { backOff }) });
  const main = statusOf('main', podStatus(podWith(), observed, later));
  assert.deepEqual(
    [main?.state?.waiting?.reason, main?.ready, main?.started],
    ['CrashLoopBackOff', false, false],
  );
  assert.deepEqual(kinds(podWith(), observed, noon + seconds(305)), ['start main']);
});

test('a deleted pod has not succeeded as long as its process runs, and its real exit code is told then', () => {
  const deletion = { at: noon, graceSeconds: 45 };
  const alive = knownOf({ main: running() }, { deletion });
  const before = podStatus(podWith(), alive, noon);
  assert.equal(before.phase, 'Running');
  assert.ok(statusOf('main', before)?.state?.running);
  const { decisions } = nextContainers(podWith(), alive, noon);
  assert.deepEqual(
    decisions.map(decision => decision.kind === 'stop' && decision.deadline),
    [noon + seconds(45)],
  );
  const after = podStatus(podWith(), knownOf({ main: ended(143) }, { deletion }), later);
  assert.equal(after.phase, 'Failed');
  assert.equal(statusOf('main', after)?.state?.terminated?.exitCode, 143);
});

test('a pod of which some containers run and some have ended is running', () => {
  const pod = podWith({ containers: [container('a'), container('b')], restartPolicy: 'Never' });
  assert.equal(podStatus(pod, knownOf({ a: running(), b: ended(0) }), noon).phase, 'Running');
});

test('conditions are findings: a pod that is pending or has failed is not ready', () => {
  const ready = (observed: Parameters<typeof podStatus>[1], restartPolicy = 'Always') =>
    podStatus(podWith({ restartPolicy }), observed, later)
      .conditions?.filter(({ type }) => type === 'Ready' || type === 'ContainersReady')
      .map(({ status }) => status);
  assert.deepEqual(ready(knownOf()), ['False', 'False']);
  assert.deepEqual(ready(knownOf({ main: ended(1) }, {}), 'Never'), ['False', 'False']);
  assert.deepEqual(ready(knownOf({ main: running() })), ['True', 'True']);
});

test('the last state is the run before, not a copy of the present one', () => {
  const first = statusOf('main', podStatus(podWith(), knownOf({ main: running() }), noon));
  assert.deepEqual(first?.lastState, {});
  const again = knownOf({ main: known(running({ restartCount: 1 }), { last: ended(3) }) });
  assert.equal(statusOf('main', podStatus(podWith(), again, noon))?.lastState?.terminated?.exitCode, 3);
});

test('ends have Kubernetes’ reasons, a pod its own addresses and its class of service', () => {
  const pod = podWith({ containers: [container('a'), container('b')], restartPolicy: 'Never' });
  const status = podStatus(pod, knownOf({ a: ended(0), b: ended(1) }), later);
  assert.deepEqual(
    ['a', 'b'].map(name => statusOf(name, status)?.state?.terminated?.reason),
    ['Completed', 'Error'],
  );
  assert.deepEqual(
    [status.podIP, status.podIPs, status.hostIP],
    ['10.88.0.5', [{ ip: '10.88.0.5' }], '192.0.2.10'],
  );
  assert.equal(status.qosClass, 'BestEffort');
});
