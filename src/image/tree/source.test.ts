import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { SpawnletError } from '../../host/error.ts';
import {
  checkUrl,
  formatTreeSource,
  labelOf,
  parseBaseName,
  parseTreeSource,
  shownSource,
  type TreeSource,
} from './source.ts';

const sum = 'ab'.repeat(32);
const code = (wanted: string) => (error: unknown) => error instanceof SpawnletError && error.code === wanted;

test('each kind of source is read', () => {
  const cases: Readonly<Record<string, TreeSource>> = {
    'debian:bookworm': { kind: 'debian', suite: 'bookworm' },
    'ubuntu:noble': { kind: 'ubuntu', suite: 'noble' },
    arch: { kind: 'arch' },
    'fedora:42': { kind: 'fedora', release: '42' },
    'tar:a/b.tar.xz': { kind: 'tar', location: '/here/a/b.tar.xz' },
    [`tar:/x#1.tar#sha256=${sum}`]: { kind: 'tar', location: '/x#1.tar', sha256: sum },
    [`tar:https://example.org/x.tar#sha256=${sum}`]: {
      kind: 'tar',
      location: 'https://example.org/x.tar',
      sha256: sum,
    },
    'oci:debian:12': { kind: 'oci', image: 'debian:12' },
    'oci:oci:./layout:tag': { kind: 'oci', image: 'oci:/here/layout:tag' },
    'dir:../tree': { kind: 'directory', path: '/tree' },
    'machine:web': { kind: 'machine', name: 'web' },
    'base:arch': { kind: 'base', name: 'arch' },
    deb: { kind: 'base', name: 'deb' },
  };
  for (const [text, source] of Object.entries(cases))
    assert.deepEqual(parseTreeSource(text, '/here'), source, text);
});

test('what is no source is refused', () => {
  const texts = ['debian', 'debian:', 'debian:../x', 'ubuntu:-x', 'fedora:x', 'tar:', 'dir:', 'machine:a/b'];
  for (const text of [...texts, 'zip:x', './x', '', 'tar:ftp://h/x', 'tar:x#sha256=12', 'arch:1'])
    assert.throws(() => parseTreeSource(text, '/'), code('ERR_TREE_SOURCE'), text);
  for (const text of ['base:', 'base:a/b', 'base:..', 'x.building', 'x.old', 'base:-x'])
    assert.throws(() => parseTreeSource(text, '/'), code('ERR_BASE_NAME'), text);
});

test('http is for this machine alone, and no URL holds credentials', () => {
  assert.equal(checkUrl('http://127.0.0.1:8080/x').href, 'http://127.0.0.1:8080/x');
  for (const url of ['http://example.org/x', 'https://me:secret@example.org/x', 'file:///etc/shadow'])
    assert.throws(() => checkUrl(url), code('ERR_TREE_SOURCE'), url);
  assert.throws(
    () => checkUrl('https://me:secret@example.org/x'),
    (error: unknown) => error instanceof Error && !error.message.includes('secret'),
  );
});

test('what is written is read as the same source', () => {
  const own = { noNullPrototype: true };
  const word = fc.stringMatching(/^[a-z][a-z0-9]{0,10}$/);
  const path = fc.array(word, { minLength: 1 }).map(parts => `/${parts.join('/')}`);
  const source: fc.Arbitrary<TreeSource> = fc.oneof(
    fc.record({ kind: fc.constantFrom('debian', 'ubuntu'), suite: word }, own),
    fc.constant({ kind: 'arch' } as const),
    fc.record({ kind: fc.constant('tar' as const), location: path, sha256: fc.constant(sum) }, own),
    fc.record({ kind: fc.constant('directory' as const), path }, own),
    fc.record({ kind: fc.constantFrom('base', 'machine'), name: word }, own),
    fc.record({ kind: fc.constant('oci' as const), image: word.map(name => `${name}:1`) }, own),
  );
  fc.assert(
    fc.property(source, each => {
      assert.deepEqual(parseTreeSource(formatTreeSource(each), '/elsewhere'), each);
    }),
  );
});

test('any text gives a source or an error with a hint', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      try {
        parseTreeSource(text, '/');
      } catch (error) {
        assert.ok(error instanceof SpawnletError && error.hint);
      }
    }),
  );
});

test('a name that was made from a source can be the name of a base', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 1 }), text => {
      for (const source of [
        { kind: 'tar', location: `/${text}` },
        { kind: 'oci', image: text },
        { kind: 'directory', path: `/${text}` },
      ] as const)
        parseBaseName(labelOf(source));
    }),
  );
  assert.equal(labelOf({ kind: 'debian', suite: 'bookworm' }), 'debian-bookworm');
  assert.equal(labelOf({ kind: 'tar', location: 'https://h/alpine.tar.xz' }), 'alpine');
  assert.equal(labelOf({ kind: 'oci', image: 'docker.io/library/debian:12@sha256:00' }), 'debian-12');
});

test('lists show no query of a URL', () => {
  assert.equal(
    shownSource({ kind: 'tar', location: 'https://h/x.tar?token=secret', sha256: sum }),
    'tar:https://h/x.tar',
  );
});
