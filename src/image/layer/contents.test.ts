import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  archive,
  directory,
  file,
  hardlink,
  opaque,
  pax,
  raw,
  whiteout,
} from '../../../test/harness/hostile-tar.ts';
import { members, refuses, sanitise, shown } from '../../../test/harness/sanitised.ts';

const dir = (path: string) => ({ kind: 'directory' as const, path });
const mark = (path: string) => ({ kind: 'char' as const, path, minor: 0 });
const opaqueMark = [{ name: 'trusted.overlay.opaque', value: 'y' }];

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

it('hard links whose target is in no place of the layer wait for the layers below', () => {
  assert.deepEqual(sanitise(archive(hardlink('b', 'lower/a'))).lower, ['b => lower/a']);
  assert.deepEqual(sanitise(archive(hardlink('b', 'a'), file('a'))).lower, []);
  assert.deepEqual(sanitise(archive(hardlink('b', 'a'), file('b'))).lower, []);
  assert.deepEqual(sanitise(archive(hardlink('b', 'a'), hardlink('c', 'b'))).lower, ['b => a', 'c => a']);
});
