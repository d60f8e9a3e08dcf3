import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agentFinding, pluginFinding } from './doctor.ts';

test('an agent that is installed and does not run is missing; one that nobody installed is a note', () => {
  assert.equal(agentFinding(true, 'active', false).verdict, 'ok');
  assert.equal(agentFinding(false, 'inactive', true).verdict, 'ok');
  assert.equal(agentFinding(true, 'failed', false).verdict, 'missing');
  assert.match(agentFinding(true, 'failed', false).fix ?? '', /systemctl start spawnlet-kubelet.service/);
  const none = agentFinding(false, 'inactive', false);
  assert.deepEqual([none.verdict, none.fix], ['note', 'spawnlet kubelet install']);
});

test('plugins that are not there are missing to who has an agent, and are named with their package', () => {
  assert.equal(pluginFinding(true, []).verdict, 'ok');
  const { verdict, finding, fix } = pluginFinding(true, ['bridge', 'host-local']);
  assert.deepEqual([verdict, fix], ['missing', 'apt-get install containernetworking-plugins']);
  assert.match(finding, /bridge and host-local are not in \/usr\/lib\/cni/);
  assert.equal(pluginFinding(false, ['bridge']).verdict, 'note');
});
