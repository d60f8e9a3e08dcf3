import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseManifest } from './manifest.ts';
import { validate } from './validate.ts';

/** What is told of a manifest, line by line; nothing if it is taken. */
async function told(...sources: readonly string[]): Promise<readonly string[]> {
  const documents = await Promise.all(
    sources.map((source, at) => parseManifest(source, at === 0 ? 'x' : `x${at}`)),
  );
  try {
    validate(documents.flat());
    return [];
  } catch (error) {
    assert.ok(error instanceof Error && 'code' in error && error.code === 'ERR_MANIFEST', String(error));
    return error.message.split('\n  ');
  }
}

const indented = (text: string, by: number) => text.replaceAll(/^(?=.)/gm, ' '.repeat(by));

/** A pod with these lines in its specification, and these in its container. */
const pod = (spec = '', container = '') => `apiVersion: v1
kind: Pod
metadata: { name: web }
spec:
${indented(spec, 2)}
  containers:
  - name: main
    image: nginx:1
${indented(container, 4)}
`;

/** What is told of it without file and line. */
const spec = async (text: string) => (await told(pod(text))).map(line => line.replace(/^x:\d+: spec\./, ''));
const container = async (text: string) =>
  (await told(pod('volumes: [{ name: data }]', text))).map(line =>
    line.replace(/^x:\d+: spec\.containers\[0\]\./, ''),
  );

test('all mistakes of all files are told, each with file, line and field', async () => {
  const first = pod('restartPolicy: Sometimes', 'ports: [{ containerPort: 0 }]\nimagePullPolcy: Always');
  assert.deepEqual(await told(`# web\n---\n${first}---\nkind: [\n`, 'kind: ConfigMap\nmetadata: {}\n'), [
    "x:7: spec.restartPolicy does not take 'Sometimes': one of Always, OnFailure, Never",
    'x:11: spec.containers[0].ports[0].containerPort does not take 0: a whole number from 1 to 65535',
    'x:12: spec.containers[0].imagePullPolcy is not known: is imagePullPolicy meant?',
    'x:15: is not YAML: Flow sequence in block collection must be sufficiently indented and end with a ]',
    "x1:1: apiVersion of ConfigMap is v1, not ''",
    'x1:2: metadata.name is missing',
  ]);
});

test('a file with many mistakes tells the first of them', async () => {
  const env = Array.from({ length: 30 }, () => '{ name: "" }').join(', ');
  const lines = await told(pod('', `env: [${env}]`));
  assert.equal(lines.length, 21);
  assert.equal(lines.at(-1), 'and 10 more');
});

test('kinds are those that run on one host, in their own version', async () => {
  assert.deepEqual(await told('apiVersion: v1\nkind: Service\nmetadata: { name: a }'), [
    'x:2: kind does not take Service: one of Pod, Deployment, DaemonSet, StatefulSet, Job, ConfigMap, Secret, PersistentVolumeClaim',
  ]);
  assert.deepEqual(await told('apiVersion: v1\nkind: Deploymnt'), [
    'x:2: kind does not take Deploymnt: is Deployment meant?',
  ]);
  assert.match((await told('apiVersion: v1'))[0] ?? '', /kind is missing: one of Pod, /);
  assert.match((await told('- a'))[0] ?? '', /x:1: takes a mapping with apiVersion, kind, metadata and spec/);
  assert.match(
    (await told('apiVersion: extensions/v1beta1\nkind: Deployment'))[0] ?? '',
    /of Deployment is apps\/v1, not/,
  );
});

test('names are DNS names, and no object is there twice', async () => {
  const named = async (metadata: string) =>
    (await told(pod().replace('{ name: web }', metadata)))[0]?.slice(5);
  assert.equal(await named('{ name: a.b-c.1 }'), undefined);
  assert.match(
    (await named('{ name: Web }')) ?? '',
    /metadata\.name does not take 'Web': lower-case letters/,
  );
  assert.match((await named('{ generateName: a- }')) ?? '', /metadata\.name is missing: generateName gives/);
  assert.match(
    (await named('{ name: a, namespace: b.c }')) ?? '',
    /metadata\.namespace does not take 'b\.c'/,
  );
  assert.match(
    (await named('{ name: a, labels: { a b: c } }')) ?? '',
    /metadata\.labels\[a b\] does not take/,
  );
  assert.match(
    (await named('{ name: a, labels: { a: -c } }')) ?? '',
    /metadata\.labels\.a does not take '-c'/,
  );
  assert.match(
    (await named('{ name: a, annotations: { "a/b/c": d } }')) ?? '',
    /annotations\[a\/b\/c\] does not/,
  );
  assert.equal(await named('{ name: a, annotations: { example.org/A: anything at all } }'), undefined);
  assert.deepEqual(await told(pod(), pod()), ['x1:3: metadata.name is web twice: the first is at x:3']);
  assert.deepEqual(await told(pod(), pod().replace('name: web', 'name: web, namespace: b')), []);
});

test('what could not be read is not told a second time', async () => {
  assert.deepEqual(await told('apiVersion: v1\nkind: Pod\nmetadata: { name: a }\nspec: { containers: 5 }'), [
    'x:4: spec.containers takes a list, not 5',
  ]);
  assert.deepEqual(
    await told('apiVersion: v1\nkind: Pod\nmetadata: { name: 5 }\nspec: { containers: [{ image: a }] }'),
    [
      'x:3: metadata.name takes a text, not 5; in quotes it is one: "5"',
      'x:4: spec.containers[0].name is missing',
    ],
  );
});

test('containers have names and images of their own, and ports that others do not have', async () => {
  assert.deepEqual(await spec('initContainers: [{ name: main, image: a }]'), [
    'initContainers[0].name is main twice',
  ]);
  assert.deepEqual(await spec('initContainers: [{ name: i }, { name: j, image: " a" }]'), [
    'initContainers[0].image is missing',
    'initContainers[1].image has spaces around it',
  ]);
  assert.deepEqual(await container('ports: [{ containerPort: 80, name: Web }]'), [
    "ports[0].name does not take 'Web': lower-case letters, digits and single - between them, at least one letter",
  ]);
  assert.deepEqual(
    await container('ports: [{ containerPort: 1, hostPort: 9 }, { containerPort: 2, hostPort: 9 }]'),
    ['ports[1].hostPort is 9/TCP twice'],
  );
  assert.deepEqual(
    await container(
      'ports: [{ containerPort: 1, hostPort: 9 }, { containerPort: 2, hostPort: 9, protocol: UDP }]',
    ),
    [],
  );
  assert.deepEqual(
    await spec(
      'hostNetwork: true\ninitContainers: [{ name: i, image: a, ports: [{ containerPort: 1, hostPort: 2 }] }]',
    ),
    ['initContainers[0].ports[0].hostPort is the containerPort with hostNetwork: true'],
  );
});

test('variables have names, one source, and fields that can be told', async () => {
  const env = (text: string) => container(`env: [{ name: A, ${text} }]`);
  assert.deepEqual(await container('env: [{ name: A=B }]'), [
    "env[0].name does not take 'A=B': printable ASCII characters other than =",
  ]);
  assert.deepEqual(await container('env: [{ name: any thing-else.1 }]'), []);
  assert.deepEqual(await env('value: x, valueFrom: { fieldRef: { fieldPath: metadata.name } }'), [
    'env[0].valueFrom may not be there beside a value',
  ]);
  assert.match((await env('valueFrom: {}'))[0] ?? '', /valueFrom takes one of fieldRef/);
  assert.match(
    (await env('valueFrom: { fieldRef: { fieldPath: status.phase } }'))[0] ?? '',
    /does not take 'status\.phase': one of metadata\.name/,
  );
  assert.deepEqual(await env(`valueFrom: { fieldRef: { fieldPath: "metadata.labels['a/b']" } }`), []);
  assert.deepEqual(await env('valueFrom: { secretKeyRef: { name: s, key: a/b } }'), [
    "env[0].valueFrom.secretKeyRef.key does not take 'a/b': letters, digits, -, _ and .",
  ]);
  assert.deepEqual(await env('valueFrom: { resourceFieldRef: { resource: limits.cpu, divisor: 1Mi } }'), [
    "env[0].valueFrom.resourceFieldRef.divisor does not take '1Mi': one of 1, 1m",
  ]);
  assert.deepEqual(await env('valueFrom: { fileKeyRef: { volumeName: data, path: a, key: B } }'), []);
  assert.deepEqual(await env('valueFrom: { fileKeyRef: { volumeName: none, path: a, key: B } }'), [
    "env[0].valueFrom.fileKeyRef.volumeName is no volume of the pod, 'none': one of data",
  ]);
  assert.deepEqual(await container('envFrom: [{ prefix: a }]'), [
    'envFrom[0] takes one of configMapRef, secretRef',
  ]);
});

test('probes ask in one way, with numbers that can be', async () => {
  const probe = async (text: string, kind = 'livenessProbe') =>
    (await container(`${kind}: { ${text} }`)).map(line => line.slice(kind.length + 1));
  assert.deepEqual(await probe('httpGet: { port: 80 }, exec: { command: [a] }'), [
    'takes one of exec, httpGet, tcpSocket, grpc',
  ]);
  assert.deepEqual(await probe('periodSeconds: 3'), ['takes one of exec, httpGet, tcpSocket, grpc']);
  assert.deepEqual(await probe('tcpSocket: { port: 1 }, successThreshold: 2'), [
    'successThreshold is 1 for livenessProbe and startupProbe',
  ]);
  assert.deepEqual(await probe('tcpSocket: { port: 1 }, successThreshold: 2', 'readinessProbe'), []);
  assert.deepEqual(
    await probe('tcpSocket: { port: 1 }, terminationGracePeriodSeconds: 2', 'readinessProbe'),
    ['terminationGracePeriodSeconds is not for readinessProbe, which ends nothing'],
  );
  assert.deepEqual(await probe('tcpSocket: { port: 99999 }, timeoutSeconds: -1', 'startupProbe'), [
    'tcpSocket.port does not take 99999: a whole number from 1 to 65535',
    'timeoutSeconds does not take -1: a whole number from 0 to 2147483647',
  ]);
  assert.deepEqual(
    await spec('initContainers: [{ name: i, image: a, readinessProbe: { tcpSocket: { port: 1 } } }]'),
    ['initContainers[0].readinessProbe is not for init containers, unless their restartPolicy is Always'],
  );
  assert.deepEqual(
    await spec(
      'initContainers: [{ name: i, image: a, restartPolicy: Always, readinessProbe: { tcpSocket: { port: 1 } } }]',
    ),
    [],
  );
  assert.deepEqual(
    await container('lifecycle: { preStop: { sleep: { seconds: 31 } }, stopSignal: SIGUSR1 }'),
    [
      'lifecycle.preStop.sleep.seconds is from 0 to terminationGracePeriodSeconds, which is 30',
      'lifecycle.stopSignal needs spec.os.name: linux',
    ],
  );
});

test('mounts are of volumes of the pod, each at a place of its own', async () => {
  assert.deepEqual(await container('volumeMounts: [{ name: dta, mountPath: /a }]'), [
    "volumeMounts[0].name is no volume of the pod, 'dta': one of data",
  ]);
  assert.deepEqual(
    await container('volumeMounts: [{ name: data, mountPath: /a }, { name: data, mountPath: /a }]'),
    ['volumeMounts[1].mountPath is /a twice'],
  );
  assert.deepEqual(
    await container('volumeMounts: [{ name: data, mountPath: /a, subPath: ../x, subPathExpr: /y }]'),
    [
      "volumeMounts[0].subPath does not take '../x': .. may not be in it",
      "volumeMounts[0].subPathExpr does not take '/y': a path without / before it",
      'volumeMounts[0].subPathExpr may not be there beside subPath',
    ],
  );
  assert.deepEqual(
    await container('volumeMounts: [{ name: data, mountPath: /a, mountPropagation: Bidirectional }]'),
    ['volumeMounts[0].mountPropagation takes Bidirectional only in privileged containers'],
  );
});

test('volumes are of one kind, with files that stay in them', async () => {
  const volume = async (text: string) =>
    (await spec(`volumes: [{ name: v, ${text} }]`)).map(line => line.slice(11));
  assert.deepEqual(await volume('emptyDir: {}, hostPath: { path: / }'), [
    'is of one kind, not of emptyDir and hostPath',
  ]);
  assert.deepEqual(await volume('hostPath: { path: etc, type: Dir }'), [
    "hostPath.type does not take 'Dir': one of DirectoryOrCreate, Directory, FileOrCreate, File, Socket, CharDevice, BlockDevice",
    "hostPath.path does not take 'etc': an absolute path",
  ]);
  assert.deepEqual(
    await volume('secret: { secretName: s, defaultMode: 1000, items: [{ key: a, path: ..b }] }'),
    [
      'secret.defaultMode does not take 1000: from 0 to 0777, in octal with a 0 before it',
      "secret.items[0].path does not take '..b': it begins with ..",
    ],
  );
  assert.deepEqual(await volume('projected: { sources: [{ serviceAccountToken: { path: t } }] }'), [
    'projected.sources[0].serviceAccountToken needs an API server, which issues tokens to pods that it knows',
  ]);
  assert.deepEqual(
    await volume(
      'projected: { sources: [{ secret: { name: a, items: [{ key: k, path: p }] } }, { configMap: { name: b, items: [{ key: k, path: p }] } }] }',
    ),
    ['projected.sources[1].configMap.items[0].path is p twice'],
  );
  assert.deepEqual(await volume('persistentVolumeClaim: { claimName: Data }'), [
    "persistentVolumeClaim.claimName does not take 'Data': lower-case letters, digits, - and ., with a letter or digit at both ends",
  ]);
  assert.match(
    (await volume('csi: { driver: x }'))[0] ?? '',
    /^csi is not supported: needs a storage driver/,
  );
  assert.deepEqual(await spec('volumes: [{ name: v }, { name: v }]'), ['volumes[1].name is v twice']);
});

test('what is asked for is not more than the limit, and of kinds that there are', async () => {
  const resources = (text: string) => container(`resources: { ${text} }`);
  assert.deepEqual(await resources('limits: { cpu: 1 }, requests: { cpu: 1500m }'), [
    'resources.requests.cpu does not take 1500m: not more than its limit, 1',
  ]);
  assert.deepEqual(await resources('limits: { example.com/gpu: 1, memroy: 1Gi }'), [
    'resources.limits[example.com/gpu] is not supported: needs a driver of devices, which does not run here',
    'resources.limits.memroy is not known: one of cpu, memory, ephemeral-storage, hugepages-2Mi',
  ]);
  assert.deepEqual(await resources('limits: { hugepages-2Mi: 3Mi }'), [
    'resources.limits.hugepages-2Mi does not take 3Mi: whole pages',
    'resources has huge pages, and needs cpu or memory with them',
  ]);
  assert.deepEqual(await spec('resources: { requests: { memory: 1Mi }, limits: { storage: 1 } }'), [
    'resources.limits.storage is not known: one of cpu, memory, hugepages-2Mi',
  ]);
});

test('security contexts do not contradict themselves or the pod', async () => {
  assert.deepEqual(
    await container('securityContext: { privileged: true, allowPrivilegeEscalation: false, runAsUser: -1 }'),
    [
      'securityContext.runAsUser does not take -1: a whole number from 0 to 2147483647',
      'securityContext.allowPrivilegeEscalation is false beside privileged: true',
    ],
  );
  assert.deepEqual(
    await spec(
      'securityContext: { sysctls: [{ name: vm.swappiness, value: "1" }, { name: net.a, value: "1" }, { name: net/a, value: "2" }] }\nhostNetwork: true',
    ),
    [
      "securityContext.sysctls[0].name does not take 'vm.swappiness': one of a pod's own namespaces: net.*, fs.mqueue.*, kernel.sem, kernel.shmall, kernel.shmmax, kernel.shmmni, kernel.shm_rmid_forced, kernel.msgmax, kernel.msgmnb, kernel.msgmni",
      'securityContext.sysctls[1].name may not be there with hostNetwork: true',
      'securityContext.sysctls[2].name may not be there with hostNetwork: true',
      'securityContext.sysctls[2].name is net.a twice',
    ],
  );
  assert.deepEqual(await spec('securityContext: { seccompProfile: { type: Localhost } }'), [
    'securityContext.seccompProfile.localhostProfile is missing, for type: Localhost',
  ]);
  assert.deepEqual(await spec('securityContext: { windowsOptions: { runAsUserName: www-data } }'), []);
  assert.deepEqual(
    await spec('os: { name: linux }\nsecurityContext: { windowsOptions: { runAsUserName: a b } }'),
    [
      'securityContext.windowsOptions may not be there with os.name: linux',
      "securityContext.windowsOptions.runAsUserName does not take 'a b': the name of a user of the host",
    ],
  );
  assert.deepEqual(await spec('hostUsers: false\nhostPID: true\nshareProcessNamespace: true'), [
    'hostPID may not be there with hostUsers: false',
    'shareProcessNamespace may not be there with hostPID: true',
  ]);
});

test('names of hosts and of servers are such', async () => {
  assert.deepEqual(await spec('dnsPolicy: None'), ['dnsConfig.nameservers is missing, for dnsPolicy: None']);
  assert.deepEqual(await spec('dnsConfig: { nameservers: [ns1], searches: [a_b.c., .] }'), [
    "dnsConfig.nameservers[0] does not take 'ns1': an IPv4 or IPv6 address",
  ]);
  assert.deepEqual(
    await spec('hostAliases: [{ ip: "::1", hostnames: [A] }]\nhostname: a.b\nruntimeClassName: gvisor'),
    [
      "hostAliases[0].hostnames[0] does not take 'A': lower-case letters, digits, - and ., with a letter or digit at both ends",
      "hostname does not take 'a.b': lower-case letters, digits and -, with a letter or digit at both ends",
      "runtimeClassName does not take 'gvisor': one of crun, nspawn, host",
    ],
  );
});

/** A controller with these lines, whose pods have this more, and this more in their container. */
const controller = (kind: string, more: string, podMore = '', containerMore = '') => `apiVersion: ${
  kind === 'Job' ? 'batch' : 'apps'
}/v1
kind: ${kind}
metadata: { name: web }
spec:
${indented(more, 2)}
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: main, image: a${containerMore} }]${podMore} }
`;

test('controllers select the pods that they make', async () => {
  const selector = 'selector: { matchLabels: { app: web } }';
  const deployment = (more: string, podMore?: string) => told(controller('Deployment', more, podMore));
  assert.deepEqual(await deployment(`${selector}\nreplicas: 2\nstrategy: {}`), []);
  assert.deepEqual(await deployment('selector: { matchLabels: { app: wbe } }'), [
    'x:7: spec.template.metadata.labels are not those that the selector selects',
  ]);
  assert.deepEqual(await deployment('selector: {}'), ['x:5: spec.selector is missing']);
  const expressions = '{ key: app, operator: In, values: [a, web] }, { key: x, operator: DoesNotExist }';
  assert.deepEqual(await deployment(`selector: { matchExpressions: [${expressions}] }`), []);
  assert.deepEqual(await deployment(`${selector}\nreplicas: -1`, ', restartPolicy: Never'), [
    'x:6: spec.replicas does not take -1: a whole number from 0 to 1000',
    'x:9: spec.template.spec.restartPolicy does not take Never here: Always',
  ]);
});

test('a job ends, and runs all of its pods at once', async () => {
  assert.deepEqual(await told(controller('Job', 'completions: 2')), [
    'x:8: spec.template.spec.restartPolicy does not take Always here: OnFailure or Never',
  ]);
  const more = 'completions: 3\nparallelism: 1\npodFailurePolicy: { rules: [] }';
  assert.deepEqual(await told(controller('Job', more, ', restartPolicy: Never')), [
    'x:6: spec.parallelism is less than completions: all pods of a job run at once here',
    'x:7: spec.podFailurePolicy is not supported: needs a controller that makes pods anew',
  ]);
});

test('a stateful set has volumes of its claims', async () => {
  const mount = ', volumeMounts: [{ name: data, mountPath: /data }]';
  const set = (claims: string) => {
    const more = `selector: { matchLabels: { app: web } }\nserviceName: web\nvolumeClaimTemplates: ${claims}`;
    return told(controller('StatefulSet', more, '', mount));
  };
  const claim = (name: string) =>
    `[{ metadata: { name: ${name} }, spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } } }]`;
  assert.deepEqual(await set(claim('data')), []);
  assert.deepEqual(await set(claim('dta')), [
    "x:10: spec.template.spec.containers[0].volumeMounts[0].name is no volume of the pod, 'data': one of dta",
  ]);
  assert.deepEqual(await set('[{ metadata: { name: data }, spec: { volumeMode: Block } }]'), [
    'x:7: spec.volumeClaimTemplates[0].spec.accessModes is missing: ReadWriteOnce, for one',
    'x:7: spec.volumeClaimTemplates[0].spec.volumeMode does not take Block: a claim is a directory',
    'x:7: spec.volumeClaimTemplates[0].spec.resources.requests.storage is missing',
  ]);
});

test('data has keys that are names of files, and no secret is shown', async () => {
  const object = (kind: string, more: string) =>
    `apiVersion: v1\nkind: ${kind}\nmetadata: { name: a }\n${more}\n`;
  assert.deepEqual(
    await told(object('ConfigMap', 'data: { a/b: x, c: y }'.replace('y', 'z') + '\nbinaryData: { c: AA== }')),
    ["x:4: data[a/b] does not take 'a/b': letters, digits, -, _ and .", 'x:4: data.c is in binaryData, too'],
  );
  assert.deepEqual(await told(object('Secret', 'stringData: { pin: 1234, list: [5678] }')), [
    'x:4: stringData.pin takes a text, in quotes',
    'x:4: stringData.list takes a text, in quotes',
  ]);
  assert.deepEqual(await told(object('Secret', 'data: { password: hunter2! }')), [
    'x:4: data.password takes base64',
  ]);
  assert.deepEqual(await told(object('Secret', 'type: kubernetes.io/tls\nstringData: { tls.crt: x }')), [
    'x:1: data[tls.key] is missing, for type: kubernetes.io/tls',
  ]);
  assert.deepEqual(
    await told(
      object('Secret', 'type: kubernetes.io/dockerconfigjson\nstringData: { .dockerconfigjson: "{" }'),
    ),
    ['x:5: stringData[.dockerconfigjson] is no JSON'],
  );
  assert.deepEqual(await told(object('ConfigMap', `data: { a: ${'x'.repeat(1024 * 1024 + 1)} }`)), [
    'x:1: has more than 1 MiB of data',
  ]);
});

test('no text is anything but objects or a refusal', async () => {
  const fragment = fc.constantFrom(
    'spec:\n',
    '  ',
    'containers: ',
    '- name: a\n',
    'volumes: ',
    '{',
    '}',
    '[',
    ']',
    ': ',
    '1',
    'null',
    '*a',
    '&a ',
    'kind: Job\n',
    'kind: StatefulSet\n',
    'apiVersion: v1\n',
    'template: ',
    'metadata: ',
    'resources: ',
    '---\n',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fragment, { maxLength: 20 }), async parts => {
      await told(parts.join(''));
      await told(pod(parts.join('')));
    }),
    { numRuns: 200 },
  );
});
