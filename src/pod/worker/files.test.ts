import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node } from './dependencies.ts';
import { knownAsText, resolvText } from './files.ts';

const node = { name: 'node', dns: { servers: [], domain: 'cluster.local' } } as unknown as Node;
const named = { ...node, dns: { servers: ['10.88.0.1'], domain: 'cluster.local' } };
const identity = { namespace: 'shop', name: 'web-0', uid: 'u' };
const pod = (spec: object) => ({ metadata: {}, spec: { containers: [], ...spec } });

test('a pod is known by its name in its namespace, and by its addresses', () => {
  assert.equal(
    knownAsText(pod({}), identity, node, ['10.88.0.5', 'fd00::5']),
    '10.88.0.5 web-0.shop.pod.cluster.local web-0.shop.pod web-0.shop.svc.cluster.local 10-88-0-5.shop.pod.cluster.local\n' +
      'fd00::5 web-0.shop.pod.cluster.local web-0.shop.pod web-0.shop.svc.cluster.local fd00--5.shop.pod.cluster.local\n',
  );
});

test('hostname and subdomain are those of a headless service', () => {
  const [, ...names] = knownAsText(pod({ hostname: 'first', subdomain: 'web' }), identity, node, [
    '10.88.0.5',
  ])
    .trim()
    .split(' ');
  assert.ok(names.includes('first.web.shop.svc.cluster.local'));
  assert.ok(names.includes('web.shop.svc.cluster.local'));
});

test('what DNS does not take is no name', () => {
  const long = { ...identity, name: 'a'.repeat(64) };
  assert.equal(
    knownAsText(pod({}), long, node, ['10.88.0.5']),
    '10.88.0.5 10-88-0-5.shop.pod.cluster.local\n',
  );
  assert.equal(knownAsText(pod({}), identity, node, []), '');
});

test('who asks for names of pods is the pod that has the policy for it', () => {
  const host = 'nameserver 192.0.2.1\nsearch example.org\n';
  const text = (spec: object, at: Node = named) => resolvText(pod(spec), identity, at, host);
  const cluster =
    'nameserver 10.88.0.1\nsearch shop.svc.cluster.local svc.cluster.local cluster.local example.org\noptions ndots:5\n';
  const own = 'nameserver 192.0.2.1\nsearch example.org\n';
  assert.equal(text({}), cluster);
  assert.equal(text({ dnsPolicy: 'Default' }), own);
  assert.equal(text({ hostNetwork: true }), own);
  assert.equal(text({ hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' }), cluster);
  assert.equal(text({}, node), own);
});
