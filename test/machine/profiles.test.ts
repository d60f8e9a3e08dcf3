// runs in a lab: bookworm trixie +containerd
// What a profile is for works in a machine that has it, and not in one that has not.
import assert from 'node:assert/strict';
import { access, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { runtimeStores } from '../../src/machine/profiles.ts';
import { system } from '../app/tools.ts';
import { type Booted, boot } from './booted.ts';

/** The error of a system call by number, by a program of the machine's own systemd; 0 for none. */
async function errno(machine: Booted, ...call: readonly number[]): Promise<string> {
  return (await machine.inside('perl', '-e', `print syscall(${call.join(', ')}) < 0 ? $!+0 : 0`)).trim();
}

/** Makes an OCI bundle in the machine, whose program says `ldconfig …`. */
async function useBundle(machine: Booted): Promise<string> {
  const bundle = '/var/lib/containers/bundle';
  await machine.inside('mkdir', '-p', `${bundle}/rootfs`);
  // It is a static program.
  await machine.inside('cp', '/usr/sbin/ldconfig', `${bundle}/rootfs/program`);
  await machine.inside('sh', '-c', `cd ${bundle} && runc spec`);
  const config = JSON.parse(await machine.inside('cat', `${bundle}/config.json`));
  config.process = { ...config.process, terminal: false, args: ['/program', '--version'] };
  const host = '/var/lib/spawnlet/config.json';
  await writeFile(host, JSON.stringify(config));
  await system('machinectl', 'copy-to', machine.name, host, '/root/config.json');
  await machine.inside('mv', '/root/config.json', `${bundle}/config.json`);
  return bundle;
}

const EPERM = '1';
/** keyctl(2): KEYCTL_GET_KEYRING_ID of the session. */
const keyctl = [250, 0, -3, 1] as const;
/** bpf(2) of a command that is none. */
const bpf = [321, 99, 0, 0] as const;
const perf = [298, 0, 0, 0, -1, 0] as const;

test('a default machine has no keyrings, no bpf, no perf events, no kernel log, and cgroups that it cannot change', async () => {
  await using machine = await boot({});
  assert.equal(await errno(machine, ...keyctl), EPERM);
  assert.equal(await errno(machine, ...bpf), EPERM);
  assert.equal(await errno(machine, ...perf), EPERM);
  await assert.rejects(machine.inside('stat', '/dev/kmsg'));
  await assert.rejects(machine.inside('mkdir', '/sys/fs/cgroup/cpu/made'));
  await assert.rejects(machine.inside('sh', '-c', 'echo 10 > /proc/sys/kernel/panic'));
  const bundle = await useBundle(machine);
  await assert.rejects(machine.inside('runc', 'run', '--bundle', bundle, 'try'), /not permitted|read-only/i);
  const status = await readFile(`/proc/${machine.leader}/status`, 'latin1');
  assert.doesNotMatch(status, /^CapBnd:\s+000001ff/m);
});

test('a nested machine has what a container runtime needs, and no more', async context => {
  // The lab has no /sys/module: a directory does what is asked of it.
  await system('mount', '-o', 'remount,rw', '/sys');
  await mkdir('/sys/module/overlay', { recursive: true });
  await mkdir('/sys/module/apparmor/parameters', { recursive: true });
  await using machine = await boot({ profiles: ['default', 'nested'] });

  await context.test('its units are as systemd wants them', () => {
    assert.equal(machine.verdict, '');
  });
  await context.test('keyrings and bpf', async () => {
    assert.equal(await errno(machine, ...keyctl), '0');
    assert.notEqual(await errno(machine, ...bpf), EPERM);
    assert.equal(await errno(machine, ...perf), EPERM);
  });
  await context.test('the kernel log is a device that can be read', async () => {
    assert.equal(await machine.inside('stat', '-c', '%F', '/dev/kmsg'), 'character special file\n');
    assert.notEqual(await machine.inside('dd', 'if=/dev/kmsg', 'bs=8k', 'count=1', 'status=none'), '');
  });
  await context.test('modules are seen, not changed, and AppArmor is not', async () => {
    await machine.inside('ls', '/sys/module/overlay');
    await assert.rejects(machine.inside('mkdir', '/sys/module/other'));
    assert.equal(await machine.inside('stat', '-c', '%a', '/sys/module/apparmor'), '0\n');
  });
  await context.test('network settings can be written, others not', async () => {
    await machine.inside('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
    await assert.rejects(machine.inside('sh', '-c', 'echo 10 > /proc/sys/kernel/panic'));
  });
  await context.test('cgroups can be made', async () => {
    await machine.inside('mkdir', '/sys/fs/cgroup/made');
  });
  await context.test('an overlay can be mounted in the stores of runtimes', async () => {
    for (const { source, target } of runtimeStores(machine.name)) {
      const script = `cd ${target} && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m && touch m/x`;
      await machine.inside('sh', '-c', script);
      await access(`${source}/u/x`);
    }
    await assert.rejects(
      machine.inside(
        'sh',
        '-c',
        'cd /var/lib && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m',
      ),
    );
  });
  await context.test('runc runs a container', async () => {
    const bundle = await useBundle(machine);
    assert.match(await machine.inside('runc', 'run', '--bundle', bundle, 'try'), /^ldconfig /);
  });
});

test('an ebpf machine has perf events and a bpffs of its own, which goes with it', async () => {
  const directory = await (async () => {
    await using machine = await boot({ profiles: ['default', 'ebpf'] });
    assert.equal(machine.verdict, '');
    assert.notEqual(await errno(machine, ...bpf), EPERM);
    assert.notEqual(await errno(machine, ...perf), EPERM);
    assert.equal(await errno(machine, ...keyctl), EPERM);
    assert.equal(await machine.inside('stat', '-f', '-c', '%T', '/sys/fs/bpf'), 'bpf_fs\n');
    await machine.inside('mkdir', '/sys/fs/bpf/mine');
    const place = `/run/spawnlet/machine/${machine.name}/bpf`;
    await access(`${place}/mine`);
    return place;
  })();
  assert.doesNotMatch(await readFile('/proc/self/mountinfo', 'latin1'), new RegExp(directory));
});

test('a kvm machine can open the nodes that the host has', async () => {
  const made = await stat('/dev/kvm').then(
    () => false,
    () => true,
  );
  if (made) await system('mknod', '/dev/kvm', 'c', '10', '232');
  const open = 'open(my $f, "+<", "/dev/kvm") or print $!+0';
  {
    await using machine = await boot({ profiles: ['default', 'kvm'] });
    // The node may be there with no driver behind it; it is not refused.
    assert.notEqual(await machine.inside('perl', '-e', open), EPERM);
    assert.equal(await machine.inside('stat', '-c', '%t:%T', '/dev/kvm'), 'a:e8\n');
  }
  if (made) await rm('/dev/kvm');
});

test('a privileged machine has all capabilities, and no more system calls', async () => {
  await using machine = await boot({ profiles: ['default', 'privileged'] });
  const own = /^CapBnd:\s+(\w+)$/m.exec(await readFile('/proc/self/status', 'latin1'))?.[1];
  const status = await readFile(`/proc/${machine.leader}/status`, 'latin1');
  assert.equal(/^CapBnd:\s+(\w+)$/m.exec(status)?.[1], own);
  assert.equal(await errno(machine, ...perf), EPERM);
});
