import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sampleOf, usageOf } from './usage.ts';

const group = '/kubepods.slice/kubepods-podx.slice';
const filesOf = (texts: Readonly<Record<string, string>>) => ({
  read: async (path: string) => texts[path],
});
const stat = 'anon 9\ninactive_file 1000\nactive_file 7\n';

test('a cgroup of version 2 has its CPU time in microseconds, and what of its memory is in use', async () => {
  const at = `/sys/fs/cgroup${group}`;
  const files = filesOf({
    [`${at}/cpu.stat`]: 'usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n',
    [`${at}/memory.current`]: '5000\n',
    [`${at}/memory.stat`]: stat,
  });
  assert.deepEqual(await sampleOf(files, group), { cpu: 1_500_000n, memory: 4000 });
});

const memory = {
  [`/sys/fs/cgroup/memory${group}/memory.usage_in_bytes`]: '5000\n',
  [`/sys/fs/cgroup/memory${group}/memory.stat`]: `${stat}total_inactive_file 2000\n`,
};

for (const [where, path, text] of [
  ['in the tree of cpu', `/sys/fs/cgroup/cpu,cpuacct${group}/cpuacct.usage`, '1500000\n'],
  ['in a tree of its own', `/sys/fs/cgroup/cpuacct${group}/cpuacct.usage`, '1500000\n'],
  ['in the tree of systemd', `/sys/fs/cgroup/unified${group}/cpu.stat`, 'usage_usec 1500\n'],
] as const)
  test(`a cgroup of version 1 has its CPU time ${where}`, async () => {
    assert.deepEqual(await sampleOf(filesOf({ ...memory, [path]: text }), group), {
      cpu: 1_500_000n,
      memory: 3000,
    });
  });

test('a cgroup that is not there has nothing', async () => {
  assert.equal(await sampleOf(filesOf({}), group), undefined);
});

test('usage is what came between two looks', () => {
  const one = { cpu: 1_000_000_000n, memory: 1 };
  assert.deepEqual(usageOf(one, { cpu: 1_250_000_000n, memory: 7 }, 1000), { cpu: 250_000_000, memory: 7 });
  assert.deepEqual(usageOf(one, { cpu: 100_000_000n, memory: 7 }, 1000), { cpu: 100_000_000, memory: 7 });
});
