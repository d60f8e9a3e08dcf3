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
  rawHeader,
  symlink,
} from '../../../test/harness/hostile-tar.ts';
import { members, type Result, refused, refuses, sanitise, shown } from '../../../test/harness/sanitised.ts';
import { SpawnletError } from '../../host/error.ts';
import type { Limits } from './entry.ts';

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
