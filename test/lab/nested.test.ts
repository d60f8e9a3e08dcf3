import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { treesDirectory } from '../../src/lab/tree.ts';
import { checkout, useLab } from '../harness/lab.ts';

const unit = 'spawnlet-lab-inner.service';
const spawnlet = [join(checkout, 'bin/spawnlet'), 'lab'];

for (const suite of ['bookworm', 'trixie']) {
  test(`on a ${suite} host with systemd as PID 1 a lab is a unit, which survives a reboot and leaves nothing`, async t => {
    // A tree can be used by all who see it.
    await using host = await useLab({ suite, binds: [`${treesDirectory}:${treesDirectory}:ro`], test: t });
    const show = async (property: string) =>
      (await host.read(['systemctl', 'show', `--property=${property}`, '--value', unit])).trim();
    // A mount's number and its parent's say when it was made.
    const mounts = async () =>
      (await host.read(['cut', '-d', ' ', '-f', '3-', '/proc/1/mountinfo'])).split('\n').sort();
    const before = await mounts();

    await host.read([...spawnlet, 'up', 'inner', '--suite', suite, '--memory', '256m', '--cpus', '1']);
    assert.equal(await show('ActiveState'), 'active');
    assert.equal(await show('MemoryMax'), String(256 * 2 ** 20));
    assert.equal(await show('CPUQuotaPerSecUSec'), '1s');
    const inside = ['exec', 'inner', '--', 'sh', '-c', 'systemctl is-system-running --wait; exit 5'];
    const entered = await host.exec([...spawnlet, ...inside]);
    assert.equal(entered.stdout.toString(), 'running\n', entered.stderr);
    assert.equal(entered.code, 5);

    const first = await show('MainPID');
    await host.read([...spawnlet, 'exec', 'inner', 'systemctl', 'reboot']);
    const deadline = AbortSignal.timeout(30_000);
    while ((await show('MainPID')) === first || (await show('ActiveState')) !== 'active')
      deadline.throwIfAborted();
    assert.equal((await host.exec([...spawnlet, ...inside])).code, 5);

    await host.read([...spawnlet, 'down', 'inner']);
    assert.equal(await show('LoadState'), 'not-found');
    assert.deepEqual(await mounts(), before);
    assert.equal(
      await host.read(['find', '/sys/fs/cgroup', '/run', '-name', '*inner*', '-o', '-name', 'netns']),
      '',
    );
    assert.equal(
      await host.read(['ls', '-A', '/var/lib/spawnlet/lab/labs', '/var/lib/spawnlet/lab/networks']),
      '/var/lib/spawnlet/lab/labs:\n\n/var/lib/spawnlet/lab/networks:\n',
    );
  });
}
