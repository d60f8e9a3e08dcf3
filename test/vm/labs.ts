/** A lab on a host whose PID 1 is systemd, with cgroup v2. */
import assert from 'node:assert/strict';
import { done, ofGroup, system, traces, words } from './guest.ts';
import type { Check } from './report.ts';

let before: readonly string[] = [];

const inLab = (...argv: readonly string[]) => done('lab', 'exec', 'lab', '--', ...argv);

export const labs: readonly Check[] = [
  {
    title: 'lab up',
    see: async () => {
      before = await traces();
      return done('lab', 'up', 'lab', '--memory', '1g', '--bind', '/usr/local:/usr/local:ro');
    },
  },
  {
    title: 'the lab is a unit with a limit',
    see: async () => {
      assert.equal(await ofGroup('spawnlet-lab-lab', 'memory.max'), String(2 ** 30));
      return system('systemctl', 'is-active', 'spawnlet-lab-lab.service');
    },
  },
  {
    title: 'systemd runs in the lab',
    see: async () => {
      const state = (await inLab('systemctl', 'is-system-running')).trim();
      assert.equal(state, 'running');
      return state;
    },
  },
  {
    title: 'MemoryMax= acts in the lab',
    see: async () => {
      const read = 'cat /sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)/memory.max';
      const limited = ['systemd-run', '--quiet', '--wait', '--pipe', '--property=MemoryMax=64M'];
      const seen = await inLab(...limited, 'sh', '-c', read);
      assert.equal(seen, `${64 * 2 ** 20}\n`);
      return seen;
    },
  },
  {
    title: 'a container runs in the lab',
    see: () =>
      inLab(
        ...words('/usr/local/bin/spawnlet run --rm --memory 32m oci:/usr/local/images:busybox'),
        ...words('cat /sys/fs/cgroup/memory.max'),
      ),
  },
  {
    title: 'lab down leaves nothing',
    see: async () => {
      await done('lab', 'down', 'lab');
      const left = (await traces()).filter(line => !before.includes(line));
      assert.deepEqual(left, []);
      return 'nothing';
    },
  },
];
