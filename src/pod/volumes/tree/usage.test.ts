import assert from 'node:assert/strict';
import { test } from 'node:test';
import { podOf, uid } from '../../../../test/harness/pod-volumes.ts';
import { exceededLimit, limitedVolumes } from './usage.ts';

const volumes = `/var/lib/spawnlet/pods/${uid}/volumes`;

test('a pod is evicted for an emptyDir that holds more than its limit', () => {
  const pod = podOf([
    { name: 'open', emptyDir: {} },
    { name: 'small', emptyDir: { sizeLimit: '1Mi' } },
    { name: 'shm', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    { name: 'none', emptyDir: { sizeLimit: '0' } },
  ]);
  assert.deepEqual(
    limitedVolumes(pod).map(({ path }) => path),
    [`${volumes}/empty-dir/small`, `${volumes}/memory/shm`],
  );
  const usage = (bytes: number) => new Map([[`${volumes}/empty-dir/small`, bytes]]);
  assert.equal(exceededLimit(pod, usage(1024 ** 2)), undefined);
  assert.equal(
    exceededLimit(pod, usage(1024 ** 2 + 1)),
    'Usage of EmptyDir volume "small" exceeds the limit "1Mi". ',
  );
});
