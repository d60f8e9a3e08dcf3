import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodCondition, PodStatus } from '../api/kubernetes.ts';
import { container, ended, knownOf, noon, podWith, running, seconds, sidecar } from './fake-pod.ts';
import type { Observed } from './observed.ts';
import { podStatus } from './status.ts';
import { goDuration, rfc3339 } from './time.ts';

const condition = (status: PodStatus, type: string): PodCondition | undefined =>
  status.conditions?.find(each => each.type === type);

/** `True`, or `False Reason`. */
const word = (status: PodStatus, type: string) => {
  const { status: value, reason } = condition(status, type) ?? {};
  return [value, reason].filter(Boolean).join(' ');
};

const types = ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'];
const words = (pod: Pod, observed: Observed) => {
  const status = podStatus(pod, observed, noon);
  return types.map(type => word(status, type));
};

const notReady = 'False ContainersNotReady';
const setup = { initContainers: [container('setup'), sidecar('proxy')] };

test('conditions follow a pod from its beginning to its end', () => {
  const pod = podWith({ ...setup, restartPolicy: 'Never' });
  const uninitialized = 'False ContainersNotInitialized';
  const table: [Observed, string[]][] = [
    [knownOf({}, { sandbox: { kind: 'none' } }), ['False', uninitialized, notReady, notReady, 'True']],
    [knownOf({ setup: running() }), ['True', uninitialized, notReady, notReady, 'True']],
    [knownOf({ setup: ended(0) }), ['True', uninitialized, notReady, notReady, 'True']],
    [knownOf({ setup: ended(0), proxy: running() }), ['True', 'True', notReady, notReady, 'True']],
    [
      knownOf({ setup: ended(0), proxy: running(), main: running() }),
      ['True', 'True', 'True', 'True', 'True'],
    ],
    // A sidecar that is down makes a pod unready, not uninitialized.
    [
      knownOf({ setup: ended(0), proxy: ended(1), main: running() }),
      ['True', 'True', notReady, notReady, 'True'],
    ],
    [
      knownOf({ setup: ended(0), proxy: ended(0), main: ended(0) }, { sandbox: { kind: 'none' } }),
      ['False', 'True PodCompleted', 'False PodCompleted', 'False PodCompleted', 'True'],
    ],
    [
      knownOf({ setup: ended(0), proxy: ended(0), main: ended(2) }),
      ['True', 'True', 'False PodFailed', 'False PodFailed', 'True'],
    ],
  ];
  for (const [observed, expected] of table)
    assert.deepEqual(words(pod, observed), expected, JSON.stringify(observed.containers));
});

test('a condition names the containers that it speaks of', () => {
  const status = podStatus(
    podWith({ ...setup, containers: [container('a'), container('b')] }),
    knownOf(),
    noon,
  );
  assert.equal(condition(status, 'Initialized')?.message, 'containers with incomplete status: [setup proxy]');
  assert.equal(condition(status, 'Ready')?.message, 'containers with unready status: [proxy a b]');
});

test('the time of a condition is that of the last change of its status', () => {
  const observed = knownOf({ main: running() });
  const first = podStatus(podWith(), observed, noon);
  const second = podStatus(podWith({}, first), observed, noon + seconds(60));
  assert.deepEqual(second, first);
  const third = podStatus(podWith({}, second), knownOf({ main: ended(1) }), noon + seconds(90));
  assert.equal(condition(third, 'Ready')?.lastTransitionTime, rfc3339(noon + seconds(90)));
  assert.equal(condition(third, 'PodScheduled')?.lastTransitionTime, rfc3339(noon));
});

test('a pod is initialized once: a restart of its containers does not take that back', () => {
  const former = podStatus(podWith(setup), knownOf({ setup: ended(0), proxy: running() }), noon);
  const anew = knownOf({ setup: running({ attempt: 1 }) }, { attempt: 1 });
  assert.equal(word(podStatus(podWith(setup, former), anew, noon), 'Initialized'), 'True');
  assert.equal(word(podStatus(podWith(setup), anew, noon), 'Initialized'), 'False ContainersNotInitialized');
});

test('readiness gates of others count, and their conditions stay', () => {
  const gates = { readinessGates: [{ conditionType: 'example.com/a' }] };
  const observed = knownOf({ main: running() });
  const ready = (conditions: PodCondition[]) => podStatus(podWith(gates, { conditions }), observed, noon);
  const none = ready([]);
  assert.equal(word(none, 'Ready'), 'False ReadinessGatesNotReady');
  assert.equal(word(none, 'ContainersReady'), 'True');
  assert.match(condition(none, 'Ready')?.message ?? '', /"example.com\/a" does not exist/);
  const closed = ready([{ type: 'example.com/a', status: 'False' }]);
  assert.match(condition(closed, 'Ready')?.message ?? '', /"example.com\/a" is not "True", but False/);
  const open = ready([{ type: 'example.com/a', status: 'True' }]);
  assert.equal(word(open, 'Ready'), 'True');
  assert.equal(condition(open, 'example.com/a')?.status, 'True');
});

test('a disruption is told when the pod is over, a resize at once', () => {
  const conditions = [
    { type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet' },
    { type: 'PodResizePending', status: 'True', reason: 'Infeasible' },
  ] as const;
  const failure = { reason: 'Evicted', message: 'memory', at: noon };
  const before = podStatus(podWith(), knownOf({ main: running() }, { failure, conditions }), noon);
  assert.deepEqual(
    [word(before, 'DisruptionTarget'), word(before, 'PodResizePending')],
    ['', 'True Infeasible'],
  );
  const after = podStatus(podWith({}, before), knownOf({ main: ended(143) }, { failure, conditions }), noon);
  assert.equal(word(after, 'DisruptionTarget'), 'True TerminationByKubelet');
  const gone = podStatus(podWith({}, after), knownOf({ main: ended(143) }, { failure }), noon);
  assert.deepEqual(
    [word(gone, 'DisruptionTarget'), word(gone, 'PodResizePending')],
    ['True TerminationByKubelet', ''],
  );
});

test('a pod that may restart all of its containers tells of it', () => {
  const action = { action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [9] } };
  const main = container('main', { restartPolicy: 'Never', restartPolicyRules: [action] });
  const pod = podWith({ containers: [main, container('other')] });
  const type = 'AllContainersRestarting';
  const at = (observed: Observed) => word(podStatus(pod, observed, noon), type);
  assert.equal(at(knownOf({ main: running() })), 'False');
  assert.equal(at(knownOf({ main: ended(9), other: running() })), 'True RestartAllContainersStarted');
  const begun = { attempt: 1, restartedAll: 1 };
  assert.equal(at(knownOf({ main: ended(9), other: running() }, begun)), 'True RestartAllContainersStarted');
  const other = { other: running({ attempt: 1 }) };
  const after = podStatus(pod, knownOf({ main: ended(9), ...other }, begun), noon);
  assert.equal(word(after, type), 'False');
  assert.equal(after.containerStatuses?.[0]?.state?.waiting?.reason, 'RestartingAllContainers');
  assert.equal(word(podStatus(podWith(), knownOf(), noon), type), '');
});

test('the addresses of a pod are its own, the family of the host first, and stay to its end', () => {
  const dual = { sandbox: { kind: 'ready', ips: ['10.88.0.5', 'fd00::5', '10.88.0.6'] } } as const;
  const addresses = ({ podIP, podIPs, hostIP, hostIPs }: PodStatus) => [
    podIP,
    podIPs?.map(({ ip }) => ip),
    hostIP,
    hostIPs?.map(({ ip }) => ip),
  ];
  const v4 = podStatus(podWith(), knownOf({}, dual), noon);
  assert.deepEqual(addresses(v4), ['10.88.0.5', ['10.88.0.5', 'fd00::5'], '192.0.2.10', ['192.0.2.10']]);
  const hostIPs = ['2001:db8::1', '192.0.2.10'];
  const v6 = podStatus(podWith(), knownOf({}, { ...dual, hostIPs }), noon);
  assert.deepEqual(addresses(v6), ['fd00::5', ['fd00::5', '10.88.0.5'], '2001:db8::1', hostIPs]);
  const host = podStatus(podWith({ hostNetwork: true }), knownOf({}, { hostIPs }), noon);
  assert.deepEqual(addresses(host), ['2001:db8::1', hostIPs, '2001:db8::1', hostIPs]);
  const deletion = { at: noon, graceSeconds: 1 };
  const gone = podStatus(podWith({}, v4), knownOf({}, { sandbox: { kind: 'none' }, deletion }), noon);
  assert.equal(gone.podIP, '10.88.0.5');
  // Without a network and about to get one it has none.
  assert.equal(
    podStatus(podWith({}, v4), knownOf({}, { sandbox: { kind: 'making' } }), noon).podIP,
    undefined,
  );
});

test('statuses are told in the order of the spec for init containers, by name for the others', () => {
  const pod = podWith({
    initContainers: [container('z'), container('a')],
    containers: [container('web'), container('app')],
    ephemeralContainers: [container('debug')],
  });
  const status = podStatus(pod, knownOf(), noon);
  assert.deepEqual(
    [status.initContainerStatuses, status.containerStatuses, status.ephemeralContainerStatuses].map(list =>
      list?.map(({ name }) => name),
    ),
    [['z', 'a'], ['app', 'web'], ['debug']],
  );
});

test('generation, start, class of service and what others wrote are in a status', () => {
  const former: PodStatus = { startTime: '2026-01-01T00:00:00Z', nominatedNodeName: 'n1' };
  const status = podStatus(podWith({}, former), knownOf({}, { qosClass: 'Burstable' }), noon);
  assert.equal(status.observedGeneration, 3);
  assert.deepEqual(new Set(status.conditions?.map(each => each.observedGeneration)), new Set([3]));
  assert.equal(status.startTime, former.startTime);
  assert.equal(podStatus(podWith(), knownOf(), noon).startTime, rfc3339(noon));
  assert.equal(status.qosClass, 'Burstable');
  assert.equal(status.nominatedNodeName, 'n1');
  assert.equal(
    podStatus(podWith(), knownOf({ main: running({ restartCount: 4 }) }), noon).containerStatuses?.[0]
      ?.restartCount,
    4,
  );
});

test('durations are written as Go writes them', () => {
  const table: [number, string][] = [
    [0, '0s'],
    [500, '500ms'],
    [1500, '1.5s'],
    [10_000, '10s'],
    [80_000, '1m20s'],
    [300_000, '5m0s'],
    [3_605_000, '1h0m5s'],
  ];
  for (const [ms, text] of table) assert.equal(goDuration(ms), text);
});
