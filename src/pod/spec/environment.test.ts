import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { ConfigMap, Container, EnvVar, Pod, Secret } from '../api/kubernetes.ts';
import { commandOf, environmentOf, type Sources } from './environment.ts';
import { containerResource, type PodFacts, podField, subscripted } from './variables/downward.ts';
import { variableOfFile } from './variables/env-file.ts';
import { serviceVariables } from './variables/services.ts';

const facts: PodFacts = {
  nodeName: 'node1',
  hostIPs: ['192.0.2.1', '2001:db8::1'],
  podIPs: ['10.88.0.5', 'fd00::5'],
  allocatable: { cpu: '4', memory: '8Gi' },
};
const metadata = {
  name: 'web',
  namespace: 'shop',
  uid: 'u-1',
  labels: { b: 'x', 'a.b/c': 'say "hi"\n\u0007\u200b😀é\\' },
  annotations: { 'Example.org/Note': 'n' },
};
const pod = (container: Partial<Container>, more: Partial<Container>[] = []): Pod => ({
  metadata,
  spec: {
    containers: [{ name: 'main', ...container }, ...more.map((each, at) => ({ name: `c${at}`, ...each }))],
    serviceAccountName: 'bob',
  },
});

const configMaps: { [name: string]: ConfigMap } = {
  settings: { data: { PORT: '80', 'odd.key-1': 'o' }, binaryData: { blob: 'AA==' } },
};
const secrets: { [name: string]: Secret } = { login: { data: { USER: 'Ym9i', PASS: 'c2VjcmV0' } } };

const sources = (more: Partial<Sources> = {}): Sources => ({
  configMap: name => configMaps[name],
  secret: name => secrets[name],
  file: () => undefined,
  services: new Map(),
  ...more,
});

function resolve(container: Partial<Container>, more: Partial<Sources> = {}): unknown {
  const each = pod(container);
  const environment = environmentOf(each, each.spec?.containers[0] ?? { name: '' }, sources(more), facts);
  return environment.kind === 'resolved' ? Object.fromEntries(environment.variables) : environment.message;
}

test('variables come of envFrom, then of env, and a value uses those before it', () => {
  const env: EnvVar[] = [
    { name: 'A', value: 'port $(PORT)' },
    { name: 'B', value: '$(A), $(C), $$(A)' },
    { name: 'C', value: 'later' },
    { name: 'PORT', value: '81' },
    { name: 'D', value: '$(PORT) $(KUBE)' },
    { name: 'E' },
  ];
  const envFrom = [{ configMapRef: { name: 'settings' } }, { prefix: 'DB_', secretRef: { name: 'login' } }];
  const services = new Map([
    ['KUBE', 'yes'],
    ['A', 'hidden'],
  ]);
  assert.deepEqual(resolve({ env, envFrom }, { services }), {
    PORT: '81',
    'odd.key-1': 'o',
    DB_USER: 'bob',
    DB_PASS: 'secret',
    A: 'port 80',
    B: 'port 80, $(C), $(A)',
    C: 'later',
    D: '81 yes',
    E: '',
    KUBE: 'yes',
  });
});

test('a key of a ConfigMap or of a Secret, which is decoded', () => {
  const env = [
    { name: 'A', valueFrom: { configMapKeyRef: { name: 'settings', key: 'PORT' } } },
    { name: 'B', valueFrom: { secretKeyRef: { name: 'login', key: 'PASS' } } },
    { name: 'C', valueFrom: { secretKeyRef: { name: 'login', key: 'NO', optional: true } } },
    { name: 'D', valueFrom: { configMapKeyRef: { name: 'no', key: 'NO', optional: true } } },
  ];
  const envFrom = [
    { configMapRef: { name: 'no', optional: true } },
    { secretRef: { name: 'no', optional: true } },
  ];
  assert.deepEqual(resolve({ env, envFrom }), { A: '80', B: 'secret' });
});

test('what is missing is told in the words that Kubernetes has for it', () => {
  const one = (valueFrom: NonNullable<EnvVar['valueFrom']>) => resolve({ env: [{ name: 'A', valueFrom }] });
  assert.equal(one({ configMapKeyRef: { name: 'no', key: 'k' } }), 'configmap "no" not found');
  assert.equal(one({ secretKeyRef: { name: 'no', key: 'k' } }), 'secret "no" not found');
  assert.equal(
    one({ configMapKeyRef: { name: 'settings', key: 'no' } }),
    "couldn't find key no in ConfigMap shop/settings",
  );
  assert.equal(
    one({ secretKeyRef: { name: 'login', key: 'no' } }),
    "couldn't find key no in Secret shop/login",
  );
  assert.equal(resolve({ envFrom: [{ secretRef: { name: 'no' } }] }), 'secret "no" not found');
  assert.equal(
    one({ resourceFieldRef: { containerName: 'no', resource: 'limits.cpu' } }),
    'container no not found',
  );
  assert.equal(resolve({ env: [{ name: 'A', value: 'a\0b' }] }), 'the value of A has a NUL character');
});

test('all fields of the pod that can be told are told', () => {
  const told = (fieldPath: string) => podField(pod({}), fieldPath, facts);
  for (const [path, value] of [
    ['metadata.name', 'web'],
    ['metadata.namespace', 'shop'],
    ['metadata.uid', 'u-1'],
    ["metadata.labels['b']", 'x'],
    ["metadata.labels['none']", ''],
    ["metadata.annotations['Example.org/Note']", 'n'],
    ['metadata.labels', 'a.b/c="say \\"hi\\"\\n\\a\\u200b😀é\\\\"\nb="x"'],
    ['metadata.annotations', 'Example.org/Note="n"'],
    ['spec.nodeName', 'node1'],
    ['spec.serviceAccountName', 'bob'],
    ['status.hostIP', '192.0.2.1'],
    ['status.hostIPs', '192.0.2.1,2001:db8::1'],
    ['status.podIP', '10.88.0.5'],
    ['status.podIPs', '10.88.0.5,fd00::5'],
  ] as const)
    assert.equal(told(path), value, path);
  assert.deepEqual(subscripted("metadata.annotations['a[b]c']"), ['metadata.annotations', 'a[b]c']);
  assert.deepEqual(subscripted("metadata.labels['']"), ['metadata.labels', '']);
  assert.equal(subscripted('metadata.labels'), undefined);
});

test('resources are told in units of the divisor, rounded up, and a missing limit is what there is', () => {
  const each = pod({ resources: { requests: { cpu: '250m', memory: '100Mi' }, limits: { memory: '1Gi' } } }, [
    { resources: { limits: { cpu: '1500m' } } },
  ]);
  const told = (resource: string, divisor?: string, containerName?: string, of = each) =>
    containerResource(
      of,
      of.spec?.containers[0] ?? { name: '' },
      {
        resource,
        ...(divisor !== undefined && { divisor }),
        ...(containerName !== undefined && { containerName }),
      },
      facts,
    );
  assert.equal(told('requests.cpu'), '1');
  assert.equal(told('requests.cpu', '1m'), '250');
  assert.equal(told('requests.memory', '1Gi'), '1');
  assert.equal(told('limits.memory', '1Mi'), '1024');
  assert.equal(told('limits.memory', '0'), String(1024 ** 3));
  assert.equal(told('limits.cpu'), '4');
  assert.equal(told('limits.cpu', '1m', 'c0'), '1500');
  assert.equal(told('requests.ephemeral-storage'), '0');
  assert.equal(told('limits.cpu', '1', 'no'), undefined);
  const whole = {
    ...each,
    spec: { containers: each.spec?.containers ?? [], resources: { limits: { cpu: '2' } } },
  };
  assert.equal(told('limits.cpu', '1', '', whole), '2');
});

test('a file of variables is read as the shell would, for what it may say', () => {
  const text = `# comment\n\n  A='one' # more\nB='two\nlines'\r\nC= 'x'\nD=''\nE='a#b'\n`;
  const value = (name: string, of = text) => {
    const found = variableOfFile(of, name);
    return found.kind === 'found'
      ? found.value
      : found.kind === 'wrong'
        ? `${found.line} ${found.why}`
        : undefined;
  };
  assert.deepEqual(
    ['A', 'B', 'C', 'D', 'E', 'F'].map(name => value(name)),
    ['one', 'two\nlines', undefined, undefined, 'a#b', undefined],
  );
  assert.equal(value('A', 'nothing\n'), "1 has no '='");
  assert.equal(value('A', '\n=x\n'), "2 has no name before '='");
  assert.equal(value('A', 'A =x'), "1 has a space before '='");
  assert.equal(value('A', 'B=x'), '1 has a value that is not in single quotes');
  assert.equal(value('A', "B='x\ny\n"), '1 has a quote that is not closed');
  assert.equal(value('A', "B='x'y"), '1 has something behind its value');
  assert.equal(value('A', "A='x'\nnonsense"), 'x');
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...Array.from("AB='\n\r\t #x")) }), each => {
      variableOfFile(each, 'A');
    }),
  );
});

test('a variable of a file that a container of the pod wrote', () => {
  const file = (volume: string, path: string) => (volume === 'v' && path === 'a.env' ? "A='1'\n" : undefined);
  const one = (path: string, key: string, optional = false) =>
    resolve(
      { env: [{ name: 'X', valueFrom: { fileKeyRef: { volumeName: 'v', path, key, optional } } }] },
      { file },
    );
  assert.deepEqual(one('a.env', 'A'), { X: '1' });
  assert.deepEqual(one('a.env', 'B', true), {});
  assert.equal(
    one('a.env', 'B'),
    'environment variable key "B" not found in the file "a.env" of the volume "v"',
  );
  assert.equal(one('b.env', 'A', true), 'couldn\'t read the file "b.env" of the volume "v"');
});

test('services are told to the pods of their namespace, the API server to all', () => {
  const service = (name: string, namespace: string, clusterIP: string, ports = [{ port: 80 }]) => ({
    metadata: { name, namespace },
    spec: { clusterIP, ports },
  });
  const all = [
    service('kubernetes', 'default', '10.0.0.1', [{ port: 443 }]),
    {
      metadata: { name: 'my-db', namespace: 'shop' },
      spec: {
        clusterIP: 'fd00::9',
        ports: [
          { port: 5432, name: 'pg-main' },
          { port: 53, protocol: 'UDP', name: 'dns' },
        ],
      },
    },
    service('headless', 'shop', 'None'),
    service('other', 'elsewhere', '10.0.0.3'),
  ];
  assert.deepEqual(Object.fromEntries(serviceVariables(all, 'shop', true)), {
    KUBERNETES_SERVICE_HOST: '10.0.0.1',
    KUBERNETES_SERVICE_PORT: '443',
    KUBERNETES_PORT: 'tcp://10.0.0.1:443',
    KUBERNETES_PORT_443_TCP: 'tcp://10.0.0.1:443',
    KUBERNETES_PORT_443_TCP_PROTO: 'tcp',
    KUBERNETES_PORT_443_TCP_PORT: '443',
    KUBERNETES_PORT_443_TCP_ADDR: '10.0.0.1',
    MY_DB_SERVICE_HOST: 'fd00::9',
    MY_DB_SERVICE_PORT: '5432',
    MY_DB_PORT: 'tcp://[fd00::9]:5432',
    MY_DB_SERVICE_PORT_PG_MAIN: '5432',
    MY_DB_PORT_5432_TCP: 'tcp://[fd00::9]:5432',
    MY_DB_PORT_5432_TCP_PROTO: 'tcp',
    MY_DB_PORT_5432_TCP_PORT: '5432',
    MY_DB_PORT_5432_TCP_ADDR: 'fd00::9',
    MY_DB_SERVICE_PORT_DNS: '53',
    MY_DB_PORT_53_UDP: 'udp://[fd00::9]:53',
    MY_DB_PORT_53_UDP_PROTO: 'udp',
    MY_DB_PORT_53_UDP_PORT: '53',
    MY_DB_PORT_53_UDP_ADDR: 'fd00::9',
  });
  assert.equal(serviceVariables(all, 'shop', false).size, 7);
});

test('command and arguments have the values in them, and are the image’s if there are none', () => {
  const variables = new Map([['A', 'x y']]);
  const container = { name: 'c', command: ['/bin/echo', '$(A)'], args: [] };
  assert.deepEqual(commandOf(container, variables), { command: ['/bin/echo', 'x y'], args: undefined });
  assert.deepEqual(commandOf({ name: 'c', args: ['$(B)', '$$(A)'] }, variables), {
    command: undefined,
    args: ['$(B)', '$(A)'],
  });
});
