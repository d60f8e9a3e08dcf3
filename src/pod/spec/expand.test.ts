import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uidOf } from './controllers/identity.ts';
import type { PodEngine } from './engine-limits.ts';
import { type DesiredPod, expand } from './expand.ts';
import { parseManifest } from './manifest.ts';
import { validate } from './validate.ts';

async function desired(source: string, file = '/m/web.yaml', nodeName = 'node1') {
  return expand(validate(await parseManifest(source, file)), nodeName);
}

const container = 'containers: [{ name: main, image: nginx:1 }]';
const pod = (name: string, spec = container) =>
  `apiVersion: v1\nkind: Pod\nmetadata: { name: ${name}, labels: { a: b } }\nspec: { ${spec} }\n---\n`;
const controller = (kind: string, more: string, spec = container) =>
  `apiVersion: ${kind === 'Job' ? 'batch' : 'apps'}/v1
kind: ${kind}
metadata: { name: web, namespace: shop }
spec: { ${more}${kind === 'Job' ? '' : ', selector: { matchLabels: { app: web } }'}, template: { metadata: { labels: { app: web } }, spec: { ${spec} } } }
---
`;
const names = (pods: readonly DesiredPod[]) =>
  pods.map(each => `${each.pod.metadata?.namespace}/${each.pod.metadata?.name}`);
const uidOfFirst = async (source: string, file?: string, node?: string) =>
  (await desired(source, file, node)).pods[0]?.pod.metadata?.uid;

test('a pod is complete, and says where it is from', async () => {
  const { pods } = await desired(pod('a'));
  const [each] = pods;
  const { uid = '', ...metadata } = each?.pod.metadata ?? {};
  assert.match(uid, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual(metadata, {
    name: 'a',
    namespace: 'default',
    labels: { a: 'b' },
    annotations: {
      'kubernetes.io/config.hash': uid,
      'kubernetes.io/config.source': 'file',
      'spawnlet.io/manifest': '/m/web.yaml',
    },
  });
  assert.equal(each?.pod.spec?.nodeName, 'node1');
  assert.deepEqual(each?.pod.spec?.tolerations, [{ operator: 'Exists', effect: 'NoExecute' }]);
  assert.equal(each?.pod.spec?.containers[0]?.imagePullPolicy, 'IfNotPresent');
  assert.deepEqual(
    [each?.owner, each?.file],
    [{ kind: 'Pod', name: 'a', namespace: 'default' }, '/m/web.yaml'],
  );
});

test('what is asked for decides who a pod is, not how it is written', async () => {
  const uid = await uidOfFirst(pod('a'));
  const turned =
    'kind: Pod\nspec:\n  containers:\n  - image: "nginx:1" # the web\n    name: main\n  hostname:\napiVersion: v1\nmetadata: { creationTimestamp: null, uid: x, labels: { a: b }, name: a }\nstatus: {}\n';
  assert.equal(await uidOfFirst(turned), uid);
  const others = [
    pod('b'),
    pod('a', `${container}, hostname: x`),
    pod('a').replace('a: b', 'a: c'),
    pod('a').replace('nginx:1', 'nginx:2'),
  ];
  const found = await Promise.all(others.map(each => uidOfFirst(each)));
  const moved = [await uidOfFirst(pod('a'), '/m/other.yaml'), await uidOfFirst(pod('a'), undefined, 'node2')];
  assert.equal(new Set([uid, ...found, ...moved]).size, 7);
});

test('a pod that is given more memory is the same pod, unless its class of service changes', async () => {
  const asking = (resources: string) =>
    pod('a', `containers: [{ name: main, image: a, resources: { ${resources} } }]`);
  const uid = await uidOfFirst(asking('requests: { cpu: 1, memory: 1Gi }'));
  assert.equal(await uidOfFirst(asking('requests: { cpu: 2, memory: 2Gi }, limits: { cpu: 4 }')), uid);
  assert.notEqual(await uidOfFirst(asking('limits: { cpu: 2, memory: 2Gi }')), uid);
  assert.notEqual(await uidOfFirst(asking('requests: { cpu: 1, memory: 1Gi, ephemeral-storage: 1Gi }')), uid);
  const { pods } = await desired(asking('requests: { cpu: 2, memory: 2Gi }'));
  assert.deepEqual(pods[0]?.pod.spec?.containers[0]?.resources, { requests: { cpu: '2', memory: '2Gi' } });
});

test('a deployment makes pods with names that stay', async () => {
  const { pods } = await desired(controller('Deployment', 'replicas: 3'));
  assert.deepEqual(names(pods), ['shop/web-0', 'shop/web-1', 'shop/web-2']);
  assert.deepEqual(pods[0]?.owner, { kind: 'Deployment', name: 'web', namespace: 'shop' });
  const [owner] = pods[0]?.pod.metadata?.ownerReferences ?? [];
  assert.deepEqual(
    [owner?.apiVersion, owner?.kind, owner?.name, owner?.controller],
    ['apps/v1', 'Deployment', 'web', true],
  );
  assert.equal(new Set(pods.map(each => each.pod.metadata?.uid)).size, 3);
  const less = await desired(controller('Deployment', 'replicas: 1'));
  assert.deepEqual(less.pods[0], pods[0]);
  assert.deepEqual((await desired(controller('Deployment', 'replicas: 0'))).pods, []);
  const changed = await desired(controller('Deployment', 'replicas: 3', `${container}, hostIPC: true`));
  assert.notEqual(changed.pods[0]?.pod.metadata?.uid, pods[0]?.pod.metadata?.uid);
  assert.deepEqual(changed.pods[0]?.pod.metadata?.ownerReferences, pods[0]?.pod.metadata?.ownerReferences);
});

test('a daemon set has one pod on this host, a job as many as it completes', async () => {
  assert.deepEqual(names((await desired(controller('DaemonSet', 'minReadySeconds: 1'))).pods), [
    'shop/web-0',
  ]);
  const job = async (more: string) =>
    (await desired(controller('Job', more, `${container}, restartPolicy: Never`))).pods;
  assert.deepEqual(names(await job('backoffLimit: 4')), ['shop/web-0']);
  assert.deepEqual(names(await job('completions: 2')), ['shop/web-0', 'shop/web-1']);
  assert.deepEqual(await job('suspend: true'), []);
  const [, second] = await job('completions: 2, completionMode: Indexed, activeDeadlineSeconds: 60');
  const index = 'batch.kubernetes.io/job-completion-index';
  assert.equal(second?.pod.spec?.activeDeadlineSeconds, 60);
  assert.equal(second?.pod.spec?.hostname, 'web-1');
  assert.equal(second?.pod.metadata?.annotations?.[index], '1');
  assert.equal(second?.pod.metadata?.labels?.['batch.kubernetes.io/job-name'], 'web');
  assert.deepEqual(second?.pod.spec?.containers[0]?.env, [
    {
      name: 'JOB_COMPLETION_INDEX',
      valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: `metadata.annotations['${index}']` } },
    },
  ]);
});

test('pods of a stateful set have names on the network, and claims of their own', async () => {
  const claim =
    '{ metadata: { name: data, uid: x }, spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } } }';
  const more = `replicas: 2, serviceName: db, ordinals: { start: 3 }, volumeClaimTemplates: [${claim}]`;
  const mounted =
    'containers: [{ name: main, image: a, volumeMounts: [{ name: data, mountPath: /d }] }], volumes: [{ name: data, emptyDir: {} }]';
  const { pods, claims } = await desired(controller('StatefulSet', more, mounted));
  assert.deepEqual(names(pods), ['shop/web-3', 'shop/web-4']);
  const { hostname, subdomain, volumes } = pods[0]?.pod.spec ?? {};
  assert.deepEqual([hostname, subdomain], ['web-3', 'db']);
  assert.deepEqual(volumes, [{ name: 'data', persistentVolumeClaim: { claimName: 'data-web-3' } }]);
  assert.equal(pods[1]?.pod.metadata?.labels?.['apps.kubernetes.io/pod-index'], '4');
  assert.deepEqual([...claims.keys()], ['shop/data-web-3', 'shop/data-web-4']);
  assert.deepEqual(claims.get('shop/data-web-3')?.metadata, { name: 'data-web-3', namespace: 'shop' });
  assert.equal(claims.get('shop/data-web-3')?.spec?.volumeMode, 'Filesystem');
});

test('a volume of a pod alone has a claim that goes with the pod', async () => {
  const template =
    '{ metadata: { labels: { x: z } }, spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } } }';
  const source = pod(
    'a',
    `${container}, volumes: [{ name: scratch, ephemeral: { volumeClaimTemplate: ${template} } }]`,
  );
  const { pods, claims } = await desired(source);
  const { labels, ownerReferences } = claims.get('default/a-scratch')?.metadata ?? {};
  assert.deepEqual(labels, { x: 'z' });
  assert.equal(ownerReferences?.[0]?.uid, pods[0]?.pod.metadata?.uid);
  const own = `apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: { name: a-scratch }\nspec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }\n`;
  await assert.rejects(desired(source + own), {
    code: 'ERR_MANIFEST',
    message:
      '/m/web.yaml:3: Pod a makes the claim a-scratch of an ephemeral volume, which is asked for at /m/web.yaml:8, too',
  });
});

test('two objects do not make pods of one name', async () => {
  const deployment = controller('Deployment', 'replicas: 2').replace(', namespace: shop', '');
  await assert.rejects(desired(deployment + pod('web-1')), {
    code: 'ERR_MANIFEST',
    message: '/m/web.yaml:8: Pod web-1 makes the pod web-1, which is asked for at /m/web.yaml:3, too',
  });
});

test('secrets have their texts among their data, in the namespace that is meant', async () => {
  const secret =
    'apiVersion: v1\nkind: Secret\nmetadata: { name: s, namespace: shop }\ndata: { a: YQ==, b: Yg== }\nstringData: { b: é }\n---\n';
  const map =
    'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: c }\ndata: { k: v }\nbinaryData: { x: AA== }\n';
  const { secrets, configMaps } = await desired(secret + map);
  assert.deepEqual(secrets.get('shop/s'), {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 's', namespace: 'shop' },
    type: 'Opaque',
    data: { a: 'YQ==', b: 'w6k=' },
  });
  assert.deepEqual(configMaps.get('default/c'), {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'c', namespace: 'default' },
    data: { k: 'v' },
    binaryData: { x: 'AA==' },
  });
});

test('a UID is of its values, in whatever order their keys are', () => {
  assert.equal(uidOf({ a: 1, b: [{ c: 2, d: undefined }] }), uidOf({ b: [{ c: 2 }], a: 1 }));
  assert.notEqual(uidOf('a', 'b'), uidOf('ab'));
  assert.notEqual(uidOf(['a', 'b']), uidOf(['b', 'a']));
});

test('who runs a pod is written into it where that is another engine than crun', async () => {
  const specOf = async (fallback: PodEngine, spec?: string) =>
    expand(validate(await parseManifest(pod('a', spec), '/m/a.yaml')), 'node1', fallback).pods[0]?.pod.spec;
  assert.equal((await specOf('crun'))?.runtimeClassName, undefined);
  for (const [engine, network] of [
    ['nspawn', undefined],
    ['host', true],
  ] as const) {
    const spec = await specOf(engine);
    assert.deepEqual([spec?.runtimeClassName, spec?.hostNetwork], [engine, network]);
  }
  assert.equal((await specOf('host', `runtimeClassName: nspawn, ${container}`))?.runtimeClassName, 'nspawn');
});
