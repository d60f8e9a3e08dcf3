// runs in a lab: bookworm trixie
// What the files of a machine say is what the booted machine has. The lab's controllers are of cgroup version 1.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { nspawnOptions } from '../../src/machine/options.ts';
import { eventually, system } from '../app/tools.ts';
import { boot } from './booted.ts';

test('limits, mounts, devices, environment and a credential of a booted machine', async context => {
  const data = '/srv/da:ta';
  await mkdir(data, { recursive: true });
  await writeFile(`${data}/hello`, 'from the host\n');
  await mkdir('/var/lib/spawnlet/over', { recursive: true });
  await writeFile('/etc/machine-secret', 's3cret', { mode: 0o600 });
  await using machine = await boot({
    limits: { memory: 200 * 1024 ** 2, cpus: 1.5, ioWeight: 50, tasks: 500, nofile: 1000, nproc: 400 },
    mounts: [
      { kind: 'bind', source: data, target: '/srv/x:y', readOnly: true },
      { kind: 'tmpfs', target: '/scratch', options: 'size=10M' },
      { kind: 'overlay', layers: ['/usr/share', '/var/lib/spawnlet/over'], target: '/mnt' },
      { kind: 'inaccessible', target: '/etc/apt' },
    ],
    devices: [{ path: '/dev/fuse', access: 'rw' }],
    capabilities: ['CAP_SYS_TIME'],
    environment: { GREETING: `it's "5 %" \\ $HOME` },
    credentials: [{ id: 'pw', path: '/etc/machine-secret' }],
  });

  await context.test('systemd-analyze verify has nothing to say of its units', () => {
    assert.equal(machine.verdict, '');
  });
  await context.test('limits of the unit are in its cgroup', async () => {
    assert.equal(await machine.cgroup('memory', 'memory.limit_in_bytes'), String(200 * 1024 ** 2));
    assert.equal(await machine.cgroup('pids', 'pids.max'), '500');
    assert.equal(await machine.cgroup('cpu', 'cpu.cfs_quota_us'), '150000');
    assert.equal(await system('systemctl', 'show', '-P', 'IOWeight', machine.unit), '50\n');
  });
  await context.test('limits of processes are those of its init', async () => {
    const limits = await readFile(`/proc/${machine.leader}/limits`, 'latin1');
    assert.match(limits, /^Max open files\s+1000\s+1000 /m);
    assert.match(limits, /^Max processes\s+400\s+400 /m);
  });
  await context.test('a bind is there under a name with a colon, and read-only', async () => {
    assert.equal(await machine.inside('cat', '/srv/x:y/hello'), 'from the host\n');
    await assert.rejects(machine.inside('touch', '/srv/x:y/new'), /ended with 1/);
  });
  await context.test(
    'a tmpfs has its size, an overlay both layers, and what is inaccessible is',
    async () => {
      assert.match(await machine.inside('df', '--output=size', '-B1M', '/scratch'), /\n\s*10\n/);
      await machine.inside('touch', '/mnt/new');
      assert.equal(await readFile('/var/lib/spawnlet/over/new', 'latin1'), '');
      await machine.inside('ls', '/mnt/dpkg');
      assert.equal(await machine.inside('stat', '-c', '%a', '/etc/apt'), '0\n');
    },
  );
  await context.test('a device can be opened, another one not', async () => {
    const open = 'open(my $f, "<", $ARGV[0]) or die "refused: $!"; print "open"';
    assert.equal(await machine.inside('perl', '-e', open, '/dev/fuse'), 'open');
    await assert.rejects(machine.inside('sh', '-c', 'mknod /root/kmsg c 1 11 && head -c1 /root/kmsg'));
  });
  await context.test('the environment of its init is what was written', async () => {
    const variables = (await readFile(`/proc/${machine.leader}/environ`, 'utf8')).split('\0');
    assert.ok(variables.includes(`GREETING=it's "5 %" \\ $HOME`));
  });
  await context.test(
    'the credential is in the directory of its init, and not on a command line',
    async () => {
      const variables = (await readFile(`/proc/${machine.leader}/environ`, 'utf8')).split('\0');
      const directory = variables.find(each => each.startsWith('CREDENTIALS_DIRECTORY='))?.slice(22);
      assert.equal(await machine.inside('cat', `${directory}/pw`), 's3cret');
      assert.doesNotMatch(await system('systemctl', 'show', machine.unit), /s3cret/);
    },
  );
  await context.test('a capability is in the bounding set', async () => {
    const status = await readFile(`/proc/${machine.leader}/status`, 'latin1');
    const set = BigInt(`0x${/^CapBnd:\s+(\w+)$/m.exec(status)?.[1]}`);
    assert.equal((set >> 25n) & 1n, 1n);
    assert.equal((set >> 16n) & 1n, 0n, 'CAP_SYS_MODULE');
  });
  await rm('/etc/machine-secret');
});

test('a command of several words is PID 2 of its machine, and its words come through', async () => {
  const script = 'printf "%s|" "$$" "$@" > /root/words; exec sleep infinity';
  await using machine = await boot({
    start: { kind: 'command', argv: ['/bin/sh', '-c', script, 'sh', 'a b', `"c'`, '\\', ''] },
  });
  const path = `/var/lib/machines/${machine.name}/root/words`;
  const words = () =>
    readFile(path, 'latin1').then(
      text => text || undefined,
      () => undefined,
    );
  assert.equal(await eventually(words, 'the command writes its words'), `2|a b|"c'|\\||`);
});

test('a machine with a range of users has it, and its files keep their owners on the host', async () => {
  const users = { kind: 'range', base: 1_000_000, count: 65_536 } as const;
  const shared = '/var/lib/spawnlet/shared';
  await mkdir(shared, { recursive: true });
  await using machine = await boot(
    { mounts: [{ kind: 'bind', source: shared, target: '/shared', readOnly: false }] },
    // An overlay takes no id-mapping.
    { users, tree: { kind: 'plain' } },
  );
  const map = await readFile(`/proc/${machine.leader}/uid_map`, 'latin1');
  assert.deepEqual(map.trim().split(/\s+/), ['0', '1000000', '65536']);
  await machine.inside('touch', '/root/new', '/shared/new');
  for (const path of [`/var/lib/machines/${machine.name}/root/new`, `${shared}/new`])
    assert.equal((await stat(path)).uid, 0, path);
});

test('the list of options has each option and key of the systemd-nspawn that is installed', async () => {
  const all = nspawnOptions.flatMap(({ options }) => options);
  const flags = new Set(all.flatMap(option => option.flags));
  const keys = new Set(all.map(option => option.key));
  const help = await system('systemd-nspawn', '--help');
  const shown = [...help.matchAll(/^ {2}(-\w)?\s+(--[a-z0-9-]+)/gm)].flatMap(([, short, long]) => [
    short,
    long,
  ]);
  assert.ok(shown.length > 100);
  assert.deepEqual(
    shown.filter(flag => flag !== undefined && !flags.has(flag)),
    [],
  );
  const program = await readFile('/usr/bin/systemd-nspawn', 'latin1');
  const known = [...program.matchAll(/\0((?:Exec|Files|Network)\.[A-Za-z]+)(?=\0)/g)].map(match => match[1]);
  assert.ok(known.length > 50);
  assert.deepEqual(
    known.filter(key => !keys.has(key)),
    [],
  );
});
