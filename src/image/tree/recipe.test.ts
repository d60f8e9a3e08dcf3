import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpawnletError } from '../../host/error.ts';
import { bootstrapArgv, confined, settingsOf } from './bootstrap.ts';
import { baseNameOf, differences, recipeDigest, recipeOf } from './recipe.ts';
import type { TreeSource } from './source.ts';

const debian = { kind: 'debian', suite: 'bookworm' } as const;
const url = { kind: 'tar', location: 'https://example.org/x.tar' } as const;
const sum = 'ab'.repeat(32);
const refused = (code: string) => (error: unknown) => error instanceof SpawnletError && error.code === code;

test('the order of packages says nothing, their names do', () => {
  const digest = (packages: string[]) => recipeDigest(recipeOf(debian, { packages }));
  assert.equal(digest(['a', 'b', 'a']), digest(['b', 'a']));
  assert.notEqual(digest(['a']), digest(['b']));
});

test('where a file lies says nothing, its content does', () => {
  const digest = (directory: string, sha256: string) =>
    recipeDigest(
      recipeOf(
        { kind: 'tar', location: `${directory}/x.tar`, sha256: sum },
        {
          run: [{ path: `${directory}/setup`, sha256 }],
          copy: [{ source: `${directory}/motd`, target: '/etc/motd', sha256 }],
        },
      ),
    );
  assert.equal(digest('/a', sum), digest('/b', sum));
  assert.notEqual(digest('/a', sum), digest('/a', '0'.repeat(64)));
});

test('a recipe that was read from its file has the same digest', () => {
  const recipe = recipeOf(debian, { packages: ['a'], mirror: 'http://127.0.0.1/debian', insecure: true });
  const keys = Object.entries(recipe).toReversed();
  assert.equal(recipeDigest(JSON.parse(JSON.stringify(Object.fromEntries(keys)))), recipeDigest(recipe));
  assert.match(baseNameOf(recipe), /^debian-bookworm-[0-9a-f]{8}$/);
});

test('differences are named', () => {
  const one = recipeOf(debian, { packages: ['a'] });
  const other = recipeOf(debian, { packages: ['b'], mirror: 'https://example.org/debian' });
  assert.deepEqual(differences(one, other), ['mirror', 'packages']);
  assert.deepEqual(differences(one, one), []);
});

test('what could be taken for a flag or another line is refused', () => {
  for (const packages of [['-o', ''], ['a b'], ['a,b'], ['--x'], ['a\n']])
    assert.throws(() => recipeOf(debian, { packages }), refused('ERR_FLAG_VALUE'), packages.join());
  for (const mirror of [
    '-',
    'deb http://x y',
    'http://x y',
    '/etc/apt/sources.list',
    'https://x/\n',
    'ftp://x',
  ])
    assert.throws(() => recipeOf(debian, { mirror }), refused('ERR_FLAG_VALUE'), mirror);
  for (const target of ['etc', '/../x', '/a/../../x'])
    assert.throws(
      () => recipeOf(debian, { copy: [{ source: '/x', target, sha256: sum }] }),
      refused('ERR_FLAG_VALUE'),
    );
  for (const keyring of ['relative', '/a b', "/a'b"])
    assert.throws(() => recipeOf(debian, { keyring }), refused('ERR_FLAG_VALUE'), keyring);
});

test('a flag that is not for the source is refused, never ignored', () => {
  const image = { kind: 'oci', image: 'debian:12' } as const;
  const flags = [{ mirror: 'https://x/y' }, { components: ['main'] }, { keyring: '/k' }];
  for (const options of flags) assert.throws(() => recipeOf(image, options), refused('ERR_FLAG_VALUE'));
  assert.throws(() => recipeOf(debian, { signature: '/s', keyring: '/k' }), refused('ERR_FLAG_VALUE'));
  assert.throws(() => recipeOf(url, { signature: '/s', insecure: true }), refused('ERR_FLAG_VALUE'));
});

test('a URL needs a checksum or a signature', () => {
  assert.throws(() => recipeOf(url), refused('ERR_TREE_UNVERIFIED'));
  recipeOf({ ...url, sha256: sum });
  recipeOf(url, { signature: 'https://example.org/x.sig', keyring: '/k.gpg' });
  recipeOf(url, { insecure: true });
});

test('what nobody signed is taken only where that is said', () => {
  const mirror = 'http://127.0.0.1/debian';
  const argv = (insecure: boolean) =>
    bootstrapArgv(recipeOf(debian, { mirror, insecure }), 'mmdebstrap', '/root', '').join(' ');
  assert.doesNotMatch(argv(false), /trusted/);
  assert.match(argv(true), /deb \[trusted=yes\] http:\/\/127\.0\.0\.1\/debian bookworm main/);
  const settings = (source: TreeSource, insecure: boolean) =>
    settingsOf(recipeOf(source, { insecure })) ?? '';
  assert.match(settings({ kind: 'arch' }, false), /^SigLevel = Required/m);
  assert.match(settings({ kind: 'arch' }, true), /^SigLevel = Never/m);
  const fedora = { kind: 'fedora', release: '42' } as const;
  assert.match(settings(fedora, false), /^gpgcheck=True$/m);
  assert.match(settings(fedora, false), /^gpgkey=file:\/\/\/usr\/share/m);
  assert.match(settings(fedora, true), /^gpgcheck=False$/m);
});

test('a mirror of Fedora has a release and its updates, unless one repository is named with variables of dnf', () => {
  const urls = (release: string, mirror: string) =>
    (settingsOf(recipeOf({ kind: 'fedora', release }, { mirror })) ?? '').match(/(?<=^baseurl=).*/gm);
  assert.deepEqual(urls('42', 'https://x/linux'), [
    'https://x/linux/releases/$releasever/Everything/$basearch/os/',
    'https://x/linux/updates/$releasever/Everything/$basearch/',
  ]);
  assert.deepEqual(urls('rawhide', 'https://x/linux'), [
    'https://x/linux/development/rawhide/Everything/$basearch/os/',
  ]);
  assert.deepEqual(urls('42', 'https://x/$basearch'), ['https://x/$basearch']);
});

test('a build ends with the process that asked for it', () => {
  const argv = confined(['mmdebstrap']);
  assert.deepEqual(argv.slice(0, 3), ['setpriv', '--pdeathsig', 'KILL']);
  assert.ok(argv.includes('--kill-child'));
});
