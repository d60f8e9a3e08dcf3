import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerState as ApiState, Pod, PodSpec } from '../api/kubernetes.ts';
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
import type { ContainerObserved, Observed } from './observed.ts';
import { podStatus } from './status.ts';
import { lost, reasonOf } from './termination.ts';

const statusOf = (pod: Pod, observed: Observed, now: number, name = 'main') => {
  const { initContainerStatuses = [], containerStatuses = [], ...rest } = podStatus(pod, observed, now);
  const all = [...initContainerStatuses, ...containerStatuses, ...(rest.ephemeralContainerStatuses ?? [])];
  const found = all.find(status => status.name === name);
  assert.ok(found);
  return found;
};

/** The kind of a state and its reason, for tables. */
const word = (state: ApiState | undefined): string => {
  if (state?.running) return 'running';
  if (state?.waiting) return `waiting ${state.waiting.reason}`;
  return state?.terminated ? `terminated ${state.terminated.exitCode} ${state.terminated.reason}` : '';
};

const failing = { key: '["main","registry.test/main:1",{}]', delay: seconds(20), updated: noon };
const later = noon + seconds(5);
const pullFailure = { reason: 'ErrImagePull', message: 'no such host', at: noon } as const;

type Row = [
  title: string,
  spec: Partial<PodSpec>,
  main: ContainerObserved,
  now: number,
  state: string,
  last: string,
];

const rows: Row[] = [
  ['never tried', {}, known({ kind: 'waiting' }), noon, 'waiting ContainerCreating', ''],
  [
    'never tried, with init containers',
    { initContainers: [container('setup')] },
    known({ kind: 'waiting' }),
    noon,
    'waiting PodInitializing',
    '',
  ],
  ['starting', {}, known(starting()), noon, 'waiting ContainerCreating', ''],
  ['running', {}, known(running()), noon, 'running', ''],
  ['running again', {}, known(running(), { last: ended(1) }), noon, 'running', 'terminated 1 Error'],
  ['a hook failed', {}, known(running({ hookFailed: 'no' })), noon, 'waiting PostStartHookError', ''],
  [
    'ended, about to run again',
    {},
    known(ended(1), { last: ended(2) }),
    later,
    'terminated 1 Error',
    'terminated 2 Error',
  ],
  [
    'backing off',
    {},
    known(ended(1), { backOff: failing }),
    later,
    'waiting CrashLoopBackOff',
    'terminated 1 Error',
  ],
  [
    'backing off after success',
    {},
    known(ended(0), { backOff: failing }),
    later,
    'waiting CrashLoopBackOff',
    'terminated 0 Completed',
  ],
  ['back-off over', {}, known(ended(1), { backOff: failing }), later + seconds(20), 'terminated 1 Error', ''],
  [
    'not run again',
    { restartPolicy: 'Never' },
    known(ended(1), { backOff: failing }),
    later,
    'terminated 1 Error',
    '',
  ],
  ['succeeded', { restartPolicy: 'OnFailure' }, known(ended(0)), later, 'terminated 0 Completed', ''],
  [
    'the engine could not make it',
    {},
    known(ended(128, { reason: 'StartError', message: 'no such file' })),
    later,
    'waiting RunContainerError',
    'terminated 128 StartError',
  ],
  [
    'the engine could not make it, and it is not tried again',
    { restartPolicy: 'Never' },
    known(ended(128, { reason: 'StartError' })),
    later,
    'terminated 128 StartError',
    '',
  ],
  [
    'ended since its hook failed',
    {},
    known(ended(143, { stopped: { cause: 'postStart', message: 'no' } })),
    later,
    'waiting PostStartHookError',
    'terminated 143 Error',
  ],
  [
    'ended well, by a probe that wants it anew',
    { restartPolicy: 'OnFailure' },
    known(ended(0, { stopped: { cause: 'liveness', message: '' } })),
    later,
    'waiting ContainerCreating',
    'terminated 0 Completed',
  ],
  ['the pull failed', {}, known({ kind: 'waiting', failure: pullFailure }), noon, 'waiting ErrImagePull', ''],
  [
    'the next pull is a while away',
    {},
    known({ kind: 'waiting', failure: pullFailure }),
    noon + seconds(1),
    'waiting ImagePullBackOff',
    '',
  ],
  [
    'pulling again',
    {},
    known(starting({ failure: pullFailure })),
    noon + seconds(10),
    'waiting ImagePullBackOff',
    '',
  ],
  [
    'a Secret is missing',
    {},
    known({
      kind: 'waiting',
      failure: { reason: 'CreateContainerConfigError', message: 'secret "x" not found', at: noon },
    }),
    noon + seconds(60),
    'waiting CreateContainerConfigError',
    '',
  ],
];

for (const [title, spec, main, now, state, last] of rows)
  test(`a container, ${title}: ${state}`, () => {
    const status = statusOf(podWith(spec), knownOf({ main }), now);
    assert.deepEqual([word(status.state), word(status.lastState)], [state, last]);
  });

test('messages of waiting containers are the kubelet’s', () => {
  const crash = statusOf(
    podWith(),
    knownOf({ main: known(ended(1), { backOff: { ...failing, delay: seconds(80) } }) }),
    later,
  );
  assert.equal(
    crash.state?.waiting?.message,
    'back-off 1m20s restarting failed container=main pod=web_shop(u-1)',
  );
  const pull = knownOf({ main: { kind: 'waiting', failure: pullFailure } });
  assert.equal(
    statusOf(podWith(), pull, noon + seconds(2)).state?.waiting?.message,
    'Back-off pulling image "registry.test/main:1": ErrImagePull: no such host',
  );
});

test('an end is told with its code, its reason and its times, and a signal only if it is known', () => {
  const end = ended(137, { reason: 'OOMKilled', signal: 9, message: 'last words' });
  const { state, containerID } = statusOf(podWith({ restartPolicy: 'Never' }), knownOf({ main: end }), later);
  assert.deepEqual(state?.terminated, {
    exitCode: 137,
    signal: 9,
    reason: 'OOMKilled',
    message: 'last words',
    startedAt: '2026-11-05T12:00:00Z',
    finishedAt: '2026-11-05T12:00:05Z',
    containerID: 'spawnlet://run',
  });
  assert.equal(containerID, 'spawnlet://run');
});

test('an exit code of 137 is no proof of lack of memory', () => {
  assert.equal(reasonOf({ exitCode: 137, oomKilled: false }), 'Error');
  assert.equal(reasonOf({ exitCode: 137, oomKilled: true }), 'OOMKilled');
  assert.equal(reasonOf({ exitCode: 0, oomKilled: true }), 'OOMKilled');
  assert.equal(reasonOf({ exitCode: 143, oomKilled: false }), 'Error');
  assert.equal(reasonOf({ exitCode: 0, oomKilled: false }), 'Completed');
});

test('a run whose end nobody saw has failed', () => {
  const end = lost(running(), later);
  const status = statusOf(podWith({ restartPolicy: 'Never' }), knownOf({ main: end }), later);
  assert.equal(word(status.state), 'terminated 137 ContainerStatusUnknown');
});

test('termination messages share 12 KiB, and no character is cut in two', () => {
  const pod = podWith({ containers: [container('a'), container('main')], restartPolicy: 'Never' });
  const observed = knownOf({ main: ended(1, { message: `${'x'.repeat(6143)}é and more` }) });
  assert.equal(statusOf(pod, observed, later).state?.terminated?.message, 'x'.repeat(6143));
});

test('ready and started follow from the probes that a container has', () => {
  const probe = { periodSeconds: 1 };
  const both = { startupProbe: probe, readinessProbe: probe };
  const table: [spec: object, state: ContainerObserved['state'], started: boolean, ready: boolean][] = [
    [{}, running(), true, true],
    [{}, ended(1), false, false],
    [{}, starting(), false, false],
    [{ readinessProbe: probe }, running(), true, false],
    [{ readinessProbe: probe }, running({ probes: { readiness: 'failure' } }), true, false],
    [{ readinessProbe: probe }, running({ probes: { readiness: 'success' } }), true, true],
    [{ livenessProbe: probe }, running({ probes: { liveness: 'failure' } }), true, true],
    [both, running(), false, false],
    [both, running({ probes: { startup: 'success' } }), true, false],
    [both, running({ probes: { startup: 'success', readiness: 'success' } }), true, true],
    // A verdict of readiness from before the container has started says nothing.
    [both, running({ probes: { startup: 'failure', readiness: 'success' } }), false, false],
  ];
  for (const [spec, state, started, ready] of table) {
    const status = statusOf(
      podWith({ containers: [container('main', spec)] }),
      knownOf({ main: state }),
      noon,
    );
    assert.deepEqual([status.started, status.ready], [started, ready], JSON.stringify([spec, state]));
  }
});

test('an init container is ready when it is done, an ephemeral one never', () => {
  const pod = podWith({ initContainers: [container('setup')], ephemeralContainers: [container('debug')] });
  const observed = knownOf({ setup: ended(0), debug: running() });
  assert.equal(statusOf(pod, observed, noon, 'setup').ready, true);
  assert.equal(statusOf(pod, knownOf({ setup: ended(1) }), noon, 'setup').ready, false);
  assert.equal(statusOf(pod, observed, noon, 'debug').ready, false);
});

test('containers of an earlier attempt wait for their turn, with what they were as last state', () => {
  const pod = podWith({ initContainers: [container('setup'), sidecar('proxy')] });
  const before = { attempt: 1, sandbox: { kind: 'making' } } as const;
  const observed = knownOf({ setup: ended(0), proxy: ended(137), main: ended(137) }, before);
  for (const name of ['setup', 'proxy', 'main']) {
    const status = statusOf(pod, observed, noon, name);
    assert.equal(word(status.state), 'waiting PodInitializing', name);
    assert.match(word(status.lastState), /^terminated/, name);
  }
});

test('an init container of a pod that restarts on failure keeps its end while it runs again: the API wants it so', () => {
  const spec = { initContainers: [container('setup')], restartPolicy: 'OnFailure' };
  const told = podWith(spec, podStatus(podWith(spec), knownOf({ setup: ended(0) }), noon));
  const of = (setup: ContainerObserved) =>
    word(statusOf(told, knownOf({ setup }, { attempt: 1 }), noon, 'setup').state);
  const anew = { attempt: 1 };
  assert.equal(of(known(ended(0))), 'terminated 0 Completed');
  assert.equal(of(known(starting(anew), { last: ended(0) })), 'terminated 0 Completed');
  assert.equal(of(known(running(anew), { last: ended(0) })), 'terminated 0 Completed');
  assert.equal(of(known(starting(anew), { last: ended(1, anew) })), 'terminated 1 Error');
  const failed = podStatus(
    told,
    knownOf({ setup: known(starting(anew), { last: ended(1, anew) }) }, anew),
    noon,
  );
  const next = knownOf({ setup: known(running(anew), { last: ended(1, anew) }) }, anew);
  assert.equal(word(statusOf(podWith(spec, failed), next, noon, 'setup').state), 'running');
});

test('in a pod that is over, what could have run and was never seen to has failed', () => {
  const pod = podWith({
    initContainers: [container('setup'), container('more')],
    containers: [container('main')],
  });
  const gone = { deletion: { at: noon, graceSeconds: 0 } };
  const words = (observed: Observed) =>
    ['setup', 'more', 'main'].map(name => word(statusOf(pod, observed, noon, name).state));
  const unknown = 'terminated 137 ContainerStatusUnknown';
  const wait = 'waiting PodInitializing';
  assert.deepEqual(words(knownOf({}, gone)), [unknown, wait, wait]);
  assert.deepEqual(words(knownOf({ setup: ended(0) }, gone)), ['terminated 0 Completed', wait, wait]);
  const done = { setup: ended(0), more: ended(0) };
  assert.deepEqual(words(knownOf(done, gone)), ['terminated 0 Completed', 'terminated 0 Completed', unknown]);
});

test('resources are those that are set aside, and, while it runs, those that it has', () => {
  const pod = podWith();
  const allocated = { requests: { cpu: '1' }, limits: { cpu: '2' } };
  const actual = { requests: { cpu: '1' }, limits: { cpu: '1500m' } };
  const up = statusOf(pod, knownOf({ main: known(running(), { allocated, resources: actual }) }), noon);
  assert.deepEqual([up.allocatedResources, up.resources], [{ cpu: '1' }, actual]);
  const down = statusOf(pod, knownOf({ main: known(ended(1), { allocated, resources: actual }) }), noon);
  assert.deepEqual(down.resources, allocated);
});
