import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeFiles } from '../../host/files.ts';
import type { AppArmorProfile, Pod } from '../api/kubernetes.ts';
import { privilegesOf } from '../container/security.ts';
import { rejectionOf } from './admission.ts';

const profile = { type: 'Localhost', localhostProfile: 'mine' };
const main = { name: 'main' };
const pods: Readonly<Record<'nothing' | 'off' | 'pod' | 'container', Pod>> = {
  nothing: { spec: { containers: [main] } },
  off: { spec: { containers: [main], securityContext: { appArmorProfile: { type: 'Unconfined' } } } },
  pod: { spec: { containers: [main], securityContext: { appArmorProfile: profile } } },
  container: {
    spec: {
      containers: [main],
      initContainers: [{ name: 'first', securityContext: { appArmorProfile: profile } }],
    },
  },
};

async function hostWith(text: string | undefined): Promise<FakeFiles> {
  const files = new FakeFiles();
  const directory = '/sys/module/apparmor/parameters';
  await files.makeDirectory(directory, 0o755);
  if (text !== undefined) await files.write(`${directory}/enabled`, text, 0o444);
  return files;
}

test('a pod that names a profile of AppArmor is rejected by a host without it, and by no other', async () => {
  for (const [text, isRejected] of [
    [undefined, true],
    ['N\n', true],
    ['Y\n', false],
  ] as const) {
    const files = await hostWith(text);
    assert.equal(await rejectionOf(files, pods.nothing), undefined);
    assert.equal(await rejectionOf(files, pods.off), undefined);
    for (const pod of [pods.pod, pods.container])
      assert.equal((await rejectionOf(files, pod))?.reason, isRejected ? 'AppArmor' : undefined);
  }
});

test('the profile is the container’s, else the pod’s', () => {
  const profiles = { standard: { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [] }, local: {} };
  const of = (pod: Pod, own?: AppArmorProfile) =>
    privilegesOf(pod, { ...main, ...(own && { securityContext: { appArmorProfile: own } }) }, profiles, '0')
      .appArmor;
  assert.equal(of(pods.nothing), undefined);
  assert.equal(of(pods.pod), 'mine');
  assert.equal(of(pods.pod, { type: 'Unconfined' }), undefined);
  assert.equal(of(pods.nothing, { type: 'Localhost', localhostProfile: 'own' }), 'own');
});
