import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import {
  archive,
  base256,
  directory,
  file,
  gnuLong,
  hardlink,
  pax,
  raw,
  symlink,
  whiteout,
} from '../../../test/harness/hostile-tar.ts';
import { members, refuses, sanitise, shown } from '../../../test/harness/sanitised.ts';
import { defaultLimits } from './entry.ts';
import { Sanitiser } from './sanitiser.ts';

const dir = (path: string) => ({ kind: 'directory' as const, path });

describe('a layer goes through the sanitiser', () => {
  it('with files, directories, links and devices as they are', () => {
    assert.deepEqual(
      shown(
        directory('a'),
        file('a/b', 'hello'),
        symlink('a/c', '../../etc/passwd'),
        hardlink('a/d', 'a/b'),
        raw({ name: 'a/null', type: '3', major: 1, minor: 3 }),
        raw({ name: 'a/pipe', type: '6' }),
      ),
      [
        dir('a'),
        { kind: 'file', path: 'a/b', content: 'hello' },
        { kind: 'symlink', path: 'a/c', target: '../../etc/passwd' },
        { kind: 'link', path: 'a/d', target: 'a/b' },
        { kind: 'char', path: 'a/null' },
        { kind: 'fifo', path: 'a/pipe' },
      ],
    );
  });

  it('by the same bytes however the stream is cut', () => {
    const tar = archive(
      directory('a'),
      pax({ path: `a/${'n'.repeat(200)}`, mtime: '12.5', 'SCHILY.xattr.user.x': '\xff\0=' }),
      file('short', 'x'.repeat(1300)),
      gnuLong('L', `a/${'m'.repeat(180)}`),
      file('short', 'y'),
      whiteout('a/gone'),
      hardlink('a/h', `a/${'n'.repeat(200)}`),
    );
    const whole = sanitise(tar).bytes;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: tar.length }), chunk => {
        assert.deepEqual(sanitise(tar, chunk).bytes, whole);
      }),
    );
  });

  it('and is the same when it goes through again', () => {
    const once = sanitise(
      archive(directory('a'), pax({ mtime: '1.000000001' }), file('./a//./b', 'x')),
    ).bytes;
    assert.deepEqual(sanitise(once).bytes, once);
  });

  it('without a second copy of its data in memory', () => {
    const content = Buffer.alloc(100_000, 'x');
    const tar = archive(file('a', content), file('b', content));
    const pieces = new Sanitiser(defaultLimits).push(tar);
    assert.equal(pieces.length, 1);
    assert.equal((pieces[0] as Buffer).buffer, tar.buffer);
  });

  it('with names that are not UTF-8, long ones too', () => {
    const long = `${'\xff'.repeat(120)}/\xe9`;
    assert.deepEqual(shown(gnuLong('L', long), file('short'), file('\xe9')), [
      { kind: 'file', path: long, content: '' },
      { kind: 'file', path: '\xe9', content: '' },
    ]);
  });

  it('with paths in one form, whatever leads to the root', () => {
    for (const name of ['a/b', './a/b', '/a/b', '//a//./b', 'a/./b'])
      assert.deepEqual(shown(directory('a'), file(name))[1], { kind: 'file', path: 'a/b', content: '' });
  });

  it('ending at two blocks of zeros, or without them at the end of an entry', () => {
    assert.equal(members(sanitise(file('a')).bytes).length, 1);
    assert.equal(members(sanitise(Buffer.alloc(0)).bytes).length, 0);
    const junk = Buffer.concat([archive(file('a')), Buffer.alloc(700, 'x')]);
    assert.equal(members(sanitise(junk).bytes).length, 1);
  });

  it('with the ids and sizes of base-256 fields', () => {
    const [entry] = members(sanitise(archive(file('a', 'x', { uid: base256(3_000_000n, 8) }))).bytes);
    assert.equal(entry?.path, 'a');
  });

  it('ignoring global PAX headers, as the tools that made the image did', () => {
    assert.deepEqual(shown(pax({ path: 'evil', uid: '5' }, 'g'), file('a')), [
      { kind: 'file', path: 'a', content: '' },
    ]);
  });
});

describe('attributes', () => {
  it('security.capability and user.* of files are kept, others dropped', () => {
    const capability = '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0';
    const [entry] = shown(
      pax({
        'SCHILY.xattr.security.capability': capability,
        'SCHILY.xattr.user.note': 'a=b%c\n',
        'SCHILY.xattr.security.selinux': 'x',
        'SCHILY.xattr.system.posix_acl_access': 'x',
        'LIBARCHIVE.xattr.user.other': 'x',
      }),
      file('a'),
    );
    assert.deepEqual(entry?.xattrs, [
      { name: 'security.capability', value: capability },
      { name: 'user.note', value: 'a=b%c\n' },
    ]);
  });

  it('of what cannot have them are dropped', () => {
    const [entry] = shown(pax({ 'SCHILY.xattr.user.note': 'x' }), symlink('a', 'b'));
    assert.equal(entry?.xattrs, undefined);
  });

  it('that the kernel would not take are refused', () => {
    refuses('ERR_LAYER_XATTR', pax({ 'SCHILY.xattr.user.a': 'x'.repeat(65_537) }), file('a'));
    refuses('ERR_LAYER_XATTR', pax({ [`SCHILY.xattr.user.${'a'.repeat(260)}`]: 'x' }), file('a'));
  });
});
