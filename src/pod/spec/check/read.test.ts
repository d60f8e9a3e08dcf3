import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { nearest } from '../../../host/nearest.ts';
import type { Json } from '../../../host/step.ts';
import { nodeOf } from '../../../machine/shape.ts';
import { fieldsOf, isTypeName, type Pod, type PodSpec, type TypeName } from '../../api/kubernetes.ts';
import { parseManifest } from '../manifest.ts';
import { type Mistake, pathText } from '../path.ts';
import { wordFields } from './enumerations.ts';
import { readObject } from './read.ts';

async function read<T extends object>(type: TypeName, source: string) {
  const mistakes: Mistake[] = [];
  const [document] = await parseManifest(source, 'x');
  assert.ok(document);
  assert.deepEqual(document.faults, []);
  const value = readObject<T>(type, document.root, [], mistakes);
  return { value, mistakes: mistakes.map(({ path, text }) => `${pathText(path)} ${text}`) };
}

test('an object is read with its kinds of values', async () => {
  const { value, mistakes } = await read<Pod>(
    'Pod',
    `apiVersion: v1
kind: Pod
metadata: { name: a, creationTimestamp: null, labels: { a/b: x, empty: } }
spec:
  containers:
  - name: main
    image: nginx
    resources: { limits: { cpu: 0.5, memory: 1Gi, hugepages-2Mi: 4194304 } }
    livenessProbe: { httpGet: { port: 80 } }
    readinessProbe: { tcpSocket: { port: web } }
    volumeMounts: []
  volumes: [{ name: s, secret: { secretName: s, defaultMode: 0400 } }]
  hostNetwork: yes
`,
  );
  assert.deepEqual(mistakes, []);
  assert.deepEqual(value, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'a', labels: { 'a/b': 'x', empty: '' } },
    spec: {
      containers: [
        {
          name: 'main',
          image: 'nginx',
          resources: { limits: { cpu: '500m', memory: '1Gi', 'hugepages-2Mi': '4194304' } },
          livenessProbe: { httpGet: { port: 80 } },
          readinessProbe: { tcpSocket: { port: 'web' } },
          volumeMounts: [],
        },
      ],
      volumes: [{ name: 's', secret: { secretName: 's', defaultMode: 0o400 } }],
      hostNetwork: true,
    },
  });
});

test('all that is wrong is told, with its place and what would be right', async () => {
  const { value, mistakes } = await read<PodSpec>(
    'PodSpec',
    `containers:
- nmae: main
  imagepullPolicy: Always
  frobnicate: 1
  image: 5
  env: [{ name: A, value: 8080 }, { name: B, value: yes }]
  tty: "true"
  ports: [{ containerPort: 80.5 }, 7]
  imagePullPolicy: Alwys
  resources: { limits: { memory: lots } }
restartPolicy: ''
volumes: { a: b }
activeDeadlineSeconds: 1e18
`,
  );
  assert.deepEqual(mistakes, [
    'containers[0].nmae is not known: is name meant?',
    'containers[0].imagepullPolicy is not known: is imagePullPolicy meant?',
    `containers[0].frobnicate is not known: one of ${[...fieldsOf('Container').keys()].join(', ')}`,
    'containers[0].image takes a text, not 5; in quotes it is one: "5"',
    'containers[0].env[0].value takes a text, not 8080; in quotes it is one: "8080"',
    'containers[0].env[1].value takes a text, not true; in quotes it is one: "yes"',
    "containers[0].tty takes true or false, not 'true'",
    'containers[0].ports[0].containerPort takes a whole number, not 80.5',
    'containers[0].ports[1] takes a mapping, not 7',
    'containers[0].ports[1].containerPort is missing',
    "containers[0].imagePullPolicy does not take 'Alwys': one of Always, IfNotPresent, Never",
    "containers[0].resources.limits.memory takes a quantity such as 100m or 1.5Gi, not 'lots'",
    'containers[0].name is missing',
    'volumes takes a list, not a mapping',
    'activeDeadlineSeconds takes a whole number, not 1000000000000000000',
  ]);
  assert.equal(value.containers[0]?.name, '');
  assert.deepEqual(value.volumes, []);
  assert.equal(value.restartPolicy, undefined);
});

test('what is not supported is refused by name, unless there is nothing in it', async () => {
  const { value, mistakes } = await read<PodSpec>(
    'PodSpec',
    `containers: [{ name: a, volumeDevices: [] }]
volumes:
- { name: a, csi: { driver: x, nonsense: 1 } }
- { name: b, gitRepo: }
resourceClaims: [{ name: gpu }]
securityContext: { windowsOptions: { hostProcess: true, runAsUserName: www-data } }
affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] } } }
`,
  );
  assert.deepEqual(mistakes, [
    "volumes[0].csi is not supported: needs a storage driver: mount it on the host, and use hostPath or a claim's directory",
    'resourceClaims is not supported: needs a driver of devices, which does not run here',
    'securityContext.windowsOptions.hostProcess is not supported: is for Windows',
  ]);
  assert.deepEqual(value.securityContext, { windowsOptions: { runAsUserName: 'www-data' } });
});

test('base64 may be broken into lines; what is not base64 is refused without being shown', async () => {
  const good = await read('Secret', 'data:\n  a: aGVs\n  b: |\n    aGVs\n    bG8=\n');
  assert.deepEqual([good.mistakes, good.value], [[], { data: { a: 'aGVs', b: 'aGVsbG8=' } }]);
  assert.deepEqual((await read('Secret', 'data: { a: hunter2! }')).mistakes, ['data.a takes base64']);
});

test('names that are mistyped find the one that is meant', () => {
  const known = ['name', 'image', 'imagePullPolicy', 'volumeMounts', 'toString'];
  assert.equal(nearest('imagePullPolcy', known), 'imagePullPolicy');
  assert.equal(nearest('volumemount', known), 'volumeMounts');
  assert.equal(nearest('naem', known), 'name');
  assert.equal(nearest('x', known), undefined);
  assert.equal(nearest('', []), undefined);
});

test('fields with words are fields of the API that hold texts', () => {
  for (const each of wordFields()) {
    const [type = '', field = ''] = each.split('.');
    assert.ok(isTypeName(type), each);
    const value = fieldsOf(type).get(field)?.type;
    const item = value?.kind === 'list' ? value.of : value;
    assert.deepEqual(item, { kind: 'scalar', type: 'string' }, each);
  }
});

test('a value of any kind in any field is read or told of', () => {
  const names = ['Pod', 'PodSpec', 'Container', 'Volume', 'Secret', 'Deployment', 'Job'] as const;
  const entry = fc
    .constantFrom(...names)
    .chain(type =>
      fc.tuple(fc.constant(type), fc.constantFrom(...fieldsOf(type).keys()), fc.jsonValue({ maxDepth: 2 })),
    );
  fc.assert(
    fc.property(entry, ([type, field, value]) => {
      const object = readObject(type, nodeOf({ [field]: JSON.parse(JSON.stringify(value)) as Json }), [], []);
      for (const name of Object.keys(object)) assert.ok(fieldsOf(type).has(name));
    }),
    { numRuns: 300 },
  );
});
