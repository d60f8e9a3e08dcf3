import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { SpawnletError } from '../host/error.ts';
import { type LayerView, readInLayers, resolveInLayers } from './lookup.ts';
import { lookupGroup, lookupUser } from './user.ts';

const base = mkdtempSync(join(tmpdir(), 'spawnlet-lookup-'));
after(() => rmSync(base, { recursive: true, force: true }));

let count = 0;

/** A layer of files (text) and links (`{ link }`); `opaque` names directories that hide lower ones. */
function layer(files: Readonly<Record<string, string | { link: string }>>, opaque: string[] = []): LayerView {
  const directory = join(base, String(count++));
  mkdirSync(directory);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(directory, dirname(path)), { recursive: true });
    if (path.endsWith('/')) mkdirSync(join(directory, path));
    else if (typeof content === 'string') writeFileSync(join(directory, path), content);
    else symlinkSync(content.link, join(directory, path));
  }
  return { directory, opaque: new Set(opaque) };
}

const refused = (code: string) => (error: unknown) => error instanceof SpawnletError && error.code === code;
const text = (layers: LayerView[], path: string) => readInLayers(layers, path)?.toString();

describe('a file of the merged layers', () => {
  it('is that of the topmost layer that has it', () => {
    const layers = [layer({ a: 'low', b: 'low' }), layer({ a: 'high' })];
    assert.equal(text(layers, '/a'), 'high');
    assert.equal(text(layers, 'b'), 'low');
    assert.equal(text(layers, '/c'), undefined);
    assert.equal(text(layers, '/a/b'), undefined);
  });

  it('is not seen through an opaque directory, or one that a file took the place of', () => {
    const low = layer({ 'd/old': 'x', 'e/old': 'x' });
    const layers = [low, layer({ 'd/new': 'y', e: 'a file' }, ['d']), layer({ 'e/newer': 'z' })];
    assert.equal(text(layers, '/d/old'), undefined);
    assert.equal(text(layers, '/d/new'), 'y');
    assert.equal(text(layers, '/e/old'), undefined);
    assert.equal(text(layers, '/e/newer'), 'z');
    assert.equal(text([low, layer({ top: '' }, [''])], '/d/old'), undefined);
  });

  it('is found through links across layers, which stay inside the root', () => {
    writeFileSync(join(base, 'secret'), 'the host');
    const layers = [
      layer({ 'usr/lib/x': 'found', etc: { link: 'usr/etc' }, 'usr/etc/abs': { link: '/usr/lib/x' } }),
      layer({
        lib: { link: 'usr/lib' },
        out: { link: `../../../../..${base}/secret` },
        abs: { link: `${base}/secret` },
        up: { link: '../../lib/../lib/x' },
      }),
    ];
    for (const path of ['/lib/x', '/etc/abs', '/up', '/../lib/x', 'lib/../../lib/x'])
      assert.equal(text(layers, path), 'found', path);
    assert.equal(text(layers, '/out'), undefined);
    assert.equal(text(layers, '/abs'), undefined);
  });

  it('at the end of a circle of links is refused', () => {
    assert.throws(
      () => text([layer({ a: { link: 'b' }, b: { link: 'a' } })], '/a'),
      refused('ERR_IMAGE_PATH'),
    );
  });

  it('is told where it lies, the last link kept if so wanted', () => {
    const layers = [layer({ 'd/f': 'x' }), layer({ l: { link: 'd/f' } })];
    assert.deepEqual(
      { ...resolveInLayers(layers, '/l'), real: '' },
      { kind: 'file', real: '', path: 'd/f', layer: 0 },
    );
    assert.equal(resolveInLayers(layers, '/l', 'keep')?.path, 'l');
    assert.equal(resolveInLayers(layers, '/d')?.kind, 'directory');
    assert.equal(resolveInLayers(layers, '/')?.path, '');
  });
});

describe('a user of an image', () => {
  const layers = [
    layer({
      'etc/passwd': [
        'root:x:0:0:root:/root:/bin/sh',
        'app:x:1000:1001::/home/app:/bin/bash',
        'app:x:0:0::/:/second/entry',
        '# comment',
        'odd:x:zero:0::/odd:',
        'big:x:4294967296:0::/big:',
        'short',
        '2000:x:77:77::/numbers:',
        'rel:x:5:5::relative:',
      ].join('\n'),
      'etc/group': 'root:x:0:\napp:x:1001:\nwheel:x:10:app,other\nvideo:x:44:other,app\nbad:x:nine:app\n',
    }),
  ];
  const user = (spec: string) => {
    const { uid, gid, additionalGids, home } = lookupUser(layers, spec);
    return `${uid}:${gid} [${additionalGids.join()}] ${home}`;
  };

  it('is found by name or number, with groups and home', () => {
    assert.equal(user(''), '0:0 [] /root');
    assert.equal(user('app'), '1000:1001 [10,44] /home/app');
    assert.equal(user('1000'), '1000:1001 [10,44] /home/app');
    assert.equal(user('root'), '0:0 [] /root');
  });

  it('may have a group of its own choice, and then no others', () => {
    assert.equal(user('app:wheel'), '1000:10 [] /home/app');
    assert.equal(user('app:999'), '1000:999 [] /home/app');
    assert.equal(user(':video'), '0:44 [] /root');
    assert.equal(user('7:8'), '7:8 [] /');
  });

  it('that is a number the image does not know is in group 0', () => {
    assert.equal(user('4711'), '4711:0 [] /');
    assert.equal(lookupUser([layer({ x: '' })], '4711').gid, 0);
    assert.equal(lookupUser([], '').uid, 0);
  });

  it('that is digits is a number, whatever names there are', () => {
    assert.equal(user('2000'), '2000:0 [] /');
  });

  it('without an absolute home is at the root', () => {
    assert.equal(user('rel'), '5:5 [] /');
  });

  it('that the image does not know is refused', () => {
    for (const spec of ['nobody', 'app:nogroup', 'odd', 'big', 'short', 'a:b:c', 'app:bad'])
      assert.throws(() => user(spec), refused('ERR_USER'), spec);
    assert.throws(() => lookupGroup(layers, 'nogroup'), refused('ERR_USER'));
    assert.equal(lookupGroup(layers, 'wheel'), 10);
  });

  it('beyond 31 bits is refused, never taken for root (CVE-2024-40635, CVE-2026-46680)', () => {
    for (const id of ['2147483648', '4294967296', '4294967295', '99999999999999999999', '-1', '+0'])
      for (const spec of [id, `0:${id}`, `app:${id}`])
        assert.throws(() => user(spec), refused('ERR_USER'), spec);
    assert.equal(user('2147483647:2147483647'), '2147483647:2147483647 [] /');
  });
});
