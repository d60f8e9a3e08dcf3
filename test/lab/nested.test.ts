import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { treesDirectory } from '../../src/lab/tree.ts';
import { checkout, useLab } from '../harness/lab.ts';

const unit = 'spawnlet-lab-inner.service';
const spawnlet = [join(checkout, 'bin/spawnlet'), 'lab'];

test('on a host whose state directory is on an overlay a lab is refused before anything changes', async t => {
  await using host = await useLab({ test: t });
  const script = `mkdir -p /var/lib/spawnlet /var/over
    mount -t tmpfs tmpfs /var/over; cd /var/over; mkdir lower upper work
    mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work /var/lib/spawnlet
    "$@"; code=$?; find upper -type f; exit $code`;
  const inMounts = ['unshare', '--mount', 'sh', '-c', script, 'sh'];
  const { code, stdout, stderr } = await host.exec([...inMounts, ...spawnlet, 'up', 'inner']);
  assert.equal(code, 125);
  assert.match(stderr, /ERR_LAB_OVERLAY/);
  assert.equal(stdout.toString(), '');
  assert.equal(await host.read(['ip', 'netns', 'list']), '');
});

test('a lab that is started in a chroot is the root of its mount namespace', async t => {
  await using host = await useLab({ binds: [`${treesDirectory}:${treesDirectory}:ro`], test: t });
  // Without /run nothing tells of the systemd outside, which would start the lab outside.
  const script = `mkdir /srv/root; mount -t tmpfs tmpfs /mnt; mkdir /mnt/upper /mnt/work
    mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /srv/root
    for path in proc sys dev var/lib/spawnlet "$1"; do
      mkdir -p "/srv/root/$path"; mount --rbind "/$path" "/srv/root/$path"
    done
    mount -t tmpfs tmpfs /srv/root/run
    shift; exec chroot /srv/root sh -euc "$@"`;
  const inChroot = ['unshare', '--mount', 'sh', '-euc', script, 'sh', checkout];
  const look = `"$0" lab up inner >&2
    "$0" lab exec inner -- sh -euc "cd /; nsenter --mount=/proc/self/ns/mnt --wd=/ /bin/sh -c '[ / -ef . ]'"
    "$0" lab down inner`;
  assert.equal(await host.read([...inChroot, look, join(checkout, 'bin/spawnlet')]), 'inner\n');
});

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
    const search =
      'find /sys/fs/cgroup /run -path /run/whole -prune -o ( -name *inner* -o -name netns ) -print';
    assert.equal(await host.read(search.split(' ')), '');
    assert.equal(
      await host.read(['ls', '-A', '/var/lib/spawnlet/lab/labs', '/var/lib/spawnlet/lab/networks']),
      '/var/lib/spawnlet/lab/labs:\n\n/var/lib/spawnlet/lab/networks:\n',
    );
  });
}
