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
  opaque,
  pax,
  raw,
  rawHeader,
  symlink,
  whiteout,
} from '../../../test/harness/hostile-tar.ts';
import { SpawnletError } from '../../host/error.ts';
import { defaultLimits, type Entry, type Limits } from './entry.ts';
import { isZero, parseHeader } from './header.ts';
import { parseMember } from './member.ts';
import { parseRecords, type Records } from './pax.ts';
import { type Piece, Sanitiser } from './sanitiser.ts';

interface Result {
  readonly bytes: Buffer;
  readonly opaque: readonly string[];
  readonly lower: readonly string[];
  readonly cuts: number;
}

/** Runs an archive through, in chunks of this size, never changing the caller's bytes. */
function sanitise(tar: Buffer, chunk = tar.length, limits: Limits = defaultLimits): Result {
  const sanitiser = new Sanitiser(limits);
  const pieces: Piece[] = [];
  for (let at = 0; at < tar.length; at += chunk)
    pieces.push(...sanitiser.push(Buffer.from(tar.subarray(at, at + chunk))));
  const end = sanitiser.end();
  pieces.push(...end.pieces);
  for (const { entry, target } of end.lower) pieces.push(...sanitiser.add({ ...entry, target }));
  const rest = sanitiser.finish();
  pieces.push(...rest.pieces);
  return {
    bytes: Buffer.concat(pieces.filter(piece => Buffer.isBuffer(piece))),
    opaque: rest.opaque,
    lower: end.lower.map(link => `${link.entry.path} => ${link.target}`),
    cuts: pieces.filter(piece => !Buffer.isBuffer(piece)).length,
  };
}

type Shown = Partial<Entry> & { readonly content?: string };

/** Reads what comes out: only headers that the writer writes are in it. Fields that are of no interest are left out. */
function members(bytes: Buffer): Shown[] {
  const out: Shown[] = [];
  let records: Records = new Map();
  let longName: string | undefined;
  let longTarget: string | undefined;
  for (let at = 0; at < bytes.length; ) {
    if (isZero(bytes, at)) {
      at += 512;
      continue;
    }
    const header = parseHeader(bytes, at);
    const data = bytes.subarray(at + 512, at + 512 + header.size);
    at += 512 + Math.ceil(header.size / 512) * 512;
    if (header.type === 'x') {
      const all = parseRecords(data);
      assert.ok([...all.keys()].every(key => /^(uid|gid|size|mtime|SCHILY\.xattr\..+)$/.test(key)));
      records = all;
      continue;
    }
    const text = data.toString('latin1').replace(/\0$/, '');
    if (header.type === 'L') longName = text;
    else if (header.type === 'K') longTarget = text;
    else {
      // parseMember refuses marks of overlayfs; here they are looked for.
      const isMark = header.type === '3' && header.major === 0 && header.minor === 0;
      const marks = new Map([...records].filter(([key]) => key.startsWith('SCHILY.xattr.trusted.')));
      for (const key of marks.keys()) (records as Map<string, string>).delete(key);
      const entry = parseMember(isMark ? { ...header, minor: 1 } : header, { records, longName, longTarget });
      const shown: Shown = {
        kind: entry.kind,
        path: entry.path,
        ...(entry.target !== '' && { target: entry.target }),
        ...(entry.kind === 'file' && { content: text }),
        ...((entry.xattrs.length > 0 || marks.size > 0) && {
          xattrs: [
            ...entry.xattrs,
            ...[...marks].map(([key, value]) => ({ name: key.slice('SCHILY.xattr.'.length), value })),
          ],
        }),
      };
      out.push(isMark ? { ...shown, minor: 0 } : shown);
      records = new Map();
      longName = undefined;
      longTarget = undefined;
    }
  }
  return out;
}

const shown = (...parts: Buffer[]) => members(sanitise(archive(...parts)).bytes);

const refused = (code: string) => (error: unknown) => error instanceof SpawnletError && error.code === code;

function refuses(code: string, ...parts: Buffer[]): void {
  assert.throws(() => sanitise(archive(...parts)), refused(code));
}

const dir = (path: string) => ({ kind: 'directory' as const, path });
const mark = (path: string) => ({ kind: 'char' as const, path, minor: 0 });
const opaqueMark = [{ name: 'trusted.overlay.opaque', value: 'y' }];

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

describe('marks of removed files', () => {
  it('become devices 0:0 at the end', () => {
    assert.deepEqual(shown(directory('a'), whiteout('a/b'), file('a/c')), [
      dir('a'),
      { kind: 'file', path: 'a/c', content: '' },
      mark('a/b'),
    ]);
  });

  it('hide nothing of their own layer, before or after it', () => {
    const kept = [{ kind: 'file', path: 'b', content: 'x' }];
    assert.deepEqual(shown(whiteout('b'), file('b', 'x')), kept);
    assert.deepEqual(shown(file('b', 'x'), whiteout('b')), kept);
  });

  it('make a directory of their own layer opaque', () => {
    for (const parts of [
      [directory('d'), whiteout('d')],
      [whiteout('d'), directory('d')],
    ]) {
      const result = sanitise(archive(...parts));
      assert.deepEqual(result.opaque, ['d']);
      assert.deepEqual(members(result.bytes).at(-1), { ...dir('d'), xattrs: opaqueMark });
    }
  });

  it('make directories opaque in whatever order they come', () => {
    const parts = [directory('d'), file('d/x'), opaque('d'), whiteout('d/y')];
    for (const order of [parts, parts.toReversed()]) {
      const result = sanitise(archive(...order));
      assert.deepEqual(result.opaque, ['d']);
      const last = members(result.bytes).slice(-2);
      assert.deepEqual(last, [mark('d/y'), { ...dir('d'), xattrs: opaqueMark }]);
    }
  });

  it('make the root opaque, and a directory without an entry', () => {
    assert.deepEqual(sanitise(archive(opaque(''))).opaque, ['']);
    assert.deepEqual(sanitise(archive(opaque('a/b'))).opaque, ['a/b']);
  });

  it('of AUFS are left out', () => {
    assert.deepEqual(shown(directory('.wh..wh.plnk'), file('.wh..wh.plnk/1.2'), file('.wh..wh.aufs')), []);
  });

  it('without a name, or with one that leads elsewhere, are refused', () => {
    for (const name of ['.wh.', 'a/.wh.', '.wh...', 'a/.wh..', '.wh.x/y'])
      refuses('ERR_LAYER_WHITEOUT', file(name));
  });

  it('are not made by a device in the archive', () => {
    refuses('ERR_LAYER_DEVICE', raw({ name: 'b', type: '3', major: 0, minor: 0 }));
  });

  it('are not made by attributes in the archive', () => {
    for (const name of [
      'trusted.overlay.opaque',
      'user.overlay.opaque',
      'user.overlay.whiteout',
      'trusted.x',
    ])
      refuses('ERR_LAYER_XATTR', pax({ [`SCHILY.xattr.${name}`]: 'y' }), directory('d'));
  });

  it('stay right when a directory was replaced after its mark', () => {
    const result = sanitise(
      archive(directory('d'), whiteout('d/gone'), opaque('d'), file('d', 'now a file')),
    );
    assert.deepEqual(result.opaque, []);
    assert.deepEqual(members(result.bytes).slice(-1), [{ kind: 'file', path: 'd', content: 'now a file' }]);
    assert.equal(result.cuts, 1);
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

describe('hostile archives', () => {
  it('with paths that lead up are refused', () => {
    for (const name of ['../x', 'a/../../x', 'a/..', '..', '/../x']) {
      refuses('ERR_LAYER_PATH', file(name));
      refuses('ERR_LAYER_PATH', pax({ path: name }), file('x'));
      refuses('ERR_LAYER_PATH', gnuLong('L', name), file('x'));
      refuses('ERR_LAYER_PATH', file('x'), hardlink('y', name));
    }
  });

  it('with names that no file system takes are refused', () => {
    refuses('ERR_LAYER_PATH', pax({ path: 'a\0b' }), file('x'));
    refuses('ERR_LAYER_PATH', pax({ path: 'n'.repeat(256) }), file('x'));
    refuses('ERR_LAYER_PATH', pax({ path: 'n/'.repeat(2050) }), file('x'));
    refuses('ERR_LAYER_PATH', file('./'));
  });

  it('are resolved inside the layer where a parent is a link (CVE-2021-29136, CVE-2025-47290)', () => {
    assert.deepEqual(shown(symlink('up', '../../../etc'), file('up/passwd', 'x')).at(-1), {
      kind: 'file',
      path: 'etc/passwd',
      content: 'x',
    });
    assert.deepEqual(shown(symlink('abs', '/srv'), symlink('abs2', 'abs/x'), file('abs2/f')).at(-1), {
      kind: 'file',
      path: 'srv/x/f',
      content: '',
    });
  });

  it('whose root is a link are refused (CVE-2021-29136)', () => {
    for (const name of ['.', './', '/', '/.', './.']) refuses('ERR_LAYER_PATH', symlink(name, '/etc'));
  });

  it('follow a link that takes the place of a directory in between', () => {
    const entries = shown(directory('d'), file('d/a'), symlink('d', 'e'), file('d/b')).map(
      entry => entry.path,
    );
    assert.deepEqual(entries.slice(0, 4), ['d', 'd/a', 'd', 'e/b']);
  });

  it('with links in a circle, or paths through a file, are refused', () => {
    refuses('ERR_LAYER_PATH', symlink('a', 'b'), symlink('b', 'a'), file('a/x'));
    refuses('ERR_LAYER_PATH', file('a'), file('a/x'));
  });

  it('with hard links to directories, to themselves, or in place of a file to nothing are refused', () => {
    refuses('ERR_LAYER_LINK', directory('d'), hardlink('x', 'd'));
    refuses('ERR_LAYER_LINK', file('a'), hardlink('a', 'a'));
    refuses('ERR_LAYER_LINK', file('a'), hardlink('a', 'nothing'));
  });

  it('with ids beyond 31 bits are refused (CVE-2024-40635, CVE-2026-46680)', () => {
    for (const id of [2 ** 31, 2 ** 32, 2 ** 33]) {
      refuses('ERR_LAYER_ID', pax({ uid: String(id) }), file('a'));
      refuses('ERR_LAYER_ID', pax({ gid: String(id) }), file('a'));
      refuses('ERR_LAYER_ID', file('a', '', { uid: base256(BigInt(id), 8) }));
    }
    refuses('ERR_LAYER_ID', file('a', '', { gid: base256(-1n, 8) }));
    assert.equal(shown(pax({ uid: String(2 ** 31 - 1) }), file('a')).length, 1);
  });

  it('with sparse files, and types that images do not have, are refused by name', () => {
    refuses('ERR_LAYER_SPARSE', raw({ name: 'a', type: 'S' }));
    refuses('ERR_LAYER_SPARSE', pax({ 'GNU.sparse.major': '1', 'GNU.sparse.name': 'a' }), file('x'));
    for (const type of ['M', 'V', 'D', 'N', 'z', '\x7f']) refuses('ERR_LAYER_TYPE', raw({ name: 'a', type }));
  });

  it('with broken headers are refused', () => {
    refuses('ERR_LAYER_HEADER', rawHeader({ name: 'a', checksum: 1 }));
    refuses('ERR_LAYER_HEADER', rawHeader({ name: 'a', size: '9z' }));
    refuses('ERR_LAYER_HEADER', rawHeader({ name: 'a', size: base256(-5n, 12) }));
    refuses('ERR_LAYER_HEADER', rawHeader({ name: 'a', size: base256(2n ** 70n, 12) }));
    refuses('ERR_LAYER_HEADER', Buffer.alloc(512), file('a'));
    for (const text of ['5 a=b', '99 a=b\n', '0 a=b\n', '-6 a=b\n', '6 =bb\n', 'x', '4 a\n'])
      refuses('ERR_LAYER_HEADER', raw({ name: 'x', type: 'x' }, text), file('a'));
    for (const records of [{ size: '-1' }, { uid: '1e3' }, { mtime: 'soon' }, { size: '9'.repeat(17) }])
      refuses('ERR_LAYER_HEADER', pax(records), file('a'));
  });

  it('that end in the middle are refused', () => {
    const whole = Buffer.concat([file('a', 'x'.repeat(600)), pax({ mtime: '1.5' }), file('b')]);
    const borders = new Set([0, 512 + 1024, whole.length]);
    for (let length = 0; length <= whole.length; length += 64) {
      const cut = () => sanitise(whole.subarray(0, length), 512);
      if (borders.has(length)) cut();
      else assert.throws(cut, refused('ERR_LAYER_TRUNCATED'), `at ${length}`);
    }
  });

  it('with more than the limits allow are refused, before they cost much (CVE-2023-25153)', () => {
    const limits: Limits = { entries: 10, names: 100, header: 1024, size: 5000 };
    const over = (code: string, ...parts: Buffer[]) =>
      assert.throws(() => sanitise(archive(...parts), 512, limits), refused(code));
    over('ERR_LAYER_ENTRIES', ...Array.from({ length: 11 }, (_, index) => file(`f${index}`)));
    over('ERR_LAYER_ENTRIES', ...Array.from({ length: 11 }, () => pax({ comment: 'x' })));
    over('ERR_LAYER_ENTRIES', file('a/b/c/d/e/f/g/h/i/j/k'));
    over('ERR_LAYER_ENTRIES', ...Array.from({ length: 5 }, (_, index) => file(`${index}${'n'.repeat(30)}`)));
    over('ERR_LAYER_HEADER_SIZE', rawHeader({ name: 'x', type: 'x', size: 1025 }));
    over('ERR_LAYER_HEADER_SIZE', rawHeader({ name: 'x', type: 'L', size: base256(2n ** 50n, 12) }));
    over('ERR_LAYER_SIZE', rawHeader({ name: 'big', size: 5001 }));
    const flips = Array.from({ length: 101 }, () => [directory('d'), file('d')]).flat();
    refuses('ERR_LAYER_ENTRIES', ...flips);
  });

  it('with endless paths through links are refused', () => {
    const target = `${'x/'.repeat(2000)}x`;
    const steps = Array.from({ length: 600 }, (_, index) => [
      pax({ linkpath: target }),
      raw({ name: `l${index}`, type: '2' }),
      file(`l${index}/f`),
    ]).flat();
    refuses('ERR_LAYER_PATH', ...steps);
  });

  it('of random bytes and fields are refused by a named error, or come out in the writer’s own words', () => {
    const name = fc.constantFrom(
      'a',
      'a/b',
      './a',
      'a/.wh.b',
      '.wh..wh..opq',
      'a/..',
      '/a',
      'b',
      'a/b/c',
      '',
    );
    const header = fc.record({
      name,
      target: name,
      type: fc.constantFrom(...'01234567LKxgSV\0'.split('')),
      uid: fc.oneof(fc.nat(), fc.constant(base256(2n ** 40n, 8))),
      size: fc.constantFrom(0, 1, 511, 512, 513),
    });
    const part = fc.oneof(
      header.map(fields => raw({ ...fields, size: fields.size }, Buffer.alloc(fields.size, '9 a=bcd\n'))),
      fc.record({ path: name }).map(records => pax(records)),
      fc.uint8Array({ maxLength: 600 }).map(bytes => Buffer.from(bytes)),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), fc.integer({ min: 1, max: 2000 }), (parts, chunk) => {
        let result: Result;
        try {
          result = sanitise(archive(...parts), chunk);
        } catch (error) {
          assert.ok(error instanceof SpawnletError, String(error));
          return;
        }
        for (const entry of members(result.bytes)) assert.ok(!entry.path?.split('/').includes('..'));
      }),
      { numRuns: 300 },
    );
  });
});

it('hard links whose target is in no place of the layer wait for the layers below', () => {
  assert.deepEqual(sanitise(archive(hardlink('b', 'lower/a'))).lower, ['b => lower/a']);
  assert.deepEqual(sanitise(archive(hardlink('b', 'a'), file('a'))).lower, []);
  assert.deepEqual(sanitise(archive(hardlink('b', 'a'), file('b'))).lower, []);
  assert.deepEqual(sanitise(archive(hardlink('b', 'a'), hardlink('c', 'b'))).lower, ['b => a', 'c => a']);
});
