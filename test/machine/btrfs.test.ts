// runs in a lab: bookworm trixie +btrfs-progs
// On btrfs a clone of a base is a snapshot: a tree of its own, whose blocks are the base's until they are changed.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { done, spawnlet, system } from '../app/tools.ts';
import { useFileSystem } from '../harness/file-system.ts';
import { testCopies } from './copies.ts';
import { createHere as create, machineHere as machine, statusHere as status } from './here.ts';
import { inside, useBase } from './machines.ts';
import { testStandstill } from './standstill.ts';

let disk: AsyncDisposable;
let made: AsyncDisposable;

before(async () => {
  disk = await useFileSystem('btrfs');
  made = await useBase();
});

after(async () => {
  await made[Symbol.asyncDispose]();
  await disk[Symbol.asyncDispose]();
});

const shell = (script: string, ...words: string[]) => system('sh', '-euc', script, 'sh', ...words);

/** Paths of all subvolumes, from the root of the file system. */
const subvolumes = async () =>
  (await system('btrfs', 'subvolume', 'list', '/run/disk'))
    .split('\n')
    .map(line => line.replace(/^.* path /, ''))
    .filter(Boolean)
    .sort();

/** What `btrfs subvolume show` has behind a word. */
const shown = async (path: string, word: string) =>
  new RegExp(`${word}:\\s*(\\S+)`).exec(await system('btrfs', 'subvolume', 'show', path))?.[1] ?? 'none';

describe('a clone of a base that is a subvolume', () => {
  test('is a snapshot of it, has a user namespace, and does without the base', async () => {
    await done(['base', 'prepare', 'deb', '--from', 'base:lab']);
    const base = '/var/lib/spawnlet/base/deb/tree';
    assert.equal(await shown(base, 'Parent UUID'), await shown('/var/lib/spawnlet/base/lab/tree', 'UUID'));
    await machine('create', 'web', '--from', 'base:deb', '--network', 'none');
    assert.equal(await shown('/var/lib/machines/web', 'Parent UUID'), await shown(base, 'UUID'));
    await assert.rejects(readFile('/etc/systemd/system/var-lib-machines-web.mount'), { code: 'ENOENT' });
    await done(['base', 'rm', 'deb']);
    await machine('start', 'web');
    const { tree, users } = await status('web');
    assert.equal(tree.kind, 'plain');
    assert.match(users.range, /^[1-9]\d*:65536$/);
    assert.equal(await inside('web', 'stat', '-c', '%U', '/', '/etc/passwd'), 'root\nroot\n');
    await inside('web', 'touch', '/etc/mine');
    assert.equal(await system('stat', '-c', '%u', '/var/lib/machines/web/etc/mine'), '0\n');
    await machine('rm', '--force', 'web');
    assert.deepEqual(await subvolumes(), ['spawnlet/base/lab/tree']);
  });

  test('has the subvolumes in it copied and removed with it, read-only ones, too', async () => {
    await create('outer');
    await shell(`cd /var/lib/machines/outer/srv
      btrfs subvolume create 'in ner'; echo hello >'in ner/text'
      btrfs subvolume create 'in ner/deep'; echo deep >'in ner/deep/text'
      btrfs subvolume create 'in ner/deep/deeper'
      btrfs property set -ts 'in ner/deep' ro true`);
    const read = (tree: string) => shell('cat "$1/srv/in ner/text" "$1/srv/in ner/deep/text"', tree);
    await machine('clone', 'outer', 'other');
    assert.equal(await read('/var/lib/machines/other'), 'hello\ndeep\n');
    await machine('snapshot', 'outer', 'one');
    await shell('echo changed >"/var/lib/machines/outer/srv/in ner/text"');
    await machine('restore', 'outer', 'one');
    assert.equal(await read('/var/lib/machines/outer'), 'hello\ndeep\n');
    await machine('rename', 'outer', 'named');
    assert.equal(await read('/var/lib/machines/named'), 'hello\ndeep\n');
    await machine('export', 'named', '/root/named.tar');
    assert.match(await system('tar', '--list', '--file=/root/named.tar'), /srv\/in ner\/deep\/text$/m);
    await done(['base', 'prepare', 'nested', '--from', 'machine:named']);
    assert.equal(await read('/var/lib/spawnlet/base/nested/tree'), 'hello\ndeep\n');
    await done(['base', 'rm', 'nested']);
    await machine('rm', 'named', 'other');
    await system('rm', '/root/named.tar');
    assert.deepEqual(await subvolumes(), ['spawnlet/base/lab/tree']);
  });

  test('is copied and removed whatever names its subvolumes have, and nothing else is', async () => {
    await create('hostile');
    await shell(`btrfs subvolume create /run/disk/victim; echo mine >/run/disk/victim/text
      victim=$(btrfs inspect-internal rootid /run/disk/victim)
      cd /var/lib/machines/hostile/srv
      end='
'
      ln -s /run/disk/victim link; btrfs subvolume create "link$end"; echo hello >"link$end/text"
      btrfs subvolume create 'a\\c'; btrfs subvolume create "line\${end}ID $victim gen 1"
      mkdir -p run; btrfs subvolume create last; echo last >last/text`);
    await machine('clone', 'hostile', 'other');
    assert.equal(await shell('cd /var/lib/machines/other/srv; cat link?/text last/text'), 'hello\nlast\n');
    await machine('rm', 'hostile', 'other');
    assert.equal(await system('cat', '/run/disk/victim/text'), 'mine\n');
    await system('btrfs', 'subvolume', 'delete', '/run/disk/victim');
    assert.deepEqual(await subvolumes(), ['spawnlet/base/lab/tree']);
  });

  test('is made anew over what a killed command has left of it', async () => {
    const part = '/var/lib/machines/.#left.part';
    await shell(
      `btrfs subvolume create "$1"; btrfs subvolume create "$1/inner"; btrfs property set -ts "$1/inner" ro true`,
      part,
    );
    await create('left');
    assert.deepEqual(await subvolumes(), ['machines/left', 'spawnlet/base/lab/tree']);
    await machine('rm', 'left');
  });

  test('is an overlay where there can be no snapshot, and status says what would make one', async () => {
    const isOverlay = async (name: string) => {
      await create(name);
      const { tree, users } = await status(name);
      assert.equal(tree.kind, 'overlay', name);
      assert.match(users.why ?? '', /overlay.*btrfs/);
      await machine('rm', name);
    };
    await shell('mv "$(command -v btrfs)" /root/btrfs');
    try {
      await isOverlay('without');
    } finally {
      await shell('mv /root/btrfs /usr/bin/btrfs');
    }
    // On another file system than the base.
    await system('umount', '/var/lib/machines');
    try {
      await isOverlay('elsewhere');
    } finally {
      await system('mount', '--bind', '/run/disk/machines', '/var/lib/machines');
    }
    // As bases were made before: a directory that is no subvolume.
    await shell('cd /var/lib/spawnlet/base/lab; mv tree old; cp -a --reflink=always old tree');
    try {
      await isOverlay('directory');
    } finally {
      await shell('cd /var/lib/spawnlet/base/lab; rm -r tree; mv old tree');
    }
  });

  test('is removed without the programs of btrfs', async () => {
    await create('bare');
    await shell('mv "$(command -v btrfs)" /root/btrfs');
    try {
      await machine('rm', 'bare');
    } finally {
      await shell('mv /root/btrfs /usr/bin/btrfs');
    }
    assert.deepEqual(await subvolumes(), ['spawnlet/base/lab/tree']);
  });
});

test('a base of any source is a subvolume, and nothing of a build that failed stays', async () => {
  await shell(`mkdir -p /root/tree/rootfs/usr /root/tree/rootfs/etc; echo hello >/root/tree/rootfs/etc/motd
    chmod 750 /root/tree/rootfs; tar -cf /root/wrapped.tar -C /root/tree .; tar -cf /root/plain.tar -C /root/tree/rootfs .`);
  for (const source of ['tar:/root/plain.tar', 'tar:/root/wrapped.tar', 'dir:/root/tree/rootfs']) {
    await done(['base', 'prepare', 'some', '--from', source]);
    assert.deepEqual(await subvolumes(), ['spawnlet/base/lab/tree', 'spawnlet/base/some/tree'], source);
    assert.equal(
      await shell('cd /var/lib/spawnlet/base/some/tree; stat -c %a .; cat etc/motd'),
      '750\nhello\n',
      source,
    );
    await done(['base', 'rm', 'some']);
  }
  const { code } = await spawnlet(['base', 'prepare', 'some', '--from', 'dir:/root/tree']);
  assert.equal(code, 125);
  assert.deepEqual(await subvolumes(), ['spawnlet/base/lab/tree']);
  await system('rm', '-r', '/root/tree', '/root/wrapped.tar', '/root/plain.tar');
});

describe('copies of snapshots', testCopies);

describe('snapshots that are copied', testStandstill);
