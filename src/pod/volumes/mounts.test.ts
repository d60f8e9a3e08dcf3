import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { container, factsWith, plainFacts, podOf, uid } from '../../../test/harness/pod-volumes.ts';
import type { Volume, VolumeMount } from '../api/kubernetes.ts';
import { mountsOf, planSubPaths } from './mounts.ts';

const pod = `/var/lib/spawnlet/pods/${uid}`;
const empty: Volume = { name: 'v', emptyDir: {} };

function mountOf(volume: Volume, mount: Partial<VolumeMount> = {}, facts = plainFacts) {
  const main = container('main', { name: volume.name, mountPath: '/v', ...mount });
  const [found] = mountsOf(podOf([volume], { containers: [main] }), main, facts);
  assert.equal(found?.kind, 'bind');
  return found;
}

function stepsOf(volume: Volume, mount: Partial<VolumeMount>, facts = plainFacts) {
  const main = container('main', { name: volume.name, mountPath: '/v', ...mount });
  return planSubPaths(podOf([volume], { containers: [main] }), main, facts);
}

describe('a mount', () => {
  test('of a whole volume is bound from the volume’s own place', () => {
    assert.deepEqual(mountOf(empty), {
      kind: 'bind',
      source: `${pod}/volumes/empty-dir/v`,
      target: '/v',
      readOnly: false,
      propagation: 'rprivate',
    });
    assert.equal(mountOf(empty, { mountPath: 'data' }).target, '/data');
    assert.equal(mountOf({ name: 'v', hostPath: { path: '/srv/x' } }).source, '/srv/x');
  });

  test('is read-only if it says so, or if nothing is ever written to such a volume', () => {
    const claims = factsWith({
      claims: new Map([['c', { kind: 'directory' }]]),
      images: new Map([['v', ['l']]]),
    });
    const claim = { claimName: 'c', readOnly: true };
    assert.equal(mountOf(empty, { readOnly: true }).readOnly, true);
    for (const volume of [
      { name: 'v', configMap: { name: 'a' } },
      { name: 'v', secret: { secretName: 'a' } },
      { name: 'v', image: { reference: 'i' } },
      { name: 'v', persistentVolumeClaim: claim },
      { name: 'v', nfs: { server: 's', path: '/', readOnly: true } },
    ])
      assert.equal(mountOf(volume, {}, claims).readOnly, true, JSON.stringify(volume));
  });

  test('is read-only with all below it where the host can do that', () => {
    const old = factsWith({ recursiveReadOnly: false });
    const wanted = (recursiveReadOnly: string) => ({ readOnly: true, recursiveReadOnly });
    assert.equal(mountOf(empty, wanted('Enabled')).readOnly, 'recursive');
    assert.equal(mountOf(empty, wanted('IfPossible')).readOnly, 'recursive');
    assert.equal(mountOf(empty, wanted('Disabled')).readOnly, true);
    assert.equal(mountOf(empty, wanted('IfPossible'), old).readOnly, true);
    assert.throws(() => mountOf(empty, wanted('Enabled'), old), { code: 'ERR_VOLUME_READ_ONLY' });
  });

  test('hears of the host’s mounts, or the host of its, by Kubernetes’ words', () => {
    assert.equal(mountOf(empty, { mountPropagation: 'HostToContainer' }).propagation, 'rslave');
    assert.equal(mountOf(empty, { mountPropagation: 'Bidirectional' }).propagation, 'rshared');
    assert.equal(mountOf(empty, { mountPropagation: 'None' }).propagation, 'rprivate');
  });
});

describe('a subPath', () => {
  test('is bound to a place of the container’s, from which it is mounted', () => {
    assert.equal(mountOf(empty, { subPath: 'a/b' }).source, `${pod}/subpaths/main/0`);
    assert.deepEqual(stepsOf(empty, { subPath: 'a/b' }), [
      { do: 'make-directory', path: `${pod}/subpaths`, mode: 0o700 },
      { do: 'make-directory', path: `${pod}/subpaths/main`, mode: 0o700 },
      {
        do: 'bind-subpath',
        volume: 'v',
        root: `${pod}/volumes/empty-dir/v`,
        subPath: 'a/b',
        path: `${pod}/subpaths/main/0`,
        make: true,
      },
    ]);
    assert.deepEqual(stepsOf(empty, {}), []);
  });

  test('has a place that is no longer in a unit’s name than systemd takes', () => {
    const main = container(`a${'-'.repeat(61)}b`, { name: 'v', mountPath: '/v', subPath: 'a' });
    const [mount] = mountsOf(podOf([empty], { containers: [main] }), main, plainFacts);
    assert.match(mount?.kind === 'bind' ? mount.source : '', /\/subpaths\/a-{11}_[0-9a-f]{12}\/0$/);
  });

  test('of an image is not made', () => {
    const facts = factsWith({ images: new Map([['v', ['l']]]) });
    const [, , bind] = stepsOf({ name: 'v', image: { reference: 'i' } }, { subPath: 'a' }, facts);
    assert.equal(bind?.do === 'bind-subpath' && bind.make, false);
  });

  test('has the variables of the container in it, and they cannot lead out', () => {
    const facts = factsWith({
      variables: new Map(Object.entries({ NAME: 'web-0', UP: '../x', ROOT: '/x', NO: '' })),
    });
    const [, , bind] = stepsOf(empty, { subPathExpr: 'logs/$(NAME)' }, facts);
    assert.equal(bind?.do === 'bind-subpath' && bind.subPath, 'logs/web-0');
    for (const subPathExpr of ['$(UP)', 'a/$(UP)', '$(ROOT)', '$(NONE)'])
      assert.throws(() => stepsOf(empty, { subPathExpr }, facts), { code: 'ERR_SUBPATH' }, subPathExpr);
    assert.equal(mountOf(empty, { subPathExpr: '$(NO)' }, facts).source, `${pod}/volumes/empty-dir/v`);
  });
});
