import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { systemChildren } from './child.ts';
import { type CopyTarget, copyPiped, fileWords, treeWords } from './copying.ts';

const signal = AbortSignal.timeout(60_000);
let work: string;

beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), 'copying-'));
  mkdirSync(join(work, 'outside'));
});
afterEach(() => rmSync(work, { recursive: true, force: true }));

/** What a hostile machine sends: an archive that it made of whatever it liked. */
const send = (archive: string, target: CopyTarget = 'host') =>
  copyPiped(
    systemChildren,
    { ...treeWords('', join(work, 'to'), target), produce: ['cat', archive] },
    signal,
  );

function pack(script: string, ...words: readonly string[]): string {
  const archive = join(work, 'hostile.tar');
  const from = join(work, 'from');
  mkdirSync(from, { recursive: true });
  execFileSync('sh', ['-euc', script], { cwd: from });
  execFileSync('tar', ['-c', '-P', '-f', archive, ...words], { cwd: from });
  return archive;
}

const modeOf = (path: string) => lstatSync(join(work, path)).mode & 0o7777;

describe('a tree that comes to the host', () => {
  for (const before of ['nothing', 'a directory'])
    test(`has no set-id bits, and modes as the umask has them, where ${before} was`, async () => {
      if (before !== 'nothing') mkdirSync(join(work, 'to'), { mode: 0o700 });
      const archive = pack(
        'umask 0; echo x >a; chmod 6777 a; mkdir d; chmod 2777 d; echo y >d/b; chmod 640 d/b',
        '.',
      );
      assert.equal(await send(archive), undefined);
      const umask = process.umask();
      assert.equal(modeOf('to/a'), 0o777 & ~umask);
      assert.equal(modeOf('to/d'), 0o777 & ~umask);
      assert.equal(modeOf('to/d/b'), 0o640 & ~umask);
      if (before !== 'nothing') assert.equal(modeOf('to'), 0o700);
      assert.deepEqual(readdirSync(join(work, 'to')), ['a', 'd']);
    });

  test('makes no device nodes', async () => {
    assert.match((await send(pack('mknod null c 1 3', '.'))) ?? '', /mknod.*not permitted/);
    assert.equal(existsSync(join(work, 'to/null')), false);
  });

  test('stays in its directory, whatever its names and links are', async () => {
    const archive = pack(`ln -s ${work}/outside away; echo x >x`, 'away', `--transform=s,^x$,away/x,`, 'x');
    await send(archive);
    const up = pack('echo x >x', '--transform=s,^x$,../outside/x,', 'x');
    assert.match((await send(up)) ?? '', /\.\./);
    const absolute = pack('echo x >x', `--transform=s,^x$,${work}/outside/x,`, 'x');
    await send(absolute);
    assert.deepEqual(readdirSync(join(work, 'outside')), []);
  });

  test('writes nothing through links that an earlier copy has brought', async () => {
    mkdirSync(join(work, 'to'));
    writeFileSync(join(work, 'outside/kept'), 'kept');
    symlinkSync('../outside', join(work, 'to/link'));
    symlinkSync('../outside/kept', join(work, 'to/file'));
    const archive = pack('mkdir link; echo x >link/x; echo x >file', 'link/x', 'file');
    assert.match((await send(archive)) ?? '', /link/);
    assert.deepEqual(readdirSync(join(work, 'outside')), ['kept']);
    assert.equal(readFileSync(join(work, 'outside/kept'), 'utf8'), 'kept');
  });

  test('is not written where its own name is a link', async () => {
    symlinkSync('outside', join(work, 'to'));
    assert.match((await send(pack('echo x >x', '.'), 'host-inside')) ?? '', /is a symbolic link/);
    assert.deepEqual(readdirSync(join(work, 'outside')), []);
    assert.equal(await send(pack('echo x >x', '.'), 'host'), undefined);
    assert.deepEqual(readdirSync(join(work, 'outside')), ['x']);
  });
});

test('a file that comes to the host has no set-id bits, and does not go through a link of its name', async () => {
  const from = join(work, 'from');
  writeFileSync(from, 'x');
  const copy = (to: string, target: CopyTarget) =>
    copyPiped(systemChildren, fileWords(from, join(work, to), '6777', target), signal);
  assert.equal(await copy('to', 'host'), undefined);
  assert.equal(statSync(join(work, 'to')).mode & 0o7777, 0o777 & ~process.umask());
  symlinkSync('outside/x', join(work, 'link'));
  assert.match((await copy('link', 'host-inside')) ?? '', /is a symbolic link/);
  assert.equal(existsSync(join(work, 'outside/x')), false);
});
