import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { crashKey } from '../restart/backoff.ts';
import { eventObject, eventsOf, type News, statusEventsOf, withNews } from './events.ts';
import { container, ended, known, knownOf, noon, podWith, running, seconds, starting } from './fake-pod.ts';
import type { ContainerObserved, Observed } from './observed.ts';
import { podStatus } from './status.ts';

type State = ContainerObserved['state'];

const pod = podWith({ initContainers: [container('setup')] });
const told = (before: Observed, after: Observed) =>
  eventsOf(pod, before, after).map(
    ({ type, reason, message, container: name }) => `${type} ${reason} ${name ?? '-'}: ${message}`,
  );

const pullFailure = { reason: 'ErrImagePull', message: 'no route', at: noon } as const;
const stop = { cause: 'podEnd', message: 'Stopping container main', deadline: noon } as const;

const table: readonly [what: string, before: State, after: State, events: readonly string[]][] = [
  ['is decided to start', { kind: 'waiting' }, starting(), []],
  ['has its bundle', starting(), starting({ created: true }), ['Normal Created main: Container created']],
  ['runs', starting({ created: true }), running(), ['Normal Started main: Container started']],
  ['ended before it was seen to run', starting(), ended(3), ['Normal Started main: Container started']],
  ['ends', running(), ended(1), []],
  [
    'cannot be made',
    starting(),
    ended(128, { reason: 'StartError', message: 'no such file' }),
    ['Warning Failed main: Error: no such file'],
  ],
  [
    'has no image',
    starting(),
    { kind: 'waiting', failure: pullFailure },
    [
      'Warning Failed main: Failed to pull image "registry.test/main:1": no route',
      'Warning Failed main: Error: ErrImagePull',
    ],
  ],
  [
    'had no image before its agent was killed',
    starting({ failure: pullFailure }),
    { kind: 'waiting', failure: pullFailure },
    [],
  ],
  [
    'may not be pulled',
    starting(),
    { kind: 'waiting', failure: { reason: 'ErrImageNeverPull', message: 'is not present', at: noon } },
    ['Warning ErrImageNeverPull main: is not present', 'Warning Failed main: Error: ErrImageNeverPull'],
  ],
  [
    'has a name that is none',
    starting(),
    { kind: 'waiting', failure: { reason: 'InvalidImageName', message: 'bad', at: noon } },
    [
      'Warning InspectFailed main: Failed to apply default image tag "registry.test/main:1": bad',
      'Warning Failed main: Error: InvalidImageName',
    ],
  ],
  [
    'lacks a secret',
    starting(),
    { kind: 'waiting', failure: { reason: 'CreateContainerConfigError', message: 'secret s', at: noon } },
    ['Warning Failed main: Error: secret s'],
  ],
  [
    'is stopped',
    running(),
    running({ stopping: { ...stop, stage: 'hook' } }),
    ['Normal Killing main: Stopping container main'],
  ],
  [
    'is stopped earlier than was decided',
    running({ stopping: { ...stop, stage: 'hook' } }),
    running({ stopping: { ...stop, deadline: noon - 1, stage: 'term' } }),
    [],
  ],
];

test('a change of a container is told as the kubelet tells it', () => {
  for (const [what, before, after, events] of table)
    assert.deepEqual(told(knownOf({ main: before }), knownOf({ main: after })), events, what);
});

test('what happens to the pod as a whole is told of no container', () => {
  const at = noon;
  const failed = (what: 'network' | 'volume') =>
    knownOf({}, { sandbox: { kind: 'failed', what, message: 'none left', at } });
  const making = knownOf({}, { sandbox: { kind: 'making' } });
  assert.deepEqual(told(making, failed('network')), [
    'Warning FailedCreatePodSandBox -: Failed to create pod sandbox: none left',
  ]);
  assert.deepEqual(told(making, failed('volume')), [
    'Warning FailedMount -: MountVolume.SetUp failed: none left',
  ]);
  assert.deepEqual(told(knownOf(), knownOf({}, { sandbox: { kind: 'none' } })), [
    'Normal SandboxChanged -: Pod sandbox changed, it will be killed and re-created.',
  ]);
  const evicted = knownOf({}, { failure: { reason: 'Evicted', message: 'too much', at } });
  assert.deepEqual(told(knownOf(), evicted), ['Warning Evicted -: too much']);
  assert.deepEqual(told(evicted, evicted), []);
});

test('a back-off is told once, when it begins', () => {
  const backOff = { key: crashKey(container('main')), delay: seconds(10), updated: noon };
  const status = (state: State, now: number) =>
    podStatus(podWith(), knownOf({ main: known(state, { backOff }) }), now);
  const before = status(running(), noon);
  const held = status(ended(1), noon + seconds(6));
  const message = 'Back-off restarting failed container main in pod web_shop(u-1)';
  assert.deepEqual(statusEventsOf(podWith(), before, held), [
    { type: 'Warning', reason: 'BackOff', message, container: 'main' },
  ]);
  assert.deepEqual(statusEventsOf(podWith(), held, held), []);
});

test('what happens again is counted, and no more than fifty are kept', () => {
  const news = (message: string): News => ({ type: 'Warning', reason: 'Unhealthy', message });
  const twice = withNews(withNews([], [news('a'), news('b')], noon), [news('a')], noon + 1);
  assert.deepEqual(
    twice.map(({ message, count, first, last }) => [message, count, first, last]),
    [
      ['b', 1, noon, noon],
      ['a', 2, noon, noon + 1],
    ],
  );
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 2000 }), { maxLength: 200 }), messages => {
      const all = messages.reduce((kept, each, at) => withNews(kept, [news(each)], at), withNews([], [], 0));
      assert.ok(all.length <= 50 && all.every(({ message }) => message.length <= 1024));
      const newest = messages.at(-1)?.slice(0, 1024);
      assert.equal(all.at(-1)?.message, newest);
    }),
  );
});

test('an event of the API names the part of the pod that it is of', () => {
  const [event] = withNews(
    [],
    [{ type: 'Normal', reason: 'Started', message: '', container: 'setup' }],
    noon,
  );
  assert.ok(event);
  const { involvedObject, firstTimestamp, count } = eventObject(pod, event);
  assert.equal(involvedObject.fieldPath, 'spec.initContainers{setup}');
  assert.deepEqual([firstTimestamp, count], ['2026-11-05T12:00:00Z', 1]);
});
