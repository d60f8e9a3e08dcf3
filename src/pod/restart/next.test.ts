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
} from '../status/fake-pod.ts';
import type { ContainerObserved, Observed, Stopping } from '../status/observed.ts';
import type { Decision, Next } from './decision.ts';
import { nextContainers } from './next.ts';

/** Decisions as words, for tables. */
const word = (decision: Decision): string => {
  switch (decision.kind) {
    case 'start':
      return `start ${decision.container} ${decision.restartCount}`;
    case 'stop':
    case 'preStop':
      return `${decision.kind} ${decision.container} ${decision.cause} ${(decision.deadline - noon) / 1000}`;
    case 'createSandbox':
    case 'restartAll':
      return `${decision.kind} ${decision.attempt}`;
    case 'fail':
      return `fail ${decision.reason}`;
    case 'finish':
      return 'finish';
  }
};

const words = ({ decisions, lookAt }: Next): string => {
  const at = lookAt === undefined ? [] : [`look ${(lookAt - noon) / 1000}`];
  return [...decisions.map(word), ...at].join(', ');
};

const at = (spec: Partial<PodSpec>, observed: Observed, now = noon) =>
  words(nextContainers(podWith(spec), observed, now));

type States = Readonly<Record<string, ContainerObserved | ContainerObserved['state']>>;
type Row = [title: string, spec: Partial<PodSpec>, states: States, decisions: string];

const failedPull = (at = noon) => ({ reason: 'ErrImagePull', message: '', at }) as const;
const setup = { initContainers: [container('one'), container('two')] };
const mixed = { initContainers: [container('one'), sidecar('proxy'), container('two')] };
const slow = { initContainers: [sidecar('proxy', { startupProbe: {} }), container('two')] };
const never = { restartPolicy: 'Never' };
const onFailure = { restartPolicy: 'OnFailure' };
const probed = {
  containers: [container('main', { livenessProbe: { terminationGracePeriodSeconds: 7 }, startupProbe: {} })],
};
const up = running();

const rows: Row[] = [
  ['nothing has run: the main container starts', {}, {}, 'start main 0'],
  ['it is starting', {}, { main: starting() }, ''],
  ['it runs', {}, { main: up }, ''],
  ['it has ended: it runs again at once the first time', {}, { main: ended(1) }, 'start main 1'],
  ['it has ended well and is to run always', {}, { main: ended(0, { restartCount: 6 }) }, 'start main 7'],
  [
    'it has failed, among others that run',
    { containers: [container('main'), container('b')] },
    { main: ended(1), b: up },
    'start main 1',
  ],
  [
    'it has ended well and need not run again',
    { ...onFailure, containers: [container('main'), container('b')] },
    { main: ended(0), b: up },
    '',
  ],
  ['all have ended for good', onFailure, { main: ended(0) }, 'finish'],
  ['it ran once and failed', never, { main: ended(1) }, 'finish'],
  ['it could not be pulled', {}, { main: { kind: 'waiting', failure: failedPull(noon - 1) } }, 'look 0.999'],
  ['a while ago', {}, { main: { kind: 'waiting', failure: failedPull(noon - seconds(1)) } }, 'look 9'],
  ['long ago', {}, { main: { kind: 'waiting', failure: failedPull(noon - seconds(10)) } }, 'start main 0'],
  [
    'a Secret is missing',
    {},
    { main: { kind: 'waiting', failure: { reason: 'CreateContainerConfigError', message: '', at: noon } } },
    'look 10',
  ],

  ['init containers: the first starts', setup, {}, 'start one 0'],
  ['the first runs: everybody waits', setup, { one: up }, ''],
  ['the first is done', setup, { one: ended(0) }, 'start two 0'],
  ['the first has failed: it runs again', setup, { one: ended(1) }, 'start one 1'],
  [
    'the first has failed for good: nothing else is ever started',
    { ...setup, ...never },
    { one: ended(1) },
    'finish',
  ],
  ['both are done', setup, { one: ended(0), two: ended(0) }, 'start main 0'],
  [
    'both are done, and main runs again',
    setup,
    { one: ended(0), two: ended(0), main: ended(1) },
    'start main 1',
  ],
  // Records of the first ones may be gone.
  ['only the last is known', setup, { two: ended(0) }, 'start main 0'],
  ['main runs: init containers are history', setup, { main: up }, ''],

  ['a sidecar comes after the init container before it', mixed, { one: ended(0) }, 'start proxy 0'],
  ['it is up: the next one starts', mixed, { one: ended(0), proxy: up }, 'start two 0'],
  ['one without a startup probe is up when it runs', mixed, { one: ended(0), proxy: starting() }, ''],
  ['its startup probe has yet to succeed', slow, { proxy: up }, ''],
  [
    'its startup probe has succeeded',
    slow,
    { proxy: running({ probes: { startup: 'success' } }) },
    'start two 0',
  ],
  [
    'its startup probe has failed',
    slow,
    { proxy: running({ probes: { startup: 'failure' } }) },
    'stop proxy startup 30',
  ],
  [
    'it ends while the next one runs: it runs again beside it',
    mixed,
    { one: ended(0), proxy: ended(1), two: up },
    'start proxy 1',
  ],
  // Once it has been up it holds nobody back.
  [
    'it is down when the next one is done',
    mixed,
    { one: ended(0), proxy: ended(1), two: ended(0) },
    'start proxy 1, start main 0',
  ],
  [
    'it ends well beside main: it runs again',
    mixed,
    { one: ended(0), proxy: ended(0), two: ended(0), main: up },
    'start proxy 1',
  ],
  [
    'it ends beside a main that runs once',
    { ...mixed, ...never },
    { one: ended(0), proxy: ended(1), two: ended(0), main: up },
    'start proxy 1',
  ],
  [
    'main is done: the sidecar stops',
    { ...mixed, ...never },
    { one: ended(0), proxy: up, two: ended(0), main: ended(0) },
    'stop proxy podEnd 35',
  ],
  [
    'an init container has failed for good: the sidecar stops',
    { ...mixed, ...never },
    { one: ended(0), proxy: up, two: ended(1) },
    'stop proxy podEnd 35',
  ],

  [
    'an ephemeral container starts beside init containers',
    { ...setup, ephemeralContainers: [container('debug')] },
    { one: up },
    'start debug 0',
  ],
  ['it runs once', { ephemeralContainers: [container('debug')] }, { debug: ended(1), main: up }, ''],

  [
    'a liveness probe has failed',
    probed,
    { main: running({ probes: { liveness: 'failure' } }) },
    'stop main liveness 7',
  ],
  [
    'a startup probe has failed',
    probed,
    { main: running({ probes: { startup: 'failure' } }) },
    'stop main startup 30',
  ],
  ['a readiness probe has failed', probed, { main: running({ probes: { readiness: 'failure' } }) }, ''],
  ['its image is another', never, { main: running({ outdated: 'image' }) }, 'stop main image 30'],
  [
    'its resources need a new run',
    {},
    { main: running({ outdated: 'resources' }) },
    'stop main resources 30',
  ],
  ['its postStart hook has failed', {}, { main: running({ hookFailed: 'no' }) }, 'stop main postStart 30'],
  [
    'a probe ended it: it runs again though it ended well',
    onFailure,
    { main: ended(0, { stopped: { cause: 'liveness', message: '' } }) },
    'start main 1',
  ],
  [
    'a probe ended it, and it runs once',
    never,
    { main: ended(137, { stopped: { cause: 'liveness', message: '' } }) },
    'finish',
  ],
];

for (const [title, spec, states, decisions] of rows)
  test(`${title}: ${decisions || 'nothing to do'}`, () => {
    assert.equal(at(spec, knownOf(states)), decisions);
  });

test('a crash loop waits for its back-off, and the start records the next', () => {
  const end = ended(1, { restartCount: 2 });
  const backOff = { key: '["main","registry.test/main:1",{}]', delay: seconds(20), updated: noon };
  const observed = knownOf({ main: known(end, { backOff }) });
  assert.equal(at({}, observed, noon + seconds(6)), 'look 25');
  const { decisions } = nextContainers(podWith(), observed, noon + seconds(25));
  assert.deepEqual(decisions, [
    {
      kind: 'start',
      container: 'main',
      role: 'main',
      attempt: 0,
      restartCount: 3,
      backOff: { ...backOff, delay: seconds(40), updated: noon + seconds(25) },
    },
  ]);
});

test('a clock that is put back makes nobody wait for longer', () => {
  const backOff = { key: '["main","registry.test/main:1",{}]', delay: seconds(20), updated: noon };
  const observed = knownOf({ main: known(ended(1), { backOff }) });
  assert.equal(at({}, observed, noon - seconds(3600)), 'start main 1');
  const unpulled = knownOf({ main: { kind: 'waiting', failure: failedPull() } });
  assert.equal(at({}, unpulled, noon - seconds(3600)), 'start main 0');
});

test('a pod gets a network first, once, and is tried again after a while if it cannot', () => {
  const sandbox = (kind: Observed['sandbox'], now = noon) => at({}, knownOf({}, { sandbox: kind }), now);
  const failed = { kind: 'failed', what: 'network', message: 'no address', at: noon } as const;
  assert.equal(sandbox({ kind: 'none' }), 'createSandbox 0');
  assert.equal(sandbox({ kind: 'making' }), '');
  assert.equal(sandbox(failed), 'look 10');
  assert.equal(sandbox(failed, noon + seconds(10)), 'createSandbox 0');
});

test('a pod whose network is gone begins anew: what runs is stopped, then init containers run again', () => {
  const gone = { sandbox: { kind: 'none' } } as const;
  const pod = { ...mixed, ...onFailure, containers: [container('main'), container('b')] };
  const done = { one: ended(0), two: ended(0) };
  const alive = knownOf({ ...done, proxy: up, main: up, b: ended(0) }, gone);
  assert.equal(at(pod, alive), 'stop main sandbox 30, look 30');
  assert.equal(
    at(pod, knownOf({ ...done, proxy: up, main: ended(143), b: ended(0) }, gone)),
    'stop proxy sandbox 30',
  );
  const stopped = {
    ...done,
    proxy: ended(143),
    main: ended(0, { stopped: { cause: 'sandbox', message: '' } }),
    b: ended(0),
  };
  assert.equal(at(pod, knownOf(stopped, gone)), 'createSandbox 1');
  const anew = { attempt: 1 };
  assert.equal(at(pod, knownOf(stopped, anew)), 'start one 1');
  const initialised = {
    one: ended(0, anew),
    proxy: running(anew),
    two: ended(0, anew),
  };
  // b has succeeded before and is not run a second time.
  assert.equal(at(pod, knownOf({ ...stopped, ...initialised }, anew)), 'start main 1');
});

test('a pod that runs once is not run again after a reboot', () => {
  const gone = { sandbox: { kind: 'none' } } as const;
  assert.equal(at(never, knownOf({ main: ended(137) }, gone)), 'finish');
  assert.equal(at({ ...setup, ...never }, knownOf({ one: ended(0) }, gone)), 'fail SandboxChanged');
  assert.equal(
    at({ ...mixed, ...never }, knownOf({ one: ended(0), proxy: ended(137) }, gone)),
    'fail SandboxChanged',
  );
  assert.equal(at(never, knownOf({}, gone)), 'createSandbox 0');
  assert.equal(at(onFailure, knownOf({ main: ended(0) }, gone)), 'finish');
  assert.equal(at(onFailure, knownOf({ main: ended(137) }, gone)), 'createSandbox 1');
});

test('a restart rule that is about all containers begins them anew, in the order of a start', () => {
  const rule = { action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [9] } };
  const main = container('main', { restartPolicy: 'Never', restartPolicyRules: [rule] });
  const pod = {
    ...setup,
    ...never,
    containers: [main, container('b')],
    ephemeralContainers: [container('debug')],
  };
  const before = { one: ended(0), two: ended(0), main: ended(9), b: up, debug: up };
  assert.equal(at(pod, knownOf(before)), 'restartAll 1');
  const anew = { attempt: 1, restartedAll: 1 };
  assert.equal(at(pod, knownOf(before, anew)), 'stop b restartAll 30');
  const stopped = { ...before, b: ended(0) };
  assert.equal(at(pod, knownOf(stopped, anew)), 'start one 1');
  const done = { one: ended(0, { attempt: 1 }), two: ended(0, { attempt: 1 }) };
  assert.equal(at(pod, knownOf({ ...stopped, ...done }, anew)), 'start main 1, start b 1');
});

test('a pod that has been active for too long fails', () => {
  const spec = { activeDeadlineSeconds: 60 };
  assert.equal(at(spec, knownOf({ main: up })), 'look 60');
  assert.equal(at(spec, knownOf({ main: up }), noon + seconds(60)), 'fail DeadlineExceeded');
  const failure = { reason: 'DeadlineExceeded', message: '', at: noon + seconds(60) };
  assert.equal(at(spec, knownOf({ main: up }, { failure }), noon + seconds(60)), 'stop main podEnd 90');
  // One that is done is not called late.
  assert.equal(at({ ...spec, ...never }, knownOf({ main: ended(0) }), noon + seconds(90)), 'finish');
});

const stage = (stage: Stopping['stage'], deadline: number): { stopping: Stopping } => ({
  stopping: { cause: 'podEnd', message: '', deadline: noon + seconds(deadline), stage },
});

test('a pod that is deleted stops main containers together, then sidecars in reverse order, and is gone last', () => {
  const deletion = { at: noon, graceSeconds: 20 };
  const spec = {
    initContainers: [sidecar('a'), sidecar('b')],
    containers: [container('main'), container('other')],
    ephemeralContainers: [container('debug')],
  };
  const next = (states: States, now = 0) => at(spec, knownOf(states, { deletion }), noon + seconds(now));
  const sidecars = { a: up, b: up };
  assert.equal(
    next({ ...sidecars, main: up, other: starting(), debug: up }),
    'stop main podEnd 20, stop other podEnd 20, stop debug podEnd 20, look 20',
  );
  const told = running(stage('term', 20));
  assert.equal(next({ ...sidecars, main: told, other: ended(0) }), 'look 20');
  // What is left of the grace period is the sidecars'.
  assert.equal(next({ ...sidecars, main: ended(143), other: ended(0) }, 5), 'stop b podEnd 20, look 20');
  assert.equal(next({ a: up, b: told, main: ended(143), other: ended(0) }, 5), 'look 20');
  assert.equal(next({ a: up, b: ended(0), main: ended(143), other: ended(0) }, 6), 'stop a podEnd 20');
  // At its end nobody waits for a turn any more; TERM comes 2 s before KILL at least.
  assert.equal(next({ ...sidecars, main: told, other: ended(0) }, 20), 'stop a podEnd 22, stop b podEnd 22');
  assert.equal(next({ a: ended(0), b: ended(0), main: ended(143), other: ended(0) }, 6), 'finish');
  assert.equal(at(spec, knownOf({}, { deletion, sandbox: { kind: 'making' } })), '');
});

test('preStop hooks run at once, within the grace period, and TERM comes after them', () => {
  const hook = { lifecycle: { preStop: { exec: { command: ['drain'] } } } };
  const spec = { initContainers: [sidecar('proxy', hook)], containers: [container('main', hook)] };
  const deletion = { at: noon, graceSeconds: 20 };
  const next = (states: States, now = 0) => at(spec, knownOf(states, { deletion }), noon + seconds(now));
  assert.equal(next({ proxy: up, main: up }), 'preStop proxy podEnd 20, preStop main podEnd 20');
  const hooked = running(stage('hook', 20));
  assert.equal(next({ proxy: hooked, main: hooked }, 5), 'look 20');
  const waiting = running(stage('turn', 20));
  assert.equal(next({ proxy: waiting, main: waiting }, 5), 'stop main podEnd 20, look 20');
  assert.equal(next({ proxy: waiting, main: ended(0) }, 5), 'stop proxy podEnd 20');
  assert.equal(next({ proxy: hooked, main: ended(0) }, 5), 'look 20');
  assert.equal(next({ proxy: hooked, main: hooked }, 20), 'stop proxy podEnd 22, stop main podEnd 22');
  // A probe's restart runs the hook as well.
  const failing = running({ probes: { liveness: 'failure' } });
  assert.equal(at(spec, knownOf({ proxy: up, main: failing })), 'preStop main liveness 30');
  const after = running({ ...stage('turn', 30), probes: { liveness: 'failure' } });
  assert.equal(at(spec, knownOf({ proxy: up, main: after })), 'stop main podEnd 30');
});

test('a stop is decided again only to be over earlier', () => {
  const told = knownOf({ main: running(stage('term', 60)) }, { deletion: { at: noon, graceSeconds: 5 } });
  assert.equal(at({}, told), 'stop main podEnd 5');
  assert.equal(at({}, told, noon + seconds(4)), 'stop main podEnd 6');
  const same = knownOf({ main: running(stage('term', 5)) }, { deletion: { at: noon, graceSeconds: 60 } });
  assert.equal(at({}, same), '');
});
