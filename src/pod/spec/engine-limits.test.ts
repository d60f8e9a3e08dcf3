import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldsOf, isTypeName, type PodSpec } from '../api/kubernetes.ts';
import { engineLimits, type PodEngine, refusedBy } from './engine-limits.ts';
import { pathText } from './path.ts';

const told = (engine: PodEngine, spec: PodSpec) =>
  refusedBy(engine, spec).map(({ path, text }) => `${pathText(path)} ${text}`);

test('what an engine cannot give is refused by name, wherever it is', () => {
  const spec: PodSpec = {
    containers: [
      { name: 'a', volumeMounts: [{ name: 'v', mountPath: '/v', mountPropagation: 'Bidirectional' }] },
    ],
    initContainers: [{ name: 'b', securityContext: { appArmorProfile: { type: 'RuntimeDefault' } } }],
    securityContext: { appArmorProfile: { type: 'Unconfined' }, sysctls: [{ name: 'net.a', value: '1' }] },
    hostUsers: false,
  };
  assert.deepEqual(told('crun', spec), [
    'spec.initContainers[0].securityContext.appArmorProfile is not supported by the engine crun: not there yet: there is no default profile of AppArmor; one that the host has loaded is Localhost',
  ]);
  assert.deepEqual(told('nspawn', spec), [
    'spec.containers[0].volumeMounts[0].mountPropagation is not supported by the engine nspawn: systemd-nspawn lets no mount out of a container',
    'spec.initContainers[0].securityContext.appArmorProfile is not supported by the engine nspawn: systemd-nspawn gives containers no profile of AppArmor',
  ]);
  assert.deepEqual(
    told('host', spec).map(line => line.split(' ', 1)[0]),
    [
      'spec.containers[0].volumeMounts[0].mountPropagation',
      'spec.initContainers[0].securityContext.appArmorProfile',
      'spec.securityContext.sysctls',
      'spec.hostUsers',
    ],
  );
  assert.deepEqual(told('host', { containers: [{ name: 'a' }], securityContext: { sysctls: [] } }), []);
});

test('the user of Windows that systemk names is taken by the engine host alone, and nothing else of Windows', () => {
  const named: PodSpec = {
    containers: [{ name: 'a', securityContext: { windowsOptions: { runAsUserName: 'games' } } }],
  };
  assert.deepEqual(told('host', named), []);
  assert.equal(told('crun', named).length, 1);
});

test('limits are of fields of the API', () => {
  for (const { field } of engineLimits) {
    const [type = '', name = ''] = field.split('.');
    assert.ok(isTypeName(type) && fieldsOf(type).has(name), field);
  }
});
