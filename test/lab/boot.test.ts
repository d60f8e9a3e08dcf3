import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { useLab } from '../harness/lab.ts';

for (const [suite, version] of [
  ['bookworm', '252'],
  ['trixie', '257'],
] as const) {
  test(`a ${suite} lab boots, with no unit failed`, async t => {
    await using lab = await useLab({ suite, test: t });
    assert.equal((await lab.read(['systemctl', 'is-system-running'])).trim(), 'running');
    assert.match(await lab.read(['systemctl', '--version']), new RegExp(`^systemd ${version}`));
    assert.equal((await lab.read(['hostname'])).trim(), lab.name);
  });

  test(`limits act on a ${suite} lab and on units in it`, async t => {
    await using lab = await useLab({ suite, memory: '512m', cpus: '1.5', test: t });
    const unit = ['systemd-run', '--wait', '--pipe', '--quiet', '--property=MemoryMax=32M'];
    const group = await lab.read([...unit, 'sh', '-c', 'sed -n "s/.*:memory://p" /proc/self/cgroup']);
    assert.match(group, /^\/system\.slice\/run-/);
    const read =
      'cat /sys/fs/cgroup/memory$(sed -n "s/.*:memory://p" /proc/self/cgroup)/memory.limit_in_bytes';
    assert.equal(await lab.read([...unit, 'sh', '-c', read]), `${32 * 2 ** 20}\n`);
    assert.equal(
      await readFile(`/sys/fs/cgroup/memory/spawnlet-lab-${lab.name}/memory.limit_in_bytes`, 'utf8'),
      `${512 * 2 ** 20}\n`,
    );
    assert.equal(
      await readFile(`/sys/fs/cgroup/cpu/spawnlet-lab-${lab.name}/cpu.cfs_quota_us`, 'utf8'),
      '150000\n',
    );
    const hungry = 'x=$(head -c 100M /dev/zero | tr "\\0" x)';
    assert.equal(
      (await lab.exec(['systemd-run', '--wait', '--pipe', '--quiet', 'sh', '-c', hungry])).code,
      0,
    );
    assert.notEqual((await lab.exec([...unit, 'sh', '-c', hungry])).code, 0);
  });
}

test('exec passes bytes, the exit code and a death by signal', async t => {
  await using lab = await useLab({ test: t });
  const input = randomBytes(3_000_000);
  const echoed = await lab.exec(['sh', '-c', 'cat; echo to stderr >&2; exit 7'], { input });
  assert.ok(echoed.stdout.equals(input));
  assert.equal(echoed.stderr, 'to stderr\n');
  assert.equal(echoed.code, 7);
  assert.equal((await lab.exec(['sh', '-c', 'kill -KILL $$'])).code, 137);
  assert.equal((await lab.exec(['no-such-program'])).code, 127);
});

test('a command in a lab is in the lab’s cgroups and has an environment of its own', async t => {
  await using lab = await useLab({ test: t });
  for (const line of (await lab.read(['cat', '/proc/self/cgroup'])).trim().split('\n'))
    assert.match(line, /:\/exec$/);
  const names = (await lab.read(['sh', '-c', 'env | cut -d= -f1 | sort'])).trim().split('\n');
  assert.deepEqual(names, ['HOME', 'LANG', 'PATH', 'PWD', 'USER']);
});
