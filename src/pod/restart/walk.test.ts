import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Container, ContainerStatus, Pod, PodStatus } from '../api/kubernetes.ts';
import { container, knownOf, noon, podWith, seconds, sidecar } from '../status/fake-pod.ts';
import type { Observed } from '../status/observed.ts';
import { initMembers, type Member, mainMembers, members } from '../status/roles.ts';
import { anyAlive, isAlive, isInitialized, latestEnd, observedOf, ranNow } from '../status/runs.ts';
import { podStatus } from '../status/status.ts';
import { courseOf } from './course.ts';
import type { Decision, Start, Stop } from './decision.ts';
import { cannotStart, carryOut, comesUp, ends, hookEnds, isProbed, namesWith } from './fake-agent.ts';
import { nextContainers } from './next.ts';
import { mayRestartAll, shouldRestart } from './policy.ts';

/** What happens in the world; a container is picked by a number, whatever can happen to it. */
type Happening =
  | { readonly kind: 'time'; readonly seconds: number }
  | { readonly kind: 'up' | 'unpulled' | 'hook' | 'started' | 'unhealthy'; readonly pick: number }
  | { readonly kind: 'end'; readonly pick: number; readonly exitCode: number }
  | { readonly kind: 'network'; readonly state: 'ready' | 'failed' | 'none' };

const pick = fc.nat(7);
const happening: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({ kind: fc.constant('time'), seconds: fc.constantFrom(1, 11, 40, 700) }),
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('up'), pick }) },
  fc.record({ kind: fc.constantFrom('unpulled', 'hook', 'started', 'unhealthy'), pick }),
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('end'), pick, exitCode: fc.constantFrom(0, 0, 1, 9) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('network'), state: fc.constant('ready') }) },
  fc.record({ kind: fc.constant('network'), state: fc.constantFrom('failed', 'none') }),
);

const extras: fc.Arbitrary<Partial<Container>> = fc.record(
  {
    startupProbe: fc.constant({ periodSeconds: 1 }),
    livenessProbe: fc.constant({ terminationGracePeriodSeconds: 3 }),
    lifecycle: fc.constant({ preStop: { sleep: { seconds: 1 } } }),
  },
  { requiredKeys: [] },
);
const rules: fc.Arbitrary<Partial<Container>> = fc.constantFrom(
  {},
  {},
  { restartPolicy: 'Never' },
  { restartPolicy: 'OnFailure' },
  {
    restartPolicy: 'Never',
    restartPolicyRules: [{ action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [9] } }],
  },
);
const pods: fc.Arbitrary<Pod> = fc
  .record({
    restartPolicy: fc.constantFrom('Always', 'OnFailure', 'Never'),
    inits: fc.array(fc.tuple(fc.boolean(), extras), { maxLength: 3 }),
    mains: fc.array(fc.tuple(rules, extras), { minLength: 1, maxLength: 2 }),
    deadline: fc.constantFrom(undefined, undefined, 600),
  })
  .map(({ restartPolicy, inits, mains, deadline }) =>
    podWith({
      restartPolicy,
      initContainers: inits.map(([stays, rest], index) => (stays ? sidecar : container)(`i${index}`, rest)),
      containers: mains.map(([own, rest], index) => container(`m${index}`, { ...rest, ...own })),
      ...(deadline !== undefined && { activeDeadlineSeconds: deadline }),
    }),
  );

const memberOf = (pod: Pod, name: string): Member => {
  const found = members(pod).find(member => member.spec.name === name);
  assert.ok(found);
  return found;
};

/** What has to be true of a start, whatever came before. */
function checkStart(pod: Pod, observed: Observed, start: Start): void {
  const member = memberOf(pod, start.container);
  const known = observedOf(observed, member);
  assert.ok(!isAlive(known), 'what is alive is not started');
  assert.equal(courseOf(pod, observed).kind, 'on', 'a pod that ends starts nothing');
  assert.equal(observed.sandbox.kind, 'ready', 'containers start in a network');
  for (const { state } of Object.values(observed.containers))
    if (state.kind === 'running' || state.kind === 'starting')
      assert.equal(state.attempt, start.attempt, 'attempts do not overlap');
  assert.equal(start.restartCount, (latestEnd(known)?.restartCount ?? -1) + 1, 'runs are counted');
  const inits = initMembers(pod);
  const before =
    member.role === 'main'
      ? inits
      : inits.slice(
          0,
          inits.findIndex(({ spec }) => spec === member.spec),
        );
  for (const each of before) {
    if (each.role === 'init') assert.ok(isInitialized(observed, each), `${each.spec.name} is done before`);
    else assert.ok(ranNow(observed, observedOf(observed, each)), `${each.spec.name} was up before`);
  }
}

/** A sidecar goes when nobody needs it any more, or time is up. */
function checkStop(pod: Pod, observed: Observed, stop: Stop, now: number): void {
  const member = memberOf(pod, stop.container);
  const { state } = observedOf(observed, member);
  assert.ok(state.kind === 'running' || state.kind === 'starting', 'what is not alive is not stopped');
  assert.ok(stop.deadline >= now + seconds(2), 'there is time between TERM and KILL');
  if (state.stopping?.stage === 'term')
    assert.ok(stop.deadline < state.stopping.deadline, 'stopped again only earlier');
  const course = courseOf(pod, observed);
  if (stop.kind === 'preStop' || member.role !== 'sidecar' || stop.cause !== 'podEnd') return;
  if (course.kind === 'ending' && now >= course.deadline) return;
  assert.ok(
    !mainMembers(pod).some(main => isAlive(observedOf(observed, main))),
    'sidecars stop after main containers',
  );
}

function checkDecision(pod: Pod, observed: Observed, decision: Decision, now: number): void {
  if (decision.kind === 'start') checkStart(pod, observed, decision);
  if (decision.kind === 'stop' || decision.kind === 'preStop') checkStop(pod, observed, decision, now);
  if (decision.kind === 'createSandbox')
    assert.ok(!anyAlive(observed), 'a network is made for nothing that runs');
  if (decision.kind === 'finish') assert.ok(!anyAlive(observed), 'a pod is gone when its last process is');
}

/** Carries out what is decided until nothing is: that does not take long. */
function settle(pod: Pod, before: Observed, now: number): World {
  let observed = before;
  for (let looks = 0; looks < 6; looks++) {
    const { decisions } = nextContainers(pod, observed, now);
    assert.equal(new Set(decisions.map(each => JSON.stringify(each))).size, decisions.length);
    for (const decision of decisions) checkDecision(pod, observed, decision, now);
    if (decisions.length === 0) return { observed, finished: false };
    if (decisions.some(({ kind }) => kind === 'finish')) {
      assert.equal(decisions.length, 1);
      return { observed, finished: true };
    }
    observed = decisions.reduce((sofar, decision) => carryOut(sofar, decision, now), observed);
  }
  throw new Error('decisions come to no end');
}

function happens(pod: Pod, observed: Observed, event: Happening, now: number): Observed {
  const one = (index: number, ...kinds: Parameters<typeof namesWith>[2][]): string => {
    const names = namesWith(pod, observed, ...kinds);
    return names[index % Math.max(names.length, 1)] ?? '';
  };
  switch (event.kind) {
    case 'time':
      return observed;
    case 'up':
      return comesUp(observed, one(event.pick, 'starting'), now);
    case 'unpulled':
      return cannotStart(observed, one(event.pick, 'starting'), now);
    case 'end':
      return ends(observed, one(event.pick, 'running'), event.exitCode, now);
    case 'hook':
      return hookEnds(observed, one(event.pick, 'running'));
    case 'started':
      return isProbed(observed, one(event.pick, 'running'), { startup: 'success' });
    case 'unhealthy':
      return isProbed(observed, one(event.pick, 'running'), { liveness: 'failure' });
    case 'network':
      if (event.state === 'none') return { ...observed, sandbox: { kind: 'none' } };
      if (observed.sandbox.kind !== 'making') return observed;
      return event.state === 'ready'
        ? { ...observed, sandbox: { kind: 'ready', ips: ['10.88.0.5'] } }
        : { ...observed, sandbox: { kind: 'failed', what: 'network', message: '', at: now } };
  }
}

/** The API server refuses a status in which a container leaves an end after which it is not run again. */
function checkTransition(pod: Pod, before: PodStatus, after: PodStatus): void {
  if (mayRestartAll(pod)) return;
  const statuses = (status: PodStatus) => [
    ...(status.initContainerStatuses ?? []),
    ...(status.containerStatuses ?? []),
  ];
  const left = (former: ContainerStatus) =>
    statuses(after).some(({ name, state }) => name === former.name && state?.terminated === undefined);
  for (const former of statuses(before)) {
    const end = former.state?.terminated;
    if (!end || !left(former)) continue;
    const spec = memberOf(pod, former.name).spec;
    assert.notEqual(shouldRestart(pod, spec, end.exitCode), 'leave', `${former.name} leaves its end`);
  }
}

function checkStatus(pod: Pod, observed: Observed, before: PodStatus | undefined, now: number): PodStatus {
  const status = podStatus({ ...pod, ...(before && { status: before }) }, observed, now);
  const terminal = status.phase === 'Succeeded' || status.phase === 'Failed';
  if (terminal) assert.ok(!anyAlive(observed), 'no phase is terminal while something runs');
  const ready = status.conditions?.find(({ type }) => type === 'Ready')?.status === 'True';
  if (ready) assert.ok(status.phase === 'Running' && status.containerStatuses?.every(each => each.ready));
  if (before) checkTransition(pod, before, status);
  if (before?.phase === 'Succeeded' || before?.phase === 'Failed') assert.equal(status.phase, before.phase);
  return status;
}

interface World {
  readonly observed: Observed;
  readonly finished: boolean;
}

const begin = (pod: Pod): World => settle(pod, knownOf({}, { sandbox: { kind: 'none' } }), noon);

/** As a pod is that nothing bad happens to: its network is there, its containers come up, init containers end well. */
function grown(pod: Pod): World {
  let world = settle(pod, { ...begin(pod).observed, sandbox: { kind: 'ready', ips: ['10.88.0.5'] } }, noon);
  for (let step = 0; step < 8; step++) {
    let { observed } = world;
    for (const name of namesWith(pod, observed, 'starting')) observed = comesUp(observed, name, noon);
    for (const name of namesWith(pod, observed, 'running')) {
      const { role } = memberOf(pod, name);
      observed =
        role === 'init' ? ends(observed, name, 0, noon) : isProbed(observed, name, { startup: 'success' });
    }
    world = settle(pod, observed, noon);
  }
  return world;
}

/** Deletes a pod, and ends whatever is told to end, until the pod is gone. */
function buried(pod: Pod, from: Observed, now: number): Observed {
  let world = settle(pod, { ...from, deletion: { at: now, graceSeconds: 10 } }, now);
  for (let step = 0; step < 20 && !world.finished; step++) {
    let { observed } = world;
    if (observed.sandbox.kind === 'making')
      observed = { ...observed, sandbox: { kind: 'failed', what: 'network', message: '', at: now } };
    for (const name of namesWith(pod, observed, 'starting')) observed = comesUp(observed, name, now);
    for (const name of namesWith(pod, observed, 'running')) {
      const { state } = observedOf(observed, memberOf(pod, name));
      if (state.kind !== 'running' || !state.stopping) continue;
      observed = state.stopping.stage === 'hook' ? hookEnds(observed, name) : ends(observed, name, 143, now);
    }
    world = settle(pod, observed, now);
  }
  assert.ok(world.finished, 'a pod that is deleted goes');
  return world.observed;
}

test('whatever happens, nothing runs twice, nothing starts out of turn, and an ended pod stays ended', () => {
  const events = fc.array(happening, { maxLength: 40 });
  const walks = fc.property(pods, fc.boolean(), events, (pod, isGrown, happenings) => {
    let now = noon;
    let world = isGrown ? grown(pod) : begin(pod);
    let status = checkStatus(pod, world.observed, undefined, now);
    for (const event of happenings) {
      now += event.kind === 'time' ? seconds(event.seconds) : 10;
      const before = world;
      world = settle(pod, happens(pod, world.observed, event, now), now);
      status = checkStatus(pod, world.observed, status, now);
      if (before.finished) assert.ok(world.finished, 'a pod that is over does not begin again');
    }
    const last = checkStatus(pod, buried(pod, world.observed, now), status, now);
    assert.ok(last.phase === 'Succeeded' || last.phase === 'Failed');
  });
  fc.assert(walks, { numRuns: 2000 });
});

test('left to itself, a pod gets all that it asks for', () => {
  const healthy = fc.property(pods, pod => {
    const status = podStatus(pod, grown(pod).observed, noon);
    assert.equal(status.phase, 'Running');
    assert.ok(status.containerStatuses?.every(({ state }) => state?.running));
  });
  fc.assert(healthy, { numRuns: 200 });
});
