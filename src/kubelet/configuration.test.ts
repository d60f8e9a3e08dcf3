import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfiguration } from './configuration.ts';

const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';
const read = (text: string) => parseConfiguration(`${head}${text}`, 'k.yaml');
const told = async (text: string) =>
  read(text).then(
    () => [],
    (error: Error) => error.message.split('\n').map(line => line.trim().replace(/^k\.yaml:/, '')),
  );

test('what means something here is read', async () => {
  const text = `staticPodPath: /srv/pods
podCIDR: 10.20.0.0/16,fd00:20::/64
clusterDNS: [10.0.0.10, "fd00::a"]
clusterDomain: example.org
podPidsLimit: 512
resolvConf: /etc/other.conf
crashLoopBackOff: {maxContainerRestartPeriod: 30s}
cgroupDriver: systemd
seccompDefault: true
`;
  assert.deepEqual(await read(text), {
    staticPodPath: '/srv/pods',
    podRange: { v4: '10.20.0.0/16', v6: 'fd00:20::/64' },
    clusterDNS: ['10.0.0.10', 'fd00::a'],
    clusterDomain: 'example.org',
    podPidsLimit: 512,
    resolvConf: '/etc/other.conf',
    maxContainerRestartPeriod: 30_000,
  });
});

test('what does nothing here is taken as the kubelet has it by itself, or as nothing', async () => {
  const text = `maxPods: 110
syncFrequency: 1m
fileCheckFrequency: 0s
evictionPressureTransitionPeriod: 300s
enforceNodeAllocatable: [pods]
failSwapOn: true
memorySwap: {}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}}, verbosity: 0}
podPidsLimit: -1
clusterDNS: []
`;
  assert.deepEqual(await read(text), await read(''));
});

test('anything else is refused, with its line and what would be right', async () => {
  const text = `maxPods: 200
evictionHard: {memory.available: 100Mi}
clusterDns: [10.0.0.10]
podCIDR: 10.20.0.0
podPidsLimit: -5
cgroupDriver: cgroupfs
crashLoopBackOff: {maxContainerRestartPeriod: 1h}
staticPodPath: pods
`;
  assert.deepEqual(await told(text), [
    '3: maxPods is not supported, but as 110: it does nothing here',
    '4: evictionHard is not supported: it does nothing here',
    '5: clusterDns is not known: is clusterDNS meant?',
    '6: podCIDR takes a network such as 10.20.0.0/16, and with a comma one of IPv6',
    '7: podPidsLimit takes a number of processes, or -1 for no limit',
    '8: cgroupDriver takes systemd alone: limits are those of units',
    '9: crashLoopBackOff takes a maxContainerRestartPeriod from 1s to 300s',
    '10: staticPodPath takes an absolute path',
  ]);
});

test('a file of another kind, or of none, is no configuration', async () => {
  for (const text of ['', 'kind: Pod\napiVersion: v1\n', '- a\n', 'a: [', `${head}---\n${head}`])
    await assert.rejects(parseConfiguration(text, 'k.yaml'), /^SpawnletError: k\.yaml:\d+: /, text);
});
