import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, PodSpec } from '../api/kubernetes.ts';
import { oomScoreAdjust, qosClass } from './qos.ts';
import { containerResources, enforcedLimit, podLimits, podRequests, writtenOf } from './resources.ts';

type Asked = readonly [cpu?: string, memory?: string];

const list = ([cpu, memory]: Asked) => ({
  ...(cpu !== undefined && { cpu }),
  ...(memory !== undefined && { memory }),
});

/** A container that asks for this, and may use that. */
const container = (
  name: string,
  requests: Asked = [],
  limits: Asked = [],
  more: Partial<Container> = {},
): Container => ({
  name,
  resources: { requests: list(requests), limits: list(limits) },
  ...more,
});
const sidecar = (name: string, requests: Asked) => container(name, requests, [], { restartPolicy: 'Always' });
const pod = (spec: PodSpec): Pod => ({ spec });
const gib = 1024 ** 3;

test('containers are added, and an init container counts beside the sidecars before it', () => {
  const spec = {
    containers: [container('a', ['1', '1Gi']), container('b', ['500m'])],
    initContainers: [
      container('first', ['1']),
      sidecar('side', ['100m', '64Mi']),
      container('second', ['3', '512Mi']),
    ],
  };
  assert.deepEqual(writtenOf(containerResources(pod(spec), 'requests')), { cpu: '3100m', memory: '1088Mi' });
  const small = { ...spec, initContainers: spec.initContainers.slice(0, 2) };
  assert.deepEqual(writtenOf(podRequests(pod(small))), { cpu: '1600m', memory: '1088Mi' });
});

test('what the pod as a whole says goes before its containers, and running it costs something', () => {
  const spec = {
    containers: [container('a', ['1', '1Gi'], ['2'])],
    resources: { requests: { memory: '4Gi' }, limits: { cpu: '3' } },
    overhead: { cpu: '10m', memory: '1Mi' },
  };
  assert.deepEqual(writtenOf(podRequests(pod(spec))), { cpu: '1010m', memory: '4097Mi' });
  assert.deepEqual(writtenOf(podLimits(pod(spec))), { cpu: '3010m' });
});

test('a pod is held to a limit only if all of it is limited', () => {
  const limited = container('a', [], ['1', '1Gi']);
  assert.equal(enforcedLimit(pod({ containers: [limited, container('b')] }), 'cpu'), undefined);
  const both = pod({ containers: [limited, container('b', [], ['500m'])] });
  assert.equal(enforcedLimit(both, 'cpu')?.nano, 1_500_000_000n);
  assert.equal(enforcedLimit(both, 'memory'), undefined);
  const whole = pod({ containers: [container('b')], resources: { limits: { memory: '2Gi' } } });
  assert.equal(enforcedLimit(whole, 'memory')?.nano, 2n * 1_073_741_824n * 1_000_000_000n);
  assert.equal(
    enforcedLimit(pod({ containers: [limited], initContainers: [container('i')] }), 'cpu'),
    undefined,
  );
});

test('the class follows from what is asked for and limited', () => {
  const equal = container('a', ['1', '1Gi'], ['1', '1Gi']);
  for (const [spec, expected] of [
    [{ containers: [container('a')] }, 'BestEffort'],
    [{ containers: [container('a', ['0', '0'])] }, 'BestEffort'],
    [{ containers: [equal] }, 'Guaranteed'],
    [{ containers: [equal, container('b')] }, 'Burstable'],
    [{ containers: [equal], initContainers: [container('i')] }, 'Burstable'],
    [{ containers: [container('a', [], ['1'])] }, 'Burstable'],
    [{ containers: [container('a', ['1', '1Gi'], ['2', '1Gi'])] }, 'Burstable'],
    [{ containers: [container('a')], resources: equal.resources ?? {} }, 'Guaranteed'],
    [{ containers: [equal], resources: { limits: { cpu: '2' } } }, 'Burstable'],
  ] as const)
    assert.equal(qosClass(pod(spec)), expected, JSON.stringify(spec));
  assert.equal(qosClass({ ...pod({ containers: [equal] }), status: { qosClass: 'Burstable' } }), 'Burstable');
});

test('who asks for more memory is killed later', () => {
  const score = (spec: PodSpec, of: Container, more: Partial<Pod> = {}) =>
    oomScoreAdjust({ ...pod(spec), ...more }, of, 8 * gib);
  const asks = (memory: string) => container('a', ['1', memory]);
  assert.equal(score({ containers: [container('a')] }, container('a')), 1000);
  assert.equal(score({ containers: [asks('2Gi')] }, asks('2Gi')), 750);
  assert.equal(score({ containers: [asks('1')] }, asks('1')), 999);
  assert.equal(score({ containers: [asks('8Gi')] }, asks('8Gi')), 3);
  const guaranteed = container('a', ['1', '1Gi'], ['1', '1Gi']);
  assert.equal(score({ containers: [guaranteed] }, guaranteed), -997);
  const side = sidecar('s', ['1', '64Mi']);
  assert.equal(score({ containers: [asks('2Gi')], initContainers: [side] }, side), 750);
  const whole = { containers: [asks('1Gi'), container('b')], resources: { requests: { memory: '5Gi' } } };
  assert.equal(score(whole, asks('1Gi')), 625);
  const critical = { containers: [asks('1Gi')], priorityClassName: 'system-node-critical' };
  assert.equal(score(critical, asks('1Gi')), 875);
  const annotations = { 'kubernetes.io/config.source': 'file' };
  assert.equal(score(critical, asks('1Gi'), { metadata: { annotations } }), -997);
  assert.equal(score({ ...critical, priority: 2_000_001_000 }, asks('1Gi')), -997);
});
