// runs in a lab: bookworm trixie
// Machines are made, started, changed, stopped and removed; what machinectl and systemctl say of them is the same.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { done, eventually, spawnlet, system } from '../app/tools.ts';
import { base, create, inside, machine, status, useBase, world } from './machines.ts';

let made: AsyncDisposable;

before(async () => {
  made = await useBase();
});

after(() => made[Symbol.asyncDispose]());

const show = async (property: string, unit: string) =>
  (await system('systemctl', 'show', '--value', `--property=${property}`, unit)).trim();

test('rm takes away exactly what create and start have made', async () => {
  await create('first', '--enable');
  await machine('start', 'first');
  await machine('rm', '--force', 'first');
  const clean = await world();
  await create('whole', '--enable', '--memory=256m', '--profile=nested');
  const verdict = await system(
    'sh',
    '-c',
    'systemd-analyze verify --man=no systemd-nspawn@whole.service /etc/systemd/system/var-lib-machines-whole.mount 2>&1 | grep -F whole || :',
  );
  assert.equal(verdict, '');
  assert.match(await system('systemctl', 'is-enabled', 'systemd-nspawn@whole'), /^enabled$/m);
  assert.match(await system('machinectl', 'list-images'), /^whole /m);
  await machine('start', 'whole');
  assert.notEqual(await world(), clean);
  const { code, err } = await spawnlet(['machine', 'rm', 'whole']);
  assert.equal(code, 125);
  assert.match(err, /ERR_RUNNING.*\n.*machine rm -f whole/);
  await machine('rm', '--force', 'whole');
  assert.equal(await world(), clean);
});

test('start returns when the machine has booted, and what runs is told alike by all', async () => {
  await create('web');
  await machine('start', 'web');
  assert.equal((await inside('web', 'systemctl', 'is-active', 'multi-user.target')).trim(), 'active');
  const told = await status('web');
  assert.equal(told.state, 'running');
  assert.equal(
    String(told.leader),
    (await system('machinectl', 'show', '--value', '-pLeader', 'web')).trim(),
  );
  assert.equal(told.unit, (await system('machinectl', 'show', '--value', '-pUnit', 'web')).trim());
  assert.match(told.os, /^Debian/);
  assert.equal(told.users.range, 'no');
  assert.match(told.users.why ?? '', /overlay/);
  assert.deepEqual(told.tree.layers, [`/var/lib/spawnlet/base/${base}/tree`]);
  assert.deepEqual(told.pending, []);
  assert.match(await machine('ls'), /^web +running /m);
  await machine('stop', 'web');
  assert.equal((await status('web')).state, 'stopped');
  assert.equal(await show('ActiveState', 'systemd-nspawn@web'), 'inactive');
  await system('systemctl', 'start', 'systemd-nspawn@web');
  assert.equal((await status('web')).state, 'running');
  await machine('rm', '--force', 'web');
});

test('applied twice, a file changes nothing the second time', async () => {
  await create('plain', '--memory=300m', '--bind=/srv:/mnt', '--env=A=b c', '--profile=nested');
  const file = '/root/plain.yaml';
  await writeFile(file, await machine('status', '-o', 'yaml', 'plain'));
  assert.match(await machine('apply', '--dry-run', '-f', file), /nothing to do/);
  assert.match(await machine('apply', '-f', file), /unchanged/);
  const text = (await readFile(file, 'utf8')).replace(/memory: .*/, 'memory: 400M');
  await writeFile(file, text);
  assert.match(await machine('apply', '-f', file), /: changed/);
  assert.match(await machine('apply', '-f', file), /unchanged/);
  await machine('rm', 'plain');
});

test('each clone is somebody of its own, and a base that clones use is not removed', async () => {
  await create('one');
  await create('two');
  const ids = await Promise.all(
    ['one', 'two'].map(name => readFile(`/var/lib/machines/${name}/etc/machine-id`, 'utf8')),
  );
  assert.notEqual(ids[0], ids[1]);
  assert.equal(await readFile('/var/lib/machines/two/etc/hostname', 'utf8'), 'two\n');
  const { code, err } = await spawnlet(['base', 'rm', base]);
  assert.equal(code, 125);
  assert.match(err, /one, two.*ERR_BASE_IN_USE/);
  await machine('rm', 'one', 'two');
});

test('how create builds a base first is told step by step, and with --quiet not at all', async () => {
  const make = 'mkdir -p /root/t/usr; echo "$1" >/root/t/usr/text; tar -cf /root/t.tar -C /root/t .';
  for (const [flags, told] of [
    [[], /^Building base t-\w+ from tar:\/root\/t\.tar\nUnpacking \/root\/t\.tar\n$/],
    [['--quiet'], /^$/],
  ] as const) {
    await system('sh', '-euc', make, 'sh', String(told));
    const words = ['machine', 'create', 'built', '--from=tar:/root/t.tar', '--network=none', ...flags];
    const { code, out, err } = await spawnlet(words);
    assert.deepEqual([code, out], [0, 'built\n'], err);
    assert.match(err, told);
    await machine('rm', 'built');
    const names = (await done(['base', 'ls', '--quiet'])).split('\n');
    await done(['base', 'rm', ...names.filter(name => name.startsWith('t-'))]);
  }
  await system('rm', '-r', '/root/t', '/root/t.tar');
});

test('limits change while a machine runs; what cannot waits for a restart, and status says so', async () => {
  await create('limited', '--memory=300m');
  await machine('start', 'limited');
  await machine('set', 'limited', 'memory=200m', 'tasks=500');
  assert.equal(await show('MemoryMax', 'systemd-nspawn@limited'), String(200 * 2 ** 20));
  assert.equal(await show('NeedDaemonReload', 'systemd-nspawn@limited'), 'no');
  const group = '/machine.slice/systemd-nspawn@limited.service';
  assert.equal(
    (await readFile(`/sys/fs/cgroup/memory${group}/memory.limit_in_bytes`, 'utf8')).trim(),
    String(200 * 2 ** 20),
  );
  assert.equal((await readFile(`/sys/fs/cgroup/pids${group}/pids.max`, 'utf8')).trim(), '500');
  assert.deepEqual((await status('limited')).pending, []);
  const { err } = await spawnlet(['machine', 'set', 'limited', 'env=NEW=1']);
  assert.equal(err.match(/machine restart limited/g)?.length, 1, err);
  assert.equal((await status('limited')).pending.length, 1);
  const before = (await status('limited')).leader;
  await machine('restart', 'limited');
  assert.notEqual((await status('limited')).leader, before);
  assert.deepEqual((await status('limited')).pending, []);
  await machine('set', 'limited', 'limits.memory=', 'limits.tasks=');
  assert.equal(await show('MemoryMax', 'systemd-nspawn@limited'), 'infinity');
  assert.equal(await show('TasksMax', 'systemd-nspawn@limited'), '16384');
  await machine('rm', '--force', 'limited');
});

test('a directory is bound into a machine while it runs', async () => {
  await mkdir('/srv/shared', { recursive: true });
  await writeFile('/srv/shared/text', 'shared\n');
  await create('bound');
  await machine('start', 'bound');
  const { err } = await spawnlet(['machine', 'set', '-q', 'bound', 'bind-ro=/srv/shared:/mnt/shared']);
  assert.equal(err, '');
  assert.equal(await inside('bound', 'cat', '/mnt/shared/text'), 'shared\n');
  await machine('restart', 'bound');
  assert.equal(await inside('bound', 'cat', '/mnt/shared/text'), 'shared\n');
  await machine('rm', '--force', 'bound');
  await rm('/srv/shared', { recursive: true });
});

test('logs of a machine of one command are what that has written, while it runs and afterwards', async () => {
  await create(
    'job',
    '--no-boot',
    '--',
    '/bin/sh',
    '-c',
    'echo to out; echo to err >&2; exec sleep infinity',
  );
  await machine('start', 'job');
  const isTold = async () => /: to out\n.*: to err\n/.test(await machine('logs', 'job'));
  await eventually(isTold, 'its lines are in the journal');
  await machine('stop', 'job');
  assert.ok(await isTold());
  const { code, err } = await spawnlet(['machine', 'logs', '-u', 'nginx', 'job']);
  assert.equal(code, 125);
  assert.match(err, /ERR_GUEST_OS/);
  await machine('rm', 'job');
});

test('what is not on the host is refused by its path when it is asked for, and told when a start fails for it', async () => {
  const refused = async (told: string, ...words: readonly string[]) => {
    const { code, err } = await spawnlet(['machine', ...words]);
    assert.equal(code, 125, words.join(' '));
    assert.match(err, /ERR_GUEST_SOURCE/, words.join(' '));
    assert.ok(err.includes(told), err);
  };
  const created = ['create', 'wanting', '--from', base, '--network=none'];
  await refused('/none (bound to /x)', ...created, '--bind=/none:/x');
  await refused('/none (bound to /x)', ...created, '--bind-ro=/none:/x', '--dry-run');
  await refused('/none/one (a layer of the overlay on /x)', ...created, '--overlay=/srv:/none/one:/x');
  await refused('/dev/none (a device of it)', ...created, '--device=/dev/none');
  await refused('/none (its credential a)', ...created, '--credential=a:/none');
  await mkdir('/srv/away');
  await create('wanting', '--bind=/srv/away:/x');
  await refused('/none (bound to /y)', 'set', 'wanting', 'bind=/none:/y');
  const file = '/root/wanting.yaml';
  const text = await machine('status', '-o', 'yaml', 'wanting');
  await writeFile(file, text.replace('/srv/away', '/srv/none'));
  await refused('/srv/none (bound to /x)', 'apply', '-f', file);
  await rm('/srv/away', { recursive: true });
  // A disk that is away is no reason to refuse other changes.
  await machine('set', 'wanting', 'memory=300m');
  await refused('/srv/away (bound to /x)', 'start', 'wanting');
  await refused('/srv/away (bound to /x)', 'restart', 'wanting');
  const { state, missing } = await status('wanting');
  assert.deepEqual([state, missing], ['failed', ['/srv/away (bound to /x)']]);
  await mkdir('/srv/away');
  await machine('start', 'wanting');
  assert.deepEqual((await status('wanting')).missing, []);
  await machine('rm', '--force', 'wanting');
  await rm('/srv/away', { recursive: true });
  await rm(file);
});

/** A service of the machine that does not end when it is asked to. */
const stubborn = `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sleep infinity
TimeoutStopSec=infinity
[Install]
WantedBy=multi-user.target
`;

test('a machine that does not stop in time is killed, and that is said', async () => {
  await create('stubborn');
  const units = '/var/lib/machines/stubborn/etc/systemd/system';
  await writeFile(`${units}/stubborn.service`, stubborn);
  await mkdir(`${units}/multi-user.target.wants`, { recursive: true });
  await system('ln', '-s', '../stubborn.service', `${units}/multi-user.target.wants/stubborn.service`);
  await machine('start', 'stubborn');
  const { code, err } = await spawnlet(['machine', 'stop', '--time=1', 'stubborn']);
  assert.equal(code, 0);
  assert.match(err, /did not stop within 1 s, and was killed/);
  assert.equal((await status('stubborn')).state, 'stopped');
  await machine('start', 'stubborn');
  await machine('stop', '--force', 'stubborn');
  assert.equal((await status('stubborn')).state, 'stopped');
  await machine('rm', 'stubborn');
});

test('a machine whose tree is not mounted is changed as one whose tree is', async () => {
  await create('apart');
  const settings = await readFile('/etc/systemd/nspawn/apart.nspawn', 'utf8');
  assert.match(settings, /^NotifyReady=yes$/m);
  await system('systemctl', 'stop', 'var-lib-machines-apart.mount');
  await machine('set', 'apart', 'memory=512m');
  assert.equal(await readFile('/etc/systemd/nspawn/apart.nspawn', 'utf8'), settings);
  await machine('rm', 'apart');
});

test('a machine gets nothing of one that had its name and that systemd has in memory', async () => {
  await create('again', '-m', '512m');
  await machine('enable', 'again');
  // As after a boot, machines.target asks for it.
  await system('systemctl', 'daemon-reload');
  await machine('rm', 'again');
  const mount = 'var-lib-machines-again.mount';
  await create('again', '-m', '256m');
  const [memory, reload] = await Promise.all(
    [
      ['systemd-nspawn@again.service', 'MemoryMax'],
      [mount, 'NeedDaemonReload'],
    ].map(([unit = '', name = '']) => system('systemctl', 'show', '--value', `--property=${name}`, unit)),
  );
  assert.deepEqual([memory, reload], [`${256 * 1024 ** 2}\n`, 'no\n']);
  await machine('rm', 'again');
});

test('a name that something else has is refused, and of two that make one machine one wins', async () => {
  await mkdir('/var/lib/machines/theirs');
  await writeFile('/etc/systemd/system/systemd-nspawn@unit.service', '[Service]\nExecStart=/bin/true\n');
  for (const name of ['theirs', 'unit']) {
    const { code, err } = await spawnlet(['machine', 'create', name, '--from', base, '--network=none']);
    assert.equal(code, 125);
    assert.match(err, /ERR_NAME_TAKEN/);
  }
  await rm('/var/lib/machines/theirs', { recursive: true });
  await rm('/etc/systemd/system/systemd-nspawn@unit.service');
  const both = await Promise.all(
    [1, 2].map(() => spawnlet(['machine', 'create', 'both', '--from', base, '--network=none'])),
  );
  assert.deepEqual(
    both.map(({ code }) => code).toSorted((one, other) => one - other),
    [0, 125],
  );
  assert.match(both.map(({ err }) => err).join(''), /ERR_NAME_TAKEN|ERR_BUSY/);
  await machine('start', 'both');
  await machine('rm', '--force', 'both');
});

test('a restart of systemd-machined and a re-execution of systemd end no machine', async () => {
  await create('lasting');
  await machine('start', 'lasting');
  const { leader, since } = await status('lasting');
  await system('systemctl', 'restart', 'systemd-machined');
  await system('systemctl', 'daemon-reexec');
  const told = await status('lasting');
  assert.deepEqual([told.state, told.leader, told.since], ['running', leader, since]);
  assert.match(await system('machinectl', 'list'), /^lasting /m);
  await machine('rm', '--force', 'lasting');
});

test('a directory is booted where it lies, with a user namespace, and stays when the machine goes', async () => {
  // On the lab's own overlay no owner can be mapped, in /var/lib/machines it can.
  await system('cp', '-a', `/var/lib/spawnlet/base/${base}/tree`, '/var/lib/machines/.tree');
  await machine('create', 'place', '--directory=/var/lib/machines/.tree', '--network=none');
  await machine('start', 'place');
  const { users, leader, tree } = await status('place');
  assert.match(users.range, /^\d+:65536$/);
  assert.equal(tree.kind, 'link');
  assert.match(await readFile(`/proc/${leader}/uid_map`, 'utf8'), /^ +0 +[1-9]/);
  assert.equal(await inside('place', 'stat', '--format=%u', '/usr'), '0\n');
  const { err } = await spawnlet(['machine', 'set', '-q', 'place', 'bind=/srv:/mnt']);
  assert.match(err, /restart place\n.*mounts nothing into a machine with a user namespace/s);
  await machine('rm', '--force', 'place');
  assert.match(await readFile('/var/lib/machines/.tree/etc/os-release', 'utf8'), /debian/);
  await rm('/var/lib/machines/.tree', { recursive: true });
});

test('eight machines that are started together are all up', async () => {
  const names = Array.from({ length: 8 }, (_name, at) => `many-${at}`);
  for (const name of names) await create(name);
  await machine('start', ...names);
  const list = await machine('ls');
  for (const name of names) assert.match(list, new RegExp(`^${name} +running `, 'm'));
  await machine('rm', '--force', ...names);
  await eventually(async () => (await system('machinectl', 'list')).includes('No machines'), 'all are gone');
});
