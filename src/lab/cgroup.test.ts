import assert from 'node:assert/strict';
import { test } from 'node:test';
import { enteredGroups } from './boot.ts';
import { limitFiles, parseHierarchies } from './cgroup.ts';

const hybrid = `24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
36 24 0:30 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
37 36 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
38 36 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
39 36 0:33 / /sys/fs/cgroup/pids ro,relatime - cgroup cgroup rw,pids
40 36 0:34 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 36 0:35 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
`;
const unified = '30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n';

test('the writable hierarchies of a hybrid host', () => {
  assert.deepEqual(parseHierarchies(hybrid), [
    { path: '/sys/fs/cgroup/cpu,cpuacct', version: 1, controllers: ['cpu', 'cpuacct'] },
    { path: '/sys/fs/cgroup/memory', version: 1, controllers: ['memory'] },
    { path: '/sys/fs/cgroup/systemd', version: 1, controllers: ['name=systemd'] },
    { path: '/sys/fs/cgroup/unified', version: 2, controllers: [] },
  ]);
});

test('cgroup v2 is one hierarchy', () => {
  assert.deepEqual(parseHierarchies(unified), [{ path: '/sys/fs/cgroup', version: 2, controllers: [] }]);
});

test('limits are written where the controller is, in its own words', () => {
  const limits = { memory: 2 ** 29, cpuPercent: 150 };
  const [cpu, memory, named] = parseHierarchies(hybrid);
  assert.ok(cpu && memory && named);
  assert.deepEqual(limitFiles(cpu, limits), [['cpu.cfs_quota_us', '150000']]);
  assert.deepEqual(limitFiles(memory, limits), [['memory.limit_in_bytes', '536870912']]);
  assert.deepEqual(limitFiles(named, limits), []);
  const [two] = parseHierarchies(unified);
  assert.ok(two);
  assert.deepEqual(limitFiles(two, limits), [
    ['memory.max', '536870912'],
    ['cpu.max', '150000 100000'],
  ]);
  assert.deepEqual(limitFiles(two, { memory: null, cpuPercent: null }), []);
});

test('a command enters beside the services of the lab, whichever cgroup its systemd is in', () => {
  const leader = `4:memory:/spawnlet-lab-a/machine/init.scope
3:cpu,cpuacct:/spawnlet-lab-a/machine
1:name=systemd:/spawnlet-lab-a/machine/init.scope
0::/spawnlet-lab-a/machine/payload/init.scope
`;
  assert.deepEqual(enteredGroups(leader, parseHierarchies(hybrid)), [
    '/sys/fs/cgroup/memory/spawnlet-lab-a/machine/exec',
    '/sys/fs/cgroup/cpu,cpuacct/spawnlet-lab-a/machine/exec',
    '/sys/fs/cgroup/systemd/spawnlet-lab-a/machine/exec',
    '/sys/fs/cgroup/unified/spawnlet-lab-a/machine/payload/exec',
  ]);
});
