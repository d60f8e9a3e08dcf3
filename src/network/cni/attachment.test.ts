import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Attachment, checkAttachment, environmentOf, inputOf } from './attachment.ts';
import type { NetworkList } from './list.ts';
import { parseResult, pluginFailed } from './result.ts';
import { addScript, delScript } from './script.ts';

const network: NetworkList = {
  cniVersion: '1.0.0',
  name: 'net',
  plugins: [{ type: 'bridge' }, { type: 'portmap', capabilities: { portMappings: true, dns: false } }],
};
const ports = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' as const }];
const attachment = (some: Partial<Attachment> = {}): Attachment => ({
  container: 'c1',
  netns: 'c1',
  interface: 'eth0',
  args: {},
  capabilities: {},
  path: ['/usr/lib/cni', '/opt/cni/bin'],
  ...some,
});

test('a plugin is told of what it takes, and of nothing else', () => {
  const asked = { portMappings: ports, dns: { servers: ['10.0.0.1'] } };
  const [bridge, portmap] = network.plugins.map(plugin => inputOf(network, plugin, asked));
  assert.deepEqual(bridge, { type: 'bridge', name: 'net', cniVersion: '1.0.0' });
  assert.deepEqual(portmap?.['runtimeConfig'], { portMappings: ports });
});

test('a namespace that is gone is named by an empty variable', () => {
  const args = { K8S_POD_NAME: 'web', IgnoreUnknown: '1' };
  assert.deepEqual(environmentOf('DEL', attachment({ args }), 'gone'), {
    CNI_COMMAND: 'DEL',
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: '',
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/usr/lib/cni:/opt/cni/bin',
    CNI_ARGS: 'K8S_POD_NAME=web;IgnoreUnknown=1',
  });
  assert.equal(environmentOf('ADD', attachment(), 'there').CNI_NETNS, '/run/spawnlet/netns/c1');
});

for (const [what, some, message] of [
  ['an ID with a slash', { container: '../c1' }, /"\.\.\/c1" is no ID/],
  ['a namespace with a slash', { netns: 'a/b' }, /is no name of a network namespace/],
  ['the loop-back', { interface: 'lo' }, /"lo" is no name of an interface/],
  ['an interface of 16 bytes', { interface: 'a123456789012345' }, /is no name of an interface/],
  ['an argument that ends another', { args: { A: '1;B=2' } }, /^A cannot be told/],
  ['what no plugin of the network takes', { capabilities: { mac: '02:00:00:00:00:01' } }, /takes no mac/],
] as const)
  test(`${what} is refused`, () => {
    assert.throws(() => checkAttachment(network, attachment(some)), { code: 'ERR_CNI_ATTACHMENT', message });
  });

test('plugins are run in order, and in reverse to take the container away, each with a result where there is one', () => {
  const programs = new Map([
    ['bridge', '/usr/lib/cni/bridge'],
    ['portmap', '/opt/cni/bin/portmap'],
  ]);
  const calls = (script: string) => script.match(/^plugin \S+ \S+$/gm);
  const add = addScript('/d', network, attachment(), programs);
  assert.deepEqual(calls(add), ['plugin bridge /usr/lib/cni/bridge', 'plugin portmap /opt/cni/bin/portmap']);
  assert.equal(add.match(/"prevResult"/g)?.length, 1);
  const del = delScript('/d', network, attachment(), programs, 'there');
  assert.deepEqual(calls(del)?.toReversed(), calls(add));
  assert.equal(del.match(/"prevResult"/g)?.length, 2);
  const old = delScript('/d', { ...network, cniVersion: '0.3.1' }, attachment(), programs, 'there');
  assert.doesNotMatch(old, /prevResult/);
});

test('what a result gives is read, with and without the fields that may be left out', () => {
  const ips = [{ version: '4', address: '10.1.0.2/24', gateway: '10.1.0.1' }, { address: 'fd00::2/64' }];
  assert.deepEqual(parseResult(JSON.stringify({ cniVersion: '0.4.0', ips, dns: { search: ['a'] } })), {
    addresses: [{ address: '10.1.0.2/24', gateway: '10.1.0.1' }, { address: 'fd00::2/64' }],
    dns: { nameservers: [], search: ['a'], options: [] },
  });
  assert.deepEqual(parseResult('{}').addresses, []);
});

test('a failed plugin is told in its own words, with a hint for the codes of the specification', () => {
  const failed = (stdout: string, stderr = '', code = 1) =>
    pluginFailed({ network: 'net', plugin: 'bridge', command: 'ADD', code, stdout, stderr });
  const known = failed('{"code":7,"msg":"bad mtu","details":"-1"}');
  assert.match(known.message, /plugin bridge of network net did not connect: bad mtu: -1 \(code 7\)/);
  assert.match(known.hint ?? '', /\.conflist/);
  assert.match(failed('{"code":999,"msg":"no IP addresses available in range set"}').hint ?? '', /used up/);
  assert.match(failed('', 'panic\nout of memory\n', 2).message, /: out of memory \(exit code 2\)/);
  assert.match(failed('', '', 127).hint ?? '', /containernetworking-plugins/);
});
