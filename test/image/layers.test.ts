import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { SpawnletError } from '../../src/host/error.ts';
import { lookupUser } from '../../src/image/user.ts';
import {
  archive,
  directory,
  file,
  gnuLong,
  hardlink,
  opaque,
  pax,
  raw,
  symlink,
  whiteout,
} from '../harness/hostile-tar.ts';
import { digestOf } from '../harness/images.ts';
import { inOverlay, listing, temporaryDirectory, unpackArchive } from '../harness/unpacked.ts';

const refused =
  (...codes: string[]) =>
  (error: unknown) =>
    error instanceof SpawnletError && codes.includes(error.code);

const capability = '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0';

/** One attribute of a file in hex; empty if it has none. `getfattr` is no part of a base system; python is neither, tar is. */
function attribute(root: string, path: string, name: string): string {
  const tar = execFileSync('tar', [
    '-c',
    '--format=pax',
    '--xattrs',
    '--xattrs-include=*',
    '--no-recursion',
    '-C',
    root,
    path,
  ]);
  const text = tar.toString('latin1');
  const at = text.indexOf(`SCHILY.xattr.${name}=`);
  return at === -1 ? '' : text.slice(at + `SCHILY.xattr.${name}=`.length, text.indexOf('\n', at));
}

describe('a layer is unpacked', () => {
  it('with owner, mode, set-id, devices, links and times as the archive has them', async () => {
    await using tmp = await temporaryDirectory();
    const { root } = await unpackArchive(
      tmp.path,
      archive(
        directory('d', { mode: 0o2775, uid: 1000, gid: 50, mtime: 1_000_000 }),
        file('d/setuid', 'x', { mode: 0o4755, uid: 0, gid: 33, mtime: 1_000_001 }),
        pax({ mtime: '1000002.123456789' }),
        file('d/nano', 'y'),
        hardlink('d/hard', 'd/setuid'),
        symlink('d/link', '/etc/../../x'),
        raw({ name: 'd/null', type: '3', major: 1, minor: 3, mode: 0o666 }),
        raw({ name: 'd/disk', type: '4', major: 8, minor: 300, mode: 0o660, gid: 6 }),
        raw({ name: 'd/pipe', type: '6', mode: 0o600 }),
        directory('d/closed', { mode: 0o000, mtime: 1_000_003 }),
        file('d/closed/in', 'z', { mode: 0o000 }),
        pax({ uid: String(2 ** 31 - 1), gid: String(2 ** 31 - 1) }),
        file('d/far', ''),
      ),
    );
    assert.deepEqual(await listing(root), [
      'd d 2775 1000 50 - ',
      'd/closed d 0 0 0 - ',
      'd/closed/in f 0 0 0 1 ',
      'd/disk b 660 0 6 0 ',
      'd/far f 644 2147483647 2147483647 0 ',
      'd/hard f 4755 0 33 1 ',
      'd/link l 777 0 0 12 /etc/../../x',
      'd/nano f 644 0 0 1 ',
      'd/null c 666 0 0 0 ',
      'd/pipe p 600 0 0 0 ',
      'd/setuid f 4755 0 33 1 ',
    ]);
    assert.equal(lstatSync(join(root, 'd/hard')).ino, lstatSync(join(root, 'd/setuid')).ino);
    assert.equal(lstatSync(join(root, 'd/disk')).rdev, 0x1_0000_0 + 0x82c);
    assert.equal(lstatSync(join(root, 'd'), { bigint: true }).mtimeNs, 1_000_000_000_000_000n);
    assert.equal(lstatSync(join(root, 'd/closed')).mtimeMs, 1_000_003_000);
    assert.equal(lstatSync(join(root, 'd/nano'), { bigint: true }).mtimeNs, 1_000_002_123_456_789n);
  });

  it('with file capabilities and plain user attributes', async () => {
    await using tmp = await temporaryDirectory();
    const { root } = await unpackArchive(
      tmp.path,
      archive(
        pax({ 'SCHILY.xattr.security.capability': capability, 'SCHILY.xattr.user.a%': 'b=v' }),
        file('ping', 'x', { mode: 0o755, uid: 5 }),
        pax({ 'SCHILY.xattr.user.note': 'of a directory' }),
        directory('d'),
        pax({ 'SCHILY.xattr.security.selinux': 'dropped' }),
        file('plain'),
      ),
    );
    assert.equal(attribute(root, 'ping', 'security.capability'), capability);
    assert.equal(attribute(root, 'ping', 'user.a%25'), 'b=v');
    assert.equal(attribute(root, 'd', 'user.note'), 'of a directory');
    assert.equal(attribute(root, 'plain', 'security.selinux'), '');
  });

  it('the last entry of a name wins, whatever kinds they are', async () => {
    const kinds: Record<string, (name: string) => Buffer> = {
      f: name => file(name, 'file'),
      d: name => directory(name, { mode: 0o700, mtime: 5 }),
      l: name => symlink(name, 'target-of-link'),
      p: name => raw({ name, type: '6' }),
      c: name => raw({ name, type: '3', major: 1, minor: 3 }),
      h: name => hardlink(name, 'target'),
    };
    const parts: Buffer[] = [
      directory('d', { mtime: 7 }),
      file('target', 'shared'),
      file('target-of-link', 'safe'),
    ];
    for (const [a, first] of Object.entries(kinds))
      for (const [b, second] of Object.entries(kinds)) {
        parts.push(first(`d/${a}${b}`));
        if (a === 'd') parts.push(file(`d/${a}${b}/inside`, 'gone'));
        parts.push(second(`d/${a}${b}`));
      }
    await using tmp = await temporaryDirectory();
    const { root } = await unpackArchive(tmp.path, archive(...parts));
    for (const a of Object.keys(kinds))
      for (const b of Object.keys(kinds)) {
        const stat = lstatSync(join(root, 'd', a + b));
        const type = stat.isFile() ? (stat.nlink > 1 ? 'h' : 'f') : stat.isDirectory() ? 'd' : '';
        assert.equal(type || (stat.isSymbolicLink() ? 'l' : stat.isFIFO() ? 'p' : 'c'), b, `${a} then ${b}`);
      }
    assert.deepEqual(readdirSync(join(root, 'd/dd')), ['inside']);
    assert.equal(lstatSync(join(root, 'd/dd')).mtimeMs, 5000);
    assert.equal(lstatSync(join(root, 'd')).mtimeMs, 7000);
    assert.equal(readFileSync(join(root, 'target'), 'latin1'), 'shared');
    assert.equal(readFileSync(join(root, 'target-of-link'), 'latin1'), 'safe');
  });

  it('from gzip of several members, zstd of several frames, and plain tar', async () => {
    const tar = archive(
      directory('d'),
      ...Array.from({ length: 50 }, (_, index) => file(`d/${index}`, 'x'.repeat(index * 997))),
    );
    const half = tar.length >> 1;
    const blobs = [
      tar,
      gzipSync(tar),
      Buffer.concat([gzipSync(tar.subarray(0, half)), gzipSync(tar.subarray(half))]),
      zstdCompressSync(tar),
      Buffer.concat([
        Buffer.from('502a4d1804000000deadbeef', 'hex'),
        zstdCompressSync(tar.subarray(0, half)),
        zstdCompressSync(tar.subarray(half)),
      ]),
    ];
    for (const blob of blobs)
      for (const chunk of [1000, 65_536]) {
        await using tmp = await temporaryDirectory();
        const { root, entries } = await unpackArchive(tmp.path, tar, { blob, chunk });
        assert.equal(entries, 51);
        assert.equal(lstatSync(join(root, 'd/49')).size, 49 * 997);
      }
  });

  it('with names that are not UTF-8, also long ones', async () => {
    await using tmp = await temporaryDirectory();
    const long = `d/${'\xe9'.repeat(150)}`;
    const { root } = await unpackArchive(
      tmp.path,
      archive(
        directory('d'),
        file('d/\xff', ''),
        gnuLong('L', long),
        file('x'),
        gnuLong('K', long),
        hardlink('d/h', 'x'),
      ),
    );
    assert.deepEqual(await listing(root, '%P'), ['d', 'd/h', long, 'd/\xff'].sort());
  });
});

describe('layers in an overlay', () => {
  const base = archive(
    directory('d', { mode: 0o750 }),
    file('d/old', 'old'),
    file('d/kept', 'kept'),
    directory('e'),
    file('e/old', 'old'),
    directory('gone'),
    file('gone/x'),
    file('f', 'file'),
    directory('opened', { mode: 0o711, uid: 7, mtime: 9 }),
    file('opened/old'),
  );
  const changes = [
    directory('d', { mode: 0o750 }),
    whiteout('d/old'),
    file('d/new', 'new'),
    directory('e'),
    opaque('e'),
    file('e/new', 'new'),
    whiteout('gone'),
    whiteout('f'),
    directory('f'),
    file('f/inside'),
    pax({ 'SCHILY.xattr.user.note': 'kept' }),
    directory('opened', { mode: 0o711, uid: 7, mtime: 9 }),
    opaque('opened'),
  ];
  const expected = 'd\nd/kept\nd/new\ne\ne/new\nf\nf/inside\nopened';

  for (const [order, parts] of Object.entries({ given: changes, reverse: reversed(changes) }))
    it(`show what the image says, with marks in ${order} order`, async () => {
      await using tmp = await temporaryDirectory();
      const lower = await unpackArchive(join(tmp.path, '1'), base);
      const upper = await unpackArchive(join(tmp.path, '2'), archive(...parts));
      assert.equal(
        await inOverlay([lower.root, upper.root], 'find . -mindepth 1 -printf "%P\\n" | sort'),
        expected,
      );
      const opened = await inOverlay([lower.root, upper.root], 'stat -c "%a %u %Y" opened d');
      assert.equal(opened.split('\n')[0], '711 7 9');
    });

  it('hard links to lower layers bring the target up, with all its attributes', async () => {
    await using tmp = await temporaryDirectory();
    const bottom = await unpackArchive(
      join(tmp.path, '0'),
      archive(
        directory('bin', { mode: 0o710, gid: 9, mtime: 77 }),
        pax({ 'SCHILY.xattr.security.capability': capability, mtime: '5.5' }),
        file('bin/tool', 'tool', { mode: 0o4711, gid: 3 }),
      ),
    );
    const middle = await unpackArchive(join(tmp.path, '1'), archive(file('unrelated')));
    const upper = await unpackArchive(
      join(tmp.path, '2'),
      archive(directory('sbin'), hardlink('sbin/one', 'bin/tool'), hardlink('sbin/two', 'sbin/one')),
      { lower: [bottom.view, middle.view] },
    );
    assert.equal(upper.copied, true);
    const merged = await inOverlay(
      [bottom.root, middle.root, upper.root],
      'stat -c "%i %h" bin/tool sbin/one sbin/two | uniq | cut -d" " -f2; stat -c "%a %g %.1Y" sbin/one bin',
    );
    assert.equal(merged, '3\n4711 3 5.5\n710 9 77.0');
    assert.equal(attribute(upper.root, 'sbin/one', 'security.capability'), capability);
  });

  it('hard links to what no layer has, what was removed, or what lies behind a link are refused', async () => {
    await using tmp = await temporaryDirectory();
    const one = await unpackArchive(
      join(tmp.path, '0'),
      archive(directory('d'), file('d/a'), symlink('s', '/etc')),
    );
    const two = await unpackArchive(join(tmp.path, '1'), archive(directory('d'), whiteout('d/a')));
    const cases: [string, Buffer[]][] = [
      ['nothing', [hardlink('x', 'nothing')]],
      ['removed below', [hardlink('x', 'd/a')]],
      ['a directory', [hardlink('x', 'd')]],
      ['through a link', [hardlink('x', 's/passwd')]],
    ];
    for (const [name, parts] of cases)
      await assert.rejects(
        unpackArchive(join(tmp.path, name), archive(...parts), { lower: [one.view, two.view] }),
        refused('ERR_LAYER_LINK'),
        name,
      );
    await assert.rejects(
      unpackArchive(join(tmp.path, 'here'), archive(hardlink('x', 'd/a'), whiteout('d/a')), {
        lower: [one.view],
      }),
      refused('ERR_LAYER_LINK'),
    );
  });
});

describe('what is not as the image says is refused', () => {
  const tar = archive(file('a', 'x'.repeat(100_000)));
  const cases: [string, Parameters<typeof unpackArchive>[2], string[]][] = [
    ['another blob', { digest: digestOf(Buffer.from('x')) }, ['ERR_LAYER_DIGEST']],
    ['a longer blob', { size: 1000 }, ['ERR_LAYER_DIGEST']],
    ['a shorter blob', { size: 1_000_000 }, ['ERR_LAYER_DIGEST']],
    ['another diffID', { diffId: digestOf(Buffer.from('x')) }, ['ERR_LAYER_DIGEST']],
    ['gzip cut short', { blob: gzipSync(tar).subarray(0, -12) }, ['ERR_LAYER_COMPRESSION']],
    ['gzip with flipped bits', { blob: flip(gzipSync(tar)) }, ['ERR_LAYER_COMPRESSION', 'ERR_LAYER_HEADER']],
    ['zstd cut short', { blob: zstdCompressSync(tar).subarray(0, -6) }, ['ERR_LAYER_COMPRESSION']],
    ['no archive at all', { blob: Buffer.alloc(2048, 'x') }, ['ERR_LAYER_HEADER']],
  ];
  for (const [name, options, codes] of cases)
    it(name, async () => {
      await using tmp = await temporaryDirectory();
      await assert.rejects(unpackArchive(tmp.path, tar, options), refused(...codes));
    });

  it('bytes behind a gzip stream that the digest does not cover', { timeout: 20_000 }, async () => {
    await using tmp = await temporaryDirectory();
    for (const [name, junk] of Object.entries({
      one: 'z',
      many: 'z'.repeat(3_000_000),
      zeros: '\0'.repeat(3_000_000),
    })) {
      const blob = Buffer.concat([gzipSync(tar), Buffer.from(junk)]);
      const digest = digestOf(Buffer.concat([gzipSync(tar), Buffer.from(junk).fill('y')]));
      const codes = ['ERR_LAYER_COMPRESSION', 'ERR_LAYER_DIGEST'];
      await assert.rejects(
        unpackArchive(join(tmp.path, name), tar, { blob, digest }),
        refused(...codes),
        name,
      );
    }
  });

  it('a small blob that unpacks to more than the limit', async () => {
    await using tmp = await temporaryDirectory();
    const bomb = archive(file('zeros', Buffer.alloc(50_000_000)));
    const limits = { entries: 10, names: 1000, header: 1024, size: 1_000_000 };
    await assert.rejects(
      unpackArchive(tmp.path, bomb, { blob: gzipSync(bomb), limits }),
      refused('ERR_LAYER_SIZE'),
    );
    const zeros = Buffer.concat([archive(file('a')), Buffer.alloc(50_000_000)]);
    await assert.rejects(
      unpackArchive(join(tmp.path, '2'), zeros, { blob: gzipSync(zeros), limits }),
      refused('ERR_LAYER_SIZE'),
    );
  });
});

describe('extraction is confined to the layer', () => {
  it('a link made by the archive never leads a later file, mode or owner out (CVE-2021-29136, CVE-2021-32760, CVE-2025-47290)', async () => {
    await using tmp = await temporaryDirectory();
    const outside = join(tmp.path, 'outside');
    await mkdir(outside);
    await writeFile(join(outside, 'secret'), 'untouched', { mode: 0o600 });
    const before = await listing(outside, '%P %m %U %T@ %s');
    const { root } = await unpackArchive(
      join(tmp.path, 'layer'),
      archive(
        symlink('abs', outside),
        symlink('up', `../../../../../../..${outside}`),
        file('abs/new', 'x'),
        file('up/secret', 'overwritten', { mode: 0o4777 }),
        directory('abs', { mode: 0o777, uid: 99 }),
        symlink('late', outside),
        directory('late/deep'),
        whiteout('late/secret'),
        opaque('up'),
        raw({ name: 'late/device', type: '4', major: 8, minor: 0 }),
      ),
    );
    assert.deepEqual(await listing(outside, '%P %m %U %T@ %s'), before);
    assert.ok((await listing(root, '%P')).some(path => path.endsWith('outside/secret')));
  });

  it('even tar itself, told to write elsewhere, cannot', async () => {
    await using tmp = await temporaryDirectory();
    const { Extractor } = await import('../../src/image/layer/extractor.ts');
    const { systemChildren } = await import('../../src/host/child.ts');
    for (const name of ['jail', 'root', 'outside']) await mkdir(join(tmp.path, name));
    const hostile: [string, Buffer][] = [
      ['an absolute path', file(join(tmp.path, 'outside/a'))],
      ['a path that leads up', file(`../../../..${tmp.path}/outside/b`)],
      ['a path that leads up by one', file('../c')],
      ['a link that leads out', Buffer.concat([symlink('l', join(tmp.path, 'outside')), file('l/d')])],
      ['the programs of the host', file('/usr/spawnlet-was-here')],
    ];
    for (const [name, parts] of hostile) {
      await using extractor = new Extractor(systemChildren, join(tmp.path, 'jail'), join(tmp.path, 'root'));
      await extractor.write([archive(parts)]);
      await assert.rejects(extractor.finish(), refused('ERR_LAYER_EXTRACT'), name);
    }
    assert.deepEqual(readdirSync(join(tmp.path, 'outside')), []);
    assert.deepEqual(readdirSync(tmp.path).sort(), ['jail', 'outside', 'root']);
    assert.deepEqual(readdirSync(join(tmp.path, 'jail')), []);
  });

  it('a crafted layer ends with an error and never waits for ever (CVE-2021-20291)', {
    timeout: 20_000,
  }, async () => {
    const big = Buffer.alloc(20_000_000);
    const tar = archive(file('a', big));
    const layers = [
      Buffer.concat([Buffer.alloc(512, 1), big]),
      Buffer.concat([archive(file('a'), raw({ name: 'b', type: '3', major: 0, minor: 0 })), big]),
      Buffer.concat([file('a'), file('../x'), big]),
      tar.subarray(0, 5_000_000),
    ];
    for (const layer of layers)
      for (const blob of [layer, gzipSync(layer, { level: 1 })]) {
        await using tmp = await temporaryDirectory();
        await assert.rejects(
          unpackArchive(tmp.path, layer, { blob }),
          error => error instanceof SpawnletError,
        );
      }
  });

  it('ends at once when it is told to', { timeout: 20_000 }, async () => {
    await using tmp = await temporaryDirectory();
    const controller = new AbortController();
    const tar = archive(...Array.from({ length: 2000 }, (_, index) => file(`f${index}`, 'x'.repeat(9000))));
    const done = unpackArchive(tmp.path, tar, { signal: controller.signal, chunk: 4096 });
    controller.abort(new Error('enough'));
    await assert.rejects(done, /enough/);
  });

  it('a process that was killed half way leaves nothing that runs or is mounted', async () => {
    await using tmp = await temporaryDirectory();
    assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), new RegExp(tmp.path));
  });
});

describe('users of an image are looked up inside its root', () => {
  it('a passwd that is a link leads to the image’s file, never to the host’s (CVE-2024-9676)', async () => {
    await using tmp = await temporaryDirectory();
    await writeFile(join(tmp.path, 'host-passwd'), 'evil:x:0:0::/:/bin/sh\n');
    const { view } = await unpackArchive(
      join(tmp.path, 'l'),
      archive(directory('etc'), symlink('etc/passwd', join(tmp.path, 'host-passwd'))),
    );
    assert.throws(() => lookupUser([view], 'evil'), refused('ERR_USER'));
  });

  it('a passwd that is a FIFO or an endless device is refused and hangs nobody (CVE-2024-9676)', {
    timeout: 5000,
  }, async () => {
    for (const part of [
      raw({ name: 'etc/passwd', type: '6' }),
      raw({ name: 'etc/passwd', type: '3', major: 1, minor: 5 }),
      Buffer.concat([raw({ name: 'zero', type: '3', major: 1, minor: 5 }), symlink('etc/passwd', '/zero')]),
      directory('etc/passwd'),
      file('etc/passwd', Buffer.alloc(2 ** 20 + 1, 'x')),
    ]) {
      await using tmp = await temporaryDirectory();
      const { view } = await unpackArchive(tmp.path, archive(directory('etc'), part));
      assert.throws(() => lookupUser([view], 'app'), refused('ERR_IMAGE_PATH'));
    }
  });
});

function reversed(parts: readonly Buffer[]): Buffer[] {
  // A PAX header stays before its member.
  const out: Buffer[] = [];
  for (const part of parts) {
    if (out[0]?.subarray(156, 157).toString() === 'x' && out.length > 0) out.splice(1, 0, part);
    else out.unshift(part);
  }
  return out;
}

function flip(blob: Buffer): Buffer {
  const copy = Buffer.from(blob);
  for (let at = 20; at < copy.length - 8; at += 7) copy[at] = (copy[at] ?? 0) ^ 0x55;
  return copy;
}
