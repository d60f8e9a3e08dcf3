import assert from 'node:assert/strict';
import { test } from 'node:test';
import { managerOf, managers, serviceFiles, versionIn } from './managers.ts';

test('1.5 of systemk: a distribution is known by its ID, wherever that stands, and by what it is like', () => {
  const of = (text: string) => managerOf(text)?.name;
  assert.equal(of('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'), 'apt');
  assert.equal(of('VERSION_ID="22.04"\nUBUNTU_CODENAME=jammy\nID=ubuntu\nID_LIKE=debian\n'), 'apt');
  assert.equal(of('ID="raspbian"\nID_LIKE=debian\n'), 'apt');
  assert.equal(of('ID="rocky"\nID_LIKE="rhel centos fedora"\n'), 'dnf');
  assert.equal(of("ID='opensuse-leap'\n"), 'zypper');
  assert.equal(of('ID=arch\n'), 'pacman');
  assert.equal(of('ID=nixos\nVARIANT_ID=debian\n'), undefined);
});

test('1.5 of systemk: each manager is asked in its own words, and for a version where it has several', () => {
  const last = (words: readonly string[]) => [words[0], words.at(-1)];
  assert.deepEqual(last(managers.apt.install('nginx', '1.22.1-9')), ['apt-get', 'nginx=1.22.1-9']);
  assert.deepEqual(last(managers.dnf.install('nginx', '1:1.2-3')), ['dnf', 'nginx-1:1.2-3']);
  assert.deepEqual(last(managers.zypper.install('nginx', '1.2-3')), ['zypper', 'nginx=1.2-3']);
  assert.deepEqual(last(managers.pacman.install('nginx', '1.2-3')), ['pacman', 'nginx']);
  for (const manager of Object.values(managers)) {
    const unpinned = manager.install('nginx', undefined);
    assert.equal(unpinned.at(-1), 'nginx');
    assert.ok(
      unpinned.some(word => /yes|-y|noconfirm|non-interactive/.test(word)),
      `${manager.name} asks nothing`,
    );
  }
});

test('a package counts as installed if it is wholly there', () => {
  assert.equal(versionIn(managers.apt, 'installed 1:2.0-3\n'), '1:2.0-3');
  for (const state of ['config-files', 'half-configured', 'unpacked', 'not-installed'])
    assert.equal(versionIn(managers.apt, `${state} 1.0\n`), undefined, state);
  assert.equal(versionIn(managers.dnf, '1:1.2-3\n'), '1:1.2-3');
  assert.equal(versionIn(managers.pacman, 'nginx 1.2-3\n'), '1.2-3');
});

test('1.5 of systemk: units of a package are found in /lib and /usr/lib, that of its own name first, templates not', () => {
  const files = [
    '/usr/lib/systemd/system/a-helper.service',
    '/lib/systemd/system/web@.service',
    '/lib/systemd/system/web.service',
    '/usr/share/doc/x.service',
    '/lib/systemd/user/web.service',
  ];
  assert.deepEqual(serviceFiles('web', files), [
    '/lib/systemd/system/web.service',
    '/usr/lib/systemd/system/a-helper.service',
  ]);
});
