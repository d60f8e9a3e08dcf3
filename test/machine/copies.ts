/** What a machine has changed is copied whole: to snapshots and back, to clones, to archives and out of spawnlet's hands. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { spawnlet, system } from '../app/tools.ts';
import { createHere as create, machineHere as machine, statusHere as status } from './here.ts';
import { base, inside, useBase } from './machines.ts';

/** Everything that a copy could lose: what was removed, set-id bits, owners, hard links, holes, attributes. */
const changes = `cd "$1"
rm -r etc/motd usr/share/base-files
mkdir -p srv/data opt/emptied
echo hello >srv/data/text; ln srv/data/text srv/data/same
cp bin/true srv/data/setid; chown 1000:1000 srv/data/setid; chmod 6755 srv/data/setid
truncate -s 64M srv/data/holes
ln -s /etc/passwd srv/data/link; mkfifo srv/data/fifo; mknod srv/data/null c 1 3`;

const change = (name: string) => system('sh', '-euc', changes, 'sh', `/var/lib/machines/${name}`);

/** A line for each entry: type, mode, owner, links, size, blocks, device, target. */
const look = (name: string) =>
  system(
    'sh',
    '-euc',
    'cd "$1/srv/data"; stat --format="%n %F %a %u:%g %h %s %b %t" * | sort; ls "$1/opt" "$1/etc/motd" "$1/usr/share/base-files" 2>&1 | sed "s,$1,,"; readlink link; cat text',
    'sh',
    `/var/lib/machines/${name}`,
  );

/** Tests of clones of a base, whatever they are on the file system at hand. */
export function testCopies(): void {
  let made: AsyncDisposable;

  before(async () => {
    made = await useBase();
  });

  after(() => made[Symbol.asyncDispose]());

  test('a snapshot brings back what a machine was, as often as wanted, and clones can be made of it', async () => {
    await create('kept');
    await change('kept');
    const was = await look('kept');
    await machine('snapshot', 'kept', 'one');
    await system(
      'sh',
      '-euc',
      'cd /var/lib/machines/kept; echo other >srv/data/text; touch etc/motd; rm srv/data/fifo',
    );
    await machine('snapshot', 'kept', 'two');
    const size = String.raw`\d+(\.\d+)? k?M?B`;
    assert.match(
      await machine('snapshots', 'kept'),
      new RegExp(`^one .* ago +${size}\ntwo .* ago +${size}\n$`, 'm'),
    );
    const rows = JSON.parse(await machine('snapshots', '-o', 'json', 'kept')) as { size: number }[];
    // The file of their own is some bytes long, and no byte of the base is in them.
    for (const row of rows) assert.ok(row.size < 10 * 2 ** 20, JSON.stringify(rows));
    await machine('restore', 'kept', 'one');
    assert.equal(await look('kept'), was);
    await machine('restore', 'kept', 'two');
    assert.notEqual(await look('kept'), was);
    await machine('restore', 'kept', 'one');
    assert.equal(await look('kept'), was);
    await machine('clone', 'kept/two', 'later');
    assert.equal(await readFile('/var/lib/machines/later/srv/data/text', 'utf8'), 'other\n');
    await machine('start', 'kept', 'later');
    assert.equal(await inside('kept', 'cat', '/srv/data/text'), 'hello\n');
    await machine('rm', 'kept/two');
    assert.deepEqual((await status('kept')).snapshots, ['one']);
    await machine('rm', '--force', 'kept', 'later');
  });

  test('a clone of a machine has all that it has changed, and an identity of its own', async () => {
    await create('origin');
    await change('origin');
    await machine('clone', 'origin', 'copy');
    assert.equal(await look('copy'), await look('origin'));
    const id = (name: string) => readFile(`/var/lib/machines/${name}/etc/machine-id`, 'utf8');
    assert.notEqual(await id('copy'), await id('origin'));
    await writeFile('/var/lib/machines/copy/srv/data/text', 'changed\n');
    assert.equal(await readFile('/var/lib/machines/origin/srv/data/text', 'utf8'), 'hello\n');
    // No byte of the base is in it.
    const size = Number((await system('du', '-sxm', '/var/lib/spawnlet/machine/copy')).split('\t')[0]);
    assert.ok(size < 10, `${size} MB`);
    await machine('rm', 'origin', 'copy');
  });

  test('a machine that runs is copied frozen, or not at all where the host cannot freeze it', async () => {
    await create('busy');
    await machine('start', 'busy');
    for (const words of [
      ['clone', 'busy', 'idle'],
      ['snapshot', 'busy', 'now'],
      ['export', 'busy', '/root/busy.tar'],
    ]) {
      const { code, err } = await spawnlet(['machine', ...words]);
      assert.equal(code, 125);
      assert.match(err, /ERR_RUNNING/);
      assert.match(err, /cgroup version 2/);
    }
    await machine('rm', '--force', 'busy');
  });

  test('rename takes all of a machine along', async () => {
    await create('old', '--enable');
    await change('old');
    await machine('snapshot', 'old', 'one');
    const was = await look('old');
    await mkdir('/etc/systemd/system/systemd-nspawn@old.service.d', { recursive: true });
    await writeFile(
      '/etc/systemd/system/systemd-nspawn@old.service.d/90-hand.conf',
      '[Service]\nMemoryMax=300M\n',
    );
    await machine('rename', 'old', 'new-name');
    assert.equal(await look('new-name'), was);
    assert.equal(
      await system('sh', '-c', 'find /etc/systemd /var/lib/machines -maxdepth 3 -name "*old*"'),
      '',
    );
    await machine('start', 'new-name');
    assert.equal(await inside('new-name', 'hostname'), 'new-name\n');
    assert.match(await system('systemctl', 'is-enabled', 'systemd-nspawn@new-name'), /^enabled$/m);
    assert.equal(
      (await system('systemctl', 'show', '-P', 'MemoryMax', 'systemd-nspawn@new-name')).trim(),
      String(300 * 2 ** 20),
    );
    const { err } = await spawnlet(['machine', 'rename', 'new-name', 'other']);
    assert.match(err, /ERR_RUNNING/);
    await machine('stop', 'new-name');
    await machine('restore', 'new-name', 'one');
    assert.equal(await look('new-name'), was);
    await machine('rm', 'new-name');
    await rm('/etc/systemd/system/systemd-nspawn@new-name.service.d', { recursive: true });
  });

  test('an exported machine is imported whole, with a tree of its own', async () => {
    await create('out', '--memory=200m');
    await change('out');
    // Devices are a matter of the host: an archive gives none.
    await rm('/var/lib/machines/out/srv/data/null');
    const was = await look('out');
    await machine('export', 'out', '/root/out.tar');
    const members = await system('sh', '-c', 'tar --list --file=/root/out.tar | head -n 2');
    assert.equal(members, 'machine.yaml\nrootfs/\n');
    assert.match(
      await machine('import', '/root/out.tar', 'in', '--dry-run'),
      /^unpack \/root\/out\.tar to /m,
    );
    assert.equal(await machine('import', '/root/out.tar', 'in'), 'in\n');
    // A hole is written as zeros.
    const shape = (text: string) => text.replaceAll(/^(holes .*) \d+ (\S+)$/gm, '$1 $2');
    assert.equal(shape(await look('in')), shape(was));
    await machine('start', 'in');
    const { tree, users } = await status('in');
    assert.equal(tree.kind, 'plain');
    assert.match(users.range, /^\d+:65536$/);
    assert.equal(await inside('in', 'hostname'), 'in\n');
    await machine('rm', '--force', 'in', 'out');
    await rm('/root/out.tar');
  });

  test('what somebody has mounted in a tree is in no copy of it', async () => {
    await create('mounted');
    const point = '/var/lib/machines/mounted/mnt';
    await system('mount', '-t', 'tmpfs', 'tmpfs', point);
    try {
      await writeFile(`${point}/elsewhere`, '');
      await machine('clone', 'mounted', 'copy');
      await machine('export', 'mounted', '/root/mounted.tar');
    } finally {
      await system('umount', point);
    }
    const members = await system('tar', '--list', '--file=/root/mounted.tar');
    assert.match(members, /^rootfs\/mnt\/$/m);
    assert.doesNotMatch(members, /elsewhere/);
    assert.equal(await system('ls', '/var/lib/machines/copy/mnt'), '');
    await machine('rm', 'mounted', 'copy');
    await rm('/root/mounted.tar');
  });

  test('an archive may have the name of a variable', async () => {
    await create('dollar');
    await machine('export', 'dollar', '/root/${HOME}.tar');
    assert.equal(await system('sh', '-c', 'ls /root/*.tar'), '/root/${HOME}.tar\n');
    await machine('rm', 'dollar');
    await rm('/root/${HOME}.tar');
  });

  test('an archive is given nothing of the host unless it is trusted', async () => {
    const missing = await spawnlet(['machine', 'import', '/root/nowhere.tar']);
    assert.match(
      missing.err,
      /^spawnlet: there is no \/root\/nowhere\.tar on this host \[ERR_TREE_ARCHIVE\]\n/,
    );
    await create('friend', '--bind', '/:/host', '--profile', 'nested');
    await machine('export', 'friend', '/root/friend.tar');
    await machine('rm', 'friend');
    const { code, err } = await spawnlet(['machine', 'import', '/root/friend.tar']);
    assert.equal(code, 125);
    assert.match(err, /ERR_MACHINE_TRUST/);
    assert.match(err, /bind \/ to \/host; profile nested/);
    assert.equal(
      await system('find', '/var/lib/machines', '/var/lib/spawnlet/machine', '-name', '*friend*'),
      '',
    );
    assert.equal(await machine('import', '--trust', '/root/friend.tar'), 'friend\n');
    assert.match(await readFile('/etc/systemd/nspawn/friend.nspawn', 'utf8'), /^Bind=\/:\/host/m);
    await machine('rm', 'friend');
    await rm('/root/friend.tar');
    await mkdir('/srv/far');
    await create('friend', '--bind', '/srv/far:/far');
    await machine('export', 'friend', '/root/friend.tar');
    await machine('rm', 'friend');
    await rm('/srv/far', { recursive: true });
    const far = await spawnlet(['machine', 'import', '--trust', '/root/friend.tar']);
    assert.match(far.err, /\/srv\/far \(bound to \/far\) \[ERR_GUEST_SOURCE\]/);
    await rm('/root/friend.tar');
  });

  test('an import that fails leaves nothing, and another of the same name waits for none', async () => {
    await create('lone');
    await machine('export', 'lone', '/root/lone.tar');
    const spec = '/var/lib/spawnlet/machine/lone/machine.yaml';
    await system('cp', spec, '/root/machine.yaml');
    await machine('rm', 'lone');
    await system(
      'sed',
      '-i',
      's/^  network: .*/  network: { interfaces: [{ kind: bridge, bridge: br9 }] }/',
      '/root/machine.yaml',
    );
    await system(
      'sh',
      '-euc',
      'cd /root; tar xf lone.tar rootfs/etc/os-release rootfs/usr/lib/os-release; tar cf lone.tar machine.yaml rootfs',
    );
    const { err } = await spawnlet(['machine', 'import', '--trust', '/root/lone.tar']);
    assert.match(err, /ERR_NO_LINK/);
    assert.equal(await system('find', '/var/lib/machines', '-name', '*lone*'), '');
    await mkdir('/var/lib/machines/.#lone.import/etc', { recursive: true });
    await machine('ls');
    assert.equal(await system('find', '/var/lib/machines', '-name', '*lone*'), '');
    await system('rm', '-r', '/root/lone.tar', '/root/machine.yaml', '/root/rootfs');
  });

  test('an ejected machine boots with nothing of spawnlet left', async () => {
    await create('free', '--enable', '--memory=200m');
    await change('free');
    const was = await look('free');
    await machine('eject', 'free');
    assert.equal(await look('free'), was);
    assert.match((await spawnlet(['machine', 'status', 'free'])).err, /ERR_NO_MACHINE/);
    await assert.rejects(readFile('/var/lib/spawnlet/machine/free/machine.yaml'));
    await system('mv', `/var/lib/spawnlet/base/${base}`, '/var/lib/spawnlet/base/away');
    const files = await system('sh', '-c', 'find /etc/systemd -name "*free*" | sort');
    assert.equal(
      files,
      `/etc/systemd/nspawn/free.nspawn
/etc/systemd/system/machines.target.wants/systemd-nspawn@free.service
/etc/systemd/system/systemd-nspawn@free.service.d
`,
    );
    await system('systemctl', 'start', 'systemd-nspawn@free');
    assert.equal(await inside('free', 'cat', '/srv/data/text'), 'hello\n');
    await system('systemctl', 'stop', 'systemd-nspawn@free');
    await system('mv', '/var/lib/spawnlet/base/away', `/var/lib/spawnlet/base/${base}`);
    const report = await machine('adopt', 'free');
    assert.match(report, /MemoryMax/);
    assert.equal((await status('free')).tree.kind, 'plain');
    await machine('start', 'free');
    await machine('rm', '--force', 'free');
    await rm('/var/lib/machines/free', { recursive: true });
  });
}
