import assert from 'node:assert/strict';
import { test } from 'node:test';
import { podOf, uid } from '../../../../test/harness/pod-volumes.ts';
import { exceeded, storageLimits } from './usage.ts';

const mebibyte = 1024 ** 2;
const volume = (name: string) => `/var/lib/spawnlet/pods/${uid}/volumes/empty-dir/${name}`;

test('a pod is evicted for an emptyDir on the disk that holds more than its limit', () => {
  const pod = podOf([
    { name: 'open', emptyDir: {} },
    { name: 'small', emptyDir: { sizeLimit: '1Mi' } },
    { name: 'shm', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    { name: 'none', emptyDir: { sizeLimit: '0' } },
  ]);
  const limits = storageLimits(pod);
  assert.deepEqual(
    limits.map(({ paths }) => paths),
    [[volume('small')]],
  );
  const usage = (bytes: number) => new Map([[volume('small'), bytes]]);
  assert.equal(exceeded(limits, usage(mebibyte)), undefined);
  assert.equal(
    exceeded(limits, usage(mebibyte + 1)),
    'Usage of EmptyDir volume "small" exceeds the limit "1Mi". ',
  );
});

test('a limit of a container is on what it writes itself, one of the pod on all that its pod keeps', () => {
  const whole = podOf([{ name: 'open', emptyDir: {} }]);
  const [first] = whole.spec?.containers ?? [];
  assert.ok(first);
  const limited = { ...first, resources: { limits: { 'ephemeral-storage': '1Mi' } } };
  const pod = { ...whole, spec: { ...whole.spec, containers: [limited] } };
  const upper = `/var/lib/spawnlet/pods/${uid}/containers/${first.name}/upper`;
  const limits = storageLimits(pod);
  const said = (...usage: [path: string, bytes: number][]) => exceeded(limits, new Map(usage));
  assert.equal(said([upper, mebibyte]), undefined);
  assert.equal(
    said([upper, mebibyte / 2], [volume('open'), mebibyte]),
    'Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ',
  );
  const [, ofContainer] = limits;
  assert.equal(
    ofContainer && exceeded([ofContainer], new Map([[upper, mebibyte + 1]])),
    `Container ${first.name} exceeded its local ephemeral storage limit "1Mi". `,
  );
});
