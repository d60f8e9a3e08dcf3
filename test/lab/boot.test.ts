import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { leaderOf } from '../../src/lab/enter.ts';
import { host, useLab } from '../harness/lab.ts';

/** What the cgroups of a lab say, from the cgroups of its first process. */
function limitsOf(leader: number, name: string): { memory: number; processors: number } {
  const read = (controller: string, old: string, unified: string) => {
    const lines = readFileSync(`/proc/${leader}/cgroup`, 'utf8').split('\n');
    const line =
      lines.find(each => each.split(':')[1]?.split(',').includes(controller)) ?? lines.at(-2) ?? '';
    const [, controllers, path = ''] = line.split(':');
    const own = new RegExp(`^.*spawnlet-lab-${name}[^/]*`).exec(path)?.[0];
    return readFileSync(`/sys/fs/cgroup/${controllers}${own}/${controllers === '' ? unified : old}`, 'utf8');
  };
  const [quota = '', period = '100000'] = read('cpu', 'cpu.cfs_quota_us', 'cpu.max').trim().split(' ');
  return {
    memory: Number(read('memory', 'memory.limit_in_bytes', 'memory.max')),
    processors: Number(quota) / Number(period),
  };
}

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
    const limits = limitsOf(await leaderOf(host, lab.name), lab.name);
    assert.equal(limits.memory, 512 * 2 ** 20);
    assert.equal(limits.processors, 1.5);

    const unit = ['systemd-run', '--wait', '--pipe', '--quiet', '--property=MemoryMax=32M'];
    const read = `path=$(sed -n 's/.*:memory:/memory/p; s/^0:://p' /proc/self/cgroup | head -n 1)
      cat /sys/fs/cgroup/$path/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/$path/memory.max`;
    assert.equal(await lab.read([...unit, 'sh', '-c', read]), `${32 * 2 ** 20}\n`);
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

test('the first commands in a lab come at once, and none is in another one’s way', async t => {
  await using lab = await useLab({ test: t });
  const commands = await Promise.all(Array.from({ length: 12 }, () => lab.exec(['true'])));
  for (const { code, stderr } of commands) assert.deepEqual([code, stderr], [0, '']);
});

test('a process in a lab may have users, a proc and a sysfs of its own', async t => {
  await using lab = await useLab({ test: t });
  const unshared = ['unshare', '--user', '--map-root-user', '--pid', '--net', '--fork', '--mount-proc'];
  const script = 'mount -t sysfs sysfs /sys && ls /sys/class/net && exec ps ax -o pid,comm';
  assert.match(await lab.read([...unshared, 'sh', '-c', script]), /^lo\n.*\n *1 ps$/m);
});

test('a command in a lab is in the lab’s cgroups and has an environment of its own', async t => {
  await using lab = await useLab({ test: t });
  for (const line of (await lab.read(['cat', '/proc/self/cgroup'])).trim().split('\n'))
    assert.match(line, /:\/exec$/);
  const names = (await lab.read(['sh', '-c', 'env | cut -d= -f1 | sort'])).trim().split('\n');
  assert.deepEqual(names, ['HOME', 'LANG', 'PATH', 'PWD', 'USER']);
});
