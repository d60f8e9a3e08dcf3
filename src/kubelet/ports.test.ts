import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onBridge } from '../network/nat.ts';
import type { Pod } from '../pod/api/kubernetes.ts';
import { refuseTakenPorts } from './ports.ts';

const pod = (name: string, spec: Partial<NonNullable<Pod['spec']>> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default' },
  spec: {
    containers: [{ name: 'main', image: 'i', ports: [{ containerPort: 80, hostPort: 8080 }] }],
    ...spec,
  },
});

const nothing = { holders: [], listening: [] };

test('a port of the host that a container, a program or another pod has is refused by its name', () => {
  const one = pod('one');
  const network = onBridge('eth0', [], [{ protocol: 'tcp', hostPort: 8080, port: 1 }]);
  const container = { name: 'db', what: 'container', network } as const;
  assert.throws(() => refuseTakenPorts([one], [one], { ...nothing, holders: [container] }), {
    code: 'ERR_PORT_TAKEN',
    message: "port 8080/tcp is container db's",
  });
  const listener = { protocol: 'tcp', address: '*', port: 8080, owner: 'nginx' } as const;
  assert.throws(() => refuseTakenPorts([one], [one], { ...nothing, listening: [listener] }), {
    message: "port 8080/tcp is nginx's",
  });
  assert.throws(() => refuseTakenPorts([one], [one, pod('two')], nothing), {
    message: "port 8080/tcp is pod default/two's",
  });
});

test('its own port is no other’s, and a pod that has the host’s network listens itself', () => {
  const one = pod('one');
  refuseTakenPorts([one], [one], nothing);
  refuseTakenPorts([one], [one, pod('two', { hostNetwork: true })], nothing);
});
