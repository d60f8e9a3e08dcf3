// The host of pods is restarted: they come back as they were told to, and nothing of the old boot is believed in.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Pod } from '../../src/pod/api/kubernetes.ts';
import { eventually } from '../app/tools.ts';
import { busyboxImage, writeLayout } from '../harness/images.ts';
import { checkout, useLab } from '../harness/lab.ts';
import { isReady, podOf } from './agent.ts';

const spawnlet = join(checkout, 'bin/spawnlet');
const image = 'localhost/images:box';
const forever = 'trap "exit 0" TERM; while :; do sleep 0.05; done';
/** Room for five pods beside the bridge. */
const range = '10.89.0.0/29';
const container = (script: string) => ({ name: 'main', image, command: ['sh', '-c', script] });

test('pods come back after a boot with their restart counts, finished ones do not run again, no address is lost', async t => {
  const directory = await mkdtemp('/tmp/pods-boot-');
  try {
    await writeLayout(join(directory, 'images'), { box: await busyboxImage() });
    await mkdir(join(directory, 'manifests'));
    for (const [name, pod] of [
      ['stays', podOf('stays', [container(forever)])],
      ['once', podOf('once', [container('true')], { restartPolicy: 'Never' })],
    ] as const)
      await writeFile(join(directory, 'manifests', `${name}.yaml`), JSON.stringify(pod));
    await using lab = await useLab({
      packages: ['containernetworking-plugins', 'nftables'],
      binds: [`${directory}:${directory}:ro`],
      test: t,
    });
    const pods = async () => JSON.parse(await lab.read([spawnlet, 'pod', 'ls', '-o', 'json'])) as Pod[];
    const named = async (name: string) => (await pods()).find(({ metadata }) => metadata?.name === name);
    const settled = () =>
      eventually(async () => {
        const [stays, once] = await Promise.all(['stays', 'once'].map(named));
        return stays?.status && isReady(stays.status) && once?.status?.phase === 'Succeeded'
          ? stays
          : undefined;
      }, `the pods are as they should be`).catch(async cause => {
        throw new Error(JSON.stringify(await pods(), undefined, 1), { cause });
      });
    await lab.read([spawnlet, 'image', 'pull', `oci:${directory}/images:box`]);
    await lab.read(['cp', '-r', `${directory}/manifests`, '/etc/spawnlet-manifests']);
    await lab.read([
      spawnlet,
      'kubelet',
      'install',
      '--pod-manifest-path',
      '/etc/spawnlet-manifests',
      '--pod-cidr',
      range,
    ]);
    const first = await settled();
    const once = await named('once');
    for (let boot = 1; boot <= 3; boot++) {
      await lab.reboot();
      const later = await eventually(async () => {
        const found = await settled();
        return found.status?.containerStatuses?.[0]?.restartCount === boot ? found : undefined;
      }, `the container was started again after boot ${boot}`);
      assert.equal(later.metadata?.uid, first.metadata?.uid);
      assert.equal(later.status?.startTime, first.status?.startTime);
    }
    assert.deepEqual((await named('once'))?.status?.containerStatuses, once?.status?.containerStatuses);
    const leases = await lab.read(['sh', '-c', 'ls /run/spawnlet/cni/spawnlet-pods | grep ^10']);
    const { podIP } = (await named('stays'))?.status ?? {};
    assert.match(podIP ?? '', /^10\.89\.0\.[2-6]$/);
    assert.equal(leases, `${podIP}\n`);
    assert.match(await lab.read(['systemctl', 'is-active', 'spawnlet-kubelet']), /^active$/m);
    await lab.read([spawnlet, 'kubelet', 'uninstall']);
    assert.equal((await lab.exec(['systemctl', 'cat', 'spawnlet-kubelet'])).code, 1);
  } finally {
    await rm(directory, { recursive: true });
  }
});
