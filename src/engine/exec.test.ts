import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cgroupFiles } from './exec.ts';

test('a process of cgroup v2 has one cgroup', () => {
  assert.deepEqual(cgroupFiles('0::/system.slice/web.service\n'), [
    '/sys/fs/cgroup/system.slice/web.service/cgroup.procs',
    '/sys/fs/cgroup/unified/system.slice/web.service/cgroup.procs',
  ]);
});

test('a process of cgroup v1 has one in each hierarchy, perhaps the root', () => {
  assert.deepEqual(cgroupFiles('9:name=systemd:/web.service\n2:cpu,cpuacct:/\n'), [
    '/sys/fs/cgroup/systemd/web.service/cgroup.procs',
    '/sys/fs/cgroup/cpu,cpuacct/cgroup.procs',
  ]);
});
