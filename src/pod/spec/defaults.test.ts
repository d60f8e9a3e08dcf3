import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, PodSpec, Volume } from '../api/kubernetes.ts';
import { pullPolicyOf } from './defaults/pull-policy.ts';
import { defaultVolume } from './defaults/volumes.ts';
import { defaultPod } from './defaults.ts';

const defaulted = (spec: PodSpec): PodSpec => defaultPod({ spec }).spec ?? { containers: [] };
const first = (container: Partial<Container>, more: Partial<PodSpec> = {}) =>
  defaulted({ containers: [{ name: 'main', image: 'nginx:1', ...container }], ...more }).containers[0];

test('a pod that says nothing is as Kubernetes makes it', () => {
  assert.deepEqual(defaulted({ containers: [{ name: 'main', image: 'nginx' }] }), {
    containers: [
      {
        name: 'main',
        image: 'nginx',
        imagePullPolicy: 'Always',
        terminationMessagePath: '/dev/termination-log',
        terminationMessagePolicy: 'File',
      },
    ],
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    terminationGracePeriodSeconds: 30,
    securityContext: {},
    schedulerName: 'default-scheduler',
    enableServiceLinks: true,
  });
});

test('what is said stays, and a second time changes nothing', () => {
  const pod: Pod = {
    spec: {
      containers: [
        {
          name: 'main',
          imagePullPolicy: 'Never',
          livenessProbe: { httpGet: { port: 80, path: '/x' }, periodSeconds: 0, failureThreshold: 7 },
          lifecycle: { postStart: { httpGet: { port: 80 } } },
          env: [{ name: 'A', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } }],
          resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '500m' } },
        },
      ],
      terminationGracePeriodSeconds: 0,
      restartPolicy: 'Never',
      resources: { limits: { cpu: '2' } },
      volumes: [{ name: 'v' }],
    },
  };
  const once = defaultPod(pod);
  assert.deepEqual(defaultPod(once), once);
  assert.equal(once.spec?.terminationGracePeriodSeconds, 0);
  assert.equal(once.spec?.restartPolicy, 'Never');
  assert.deepEqual(once.spec?.containers[0]?.livenessProbe, {
    httpGet: { port: 80, path: '/x', scheme: 'HTTP' },
    timeoutSeconds: 1,
    periodSeconds: 10,
    successThreshold: 1,
    failureThreshold: 7,
  });
  assert.deepEqual(once.spec?.containers[0]?.lifecycle?.postStart?.httpGet, {
    port: 80,
    path: '/',
    scheme: 'HTTP',
  });
});

test('a limit is asked for, where nothing else is', () => {
  const resources = { limits: { cpu: '1.0001', memory: '1Gi' }, requests: { memory: '512Mi' } };
  assert.deepEqual(first({ resources })?.resources, {
    limits: { cpu: '1001m', memory: '1Gi' },
    requests: { cpu: '1001m', memory: '512Mi' },
  });
  assert.deepEqual(first({ resources: { requests: { cpu: '1' } } })?.resources, { requests: { cpu: '1' } });
});

test('a pod with limits asks for what its containers ask for, and for its limits where they ask for nothing', () => {
  const resources = { limits: { cpu: '4', memory: '2Gi' } };
  const containers = ['a', 'b'].map(name => ({ name, resources: { requests: { cpu: '500m' } } }));
  assert.deepEqual(defaulted({ containers, resources }).resources, {
    limits: resources.limits,
    requests: { cpu: '1', memory: '2Gi' },
  });
  assert.deepEqual(defaulted({ containers, resources: { requests: { cpu: '3' } } }).resources, {
    requests: { cpu: '3' },
  });
});

test('ports of the host are those of the containers that have its network', () => {
  const ports = [{ containerPort: 80 }, { containerPort: 53, protocol: 'UDP' }];
  assert.deepEqual(first({ ports })?.ports, [
    { containerPort: 80, protocol: 'TCP' },
    { containerPort: 53, protocol: 'UDP' },
  ]);
  assert.deepEqual(first({ ports }, { hostNetwork: true })?.ports, [
    { containerPort: 80, protocol: 'TCP', hostPort: 80 },
    { containerPort: 53, protocol: 'UDP', hostPort: 53 },
  ]);
});

test('an image is pulled each time if its name may come to mean another', () => {
  for (const [image, policy] of [
    ['nginx', 'Always'],
    ['nginx:latest', 'Always'],
    ['localhost:5000/nginx', 'Always'],
    ['nginx:1.27', 'IfNotPresent'],
    [`nginx@sha256:${'0'.repeat(64)}`, 'IfNotPresent'],
    ['/usr/sbin/nginx', 'IfNotPresent'],
    ['https://example.org/a.deb#sha256=00', 'IfNotPresent'],
    ['', 'IfNotPresent'],
  ] as const)
    assert.equal(pullPolicyOf(image), policy, image);
});

test('volumes have their modes, and one of no kind is an empty directory', () => {
  for (const [volume, expected] of [
    [{}, { emptyDir: {} }],
    [{ emptyDir: { medium: 'Memory' } }, { emptyDir: { medium: 'Memory' } }],
    [{ hostPath: { path: '/x' } }, { hostPath: { path: '/x', type: '' } }],
    [{ secret: { secretName: 's' } }, { secret: { secretName: 's', defaultMode: 0o644 } }],
    [{ configMap: { name: 'c', defaultMode: 0 } }, { configMap: { name: 'c', defaultMode: 0 } }],
    [
      { downwardAPI: { items: [{ path: 'a', fieldRef: { fieldPath: 'metadata.name' } }] } },
      {
        downwardAPI: {
          items: [{ path: 'a', fieldRef: { fieldPath: 'metadata.name', apiVersion: 'v1' } }],
          defaultMode: 0o644,
        },
      },
    ],
    [
      { projected: { sources: [{ serviceAccountToken: { path: 't' } }] } },
      {
        projected: {
          sources: [{ serviceAccountToken: { path: 't', expirationSeconds: 3600 } }],
          defaultMode: 0o644,
        },
      },
    ],
    [{ image: { reference: 'a' } }, { image: { reference: 'a', pullPolicy: 'Always' } }],
    [
      { ephemeral: { volumeClaimTemplate: { spec: {} } } },
      { ephemeral: { volumeClaimTemplate: { spec: { volumeMode: 'Filesystem' } } } },
    ],
  ] satisfies [Partial<Volume>, Partial<Volume>][])
    assert.deepEqual(defaultVolume({ name: 'v', ...volume }), { name: 'v', ...expected });
});

test('the account has its two names', () => {
  const { serviceAccount, serviceAccountName } = defaulted({ containers: [], serviceAccount: 'bob' });
  assert.deepEqual([serviceAccount, serviceAccountName], ['bob', 'bob']);
});
