import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldsOf, isTypeName, type PodSpec, type SecurityContext } from '../api/kubernetes.ts';
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
    'spec.hostUsers is not supported by the engine nspawn: systemd-nspawn makes users of its own, and joins no others',
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

test('systemd-nspawn lets privileges grow where there is no filter alone', () => {
  const pod = (securityContext: SecurityContext): PodSpec => ({
    containers: [{ name: 'a', securityContext }],
  });
  const grows = { allowPrivilegeEscalation: true };
  assert.deepEqual(told('nspawn', pod(grows)), [
    'spec.containers[0].securityContext is not supported by the engine nspawn: with a filter of system calls systemd-nspawn lets no privileges grow',
  ]);
  for (const more of [
    { allowPrivilegeEscalation: false },
    { ...grows, privileged: true },
    { ...grows, seccompProfile: { type: 'Unconfined' } },
  ] as const)
    assert.deepEqual(told('nspawn', pod(more)), []);
  assert.deepEqual(told('crun', pod(grows)), []);
});

test('limits are of fields of the API', () => {
  for (const { field } of engineLimits) {
    const [type = '', name = ''] = field.split('.');
    assert.ok(isTypeName(type) && fieldsOf(type).has(name), field);
  }
});
