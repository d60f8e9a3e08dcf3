import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';
import { FakeFiles, type Files, systemFiles } from './files.ts';
import { temporaryName } from './process.ts';

const directory = mkdtempSync(join(tmpdir(), 'files-'));
after(() => rmSync(directory, { recursive: true, force: true }));

let count = 0;

/** An empty directory for one test. */
async function place(files: Files): Promise<string> {
  const path = join(directory, String(++count));
  await files.makeDirectory(path, 0o755);
  return path;
}

for (const [name, files] of [
  ['the file system', systemFiles],
  ['its fake', new FakeFiles()],
] as const) {
  describe(name, () => {
    test('has a file after it was written, with its mode, and the new content after it was replaced', async () => {
      const at = await place(files);
      await files.write(`${at}/a`, 'one', 0o644);
      await files.write(`${at}/a`, Buffer.from('twö'), 0o600);
      assert.equal(await files.read(`${at}/a`), 'twö');
      assert.deepEqual(await files.look(`${at}/a`), { kind: 'file', mode: 0o600, size: 4 });
      assert.deepEqual(await files.list(at), ['a']);
    });

    test('has nothing where nothing is', async () => {
      const at = await place(files);
      await files.write(`${at}/file`, '', 0o600);
      for (const path of [`${at}/none`, `${at}/none/below`, `${at}/file/below`]) {
        assert.equal(await files.look(path), undefined);
        assert.equal(await files.read(path), undefined);
        assert.deepEqual(await files.list(path), []);
        await files.remove(path);
        await files.removeEmpty(path);
      }
    });

    test('refuses to write where no directory is, and over one', async () => {
      const at = await place(files);
      await assert.rejects(files.write(`${at}/none/a`, '', 0o600), { code: 'ENOENT' });
      await assert.rejects(files.append(`${at}/none/a`, '', 0o600), { code: 'ENOENT' });
      await assert.rejects(files.link(`${at}/none/a`, 'x'), { code: 'ENOENT' });
      await assert.rejects(files.move(`${at}/none`, `${at}/b`), { code: 'ENOENT' });
      await assert.rejects(files.setMode(`${at}/none`, 0o600), { code: 'ENOENT' });
      await assert.rejects(files.write(at, '', 0o600), { code: 'EISDIR' });
      await assert.rejects(files.link(at, 'x'), { code: 'EISDIR' });
      await assert.rejects(files.read(at), { code: 'EISDIR' });
    });

    test('appends, and makes the file', async () => {
      const at = await place(files);
      await files.append(`${at}/log`, 'a\n', 0o600);
      await files.append(`${at}/log`, 'b\n', 0o644);
      assert.equal(await files.read(`${at}/log`), 'a\nb\n');
      assert.equal(((await files.look(`${at}/log`)) as { mode: number }).mode, 0o600);
    });

    test('makes directories above, with the mode for the last; one that is there stays as it is', async () => {
      const at = await place(files);
      await files.makeDirectory(`${at}/a/b`, 0o1700);
      await files.makeDirectory(`${at}/a/b`, 0o755);
      assert.deepEqual(await files.look(`${at}/a/b`), { kind: 'directory', mode: 0o1700 });
      assert.deepEqual(await files.look(`${at}/a`), { kind: 'directory', mode: 0o755 });
      await files.setMode(`${at}/a`, 0o700);
      assert.deepEqual(await files.look(`${at}/a`), { kind: 'directory', mode: 0o700 });
    });

    test('refuses a directory where something else is', async () => {
      const at = await place(files);
      await files.write(`${at}/a`, 'kept', 0o600);
      await assert.rejects(files.makeDirectory(`${at}/a`, 0o700), { code: 'EEXIST' });
      assert.equal(await files.read(`${at}/a`), 'kept');
    });

    test('looks at a link itself, reads through it, and replaces it', async () => {
      const at = await place(files);
      await files.write(`${at}/a`, 'text', 0o600);
      await files.link(`${at}/link`, 'none');
      await files.link(`${at}/link`, 'a');
      assert.deepEqual(await files.look(`${at}/link`), { kind: 'link', target: 'a' });
      assert.equal(await files.read(`${at}/link`), 'text');
      await files.write(`${at}/link`, 'new', 0o600);
      assert.deepEqual([await files.read(`${at}/a`), await files.read(`${at}/link`)], ['text', 'new']);
    });

    test('moves a tree', async () => {
      const at = await place(files);
      await files.makeDirectory(`${at}/a/b`, 0o700);
      await files.write(`${at}/a/b/c`, 'text', 0o600);
      await files.move(`${at}/a`, `${at}/z`);
      assert.deepEqual(await files.list(at), ['z']);
      assert.equal(await files.read(`${at}/z/b/c`), 'text');
    });

    test('removes a link and a tree, and leaves alone what links in it lead to', async () => {
      const at = await place(files);
      await files.makeDirectory(`${at}/kept`, 0o700);
      await files.write(`${at}/kept/file`, 'text', 0o600);
      await files.makeDirectory(`${at}/tree/deep`, 0o700);
      await files.link(`${at}/tree/deep/link`, `${at}/kept`);
      await files.link(`${at}/link`, `${at}/kept`);
      await files.remove(`${at}/link`);
      await files.remove(`${at}/tree`);
      assert.deepEqual(await files.list(at), ['kept']);
      assert.equal(await files.read(`${at}/kept/file`), 'text');
    });

    test('removes an empty directory, and no other thing, where only that is asked for', async () => {
      const at = await place(files);
      await files.makeDirectory(`${at}/empty`, 0o700);
      await files.makeDirectory(`${at}/full`, 0o700);
      await files.write(`${at}/full/file`, '', 0o600);
      for (const name of ['empty', 'full', 'full/file']) await files.removeEmpty(`${at}/${name}`);
      assert.deepEqual(await files.list(at), ['full']);
      assert.deepEqual(await files.list(`${at}/full`), ['file']);
    });
  });
}

test('a reader sees the old content or the new one while a file is replaced, never a part', async () => {
  const at = await place(systemFiles);
  const path = `${at}/file`;
  const content = (letter: string) => letter.repeat(200_000);
  await systemFiles.write(path, content('a'), 0o600);
  const read = `
    const { readFileSync } = require('node:fs');
    const seen = new Set();
    process.stdin.on('data', () => {
      console.log(JSON.stringify([...seen]));
      process.exit();
    });
    const next = () => {
      const text = readFileSync(process.argv[1], 'utf8');
      if (seen.size === 0) console.log('reads');
      seen.add(text.length + text[0] + text.at(-1));
      setImmediate(next);
    };
    next();`;
  const reader = spawn(process.execPath, ['-e', read, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: reader.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'reads');
  for (let round = 0; round < 100; round++) {
    await systemFiles.write(path, content(round % 2 ? 'a' : 'b'), 0o600);
    if (round % 10 === 0) await new Promise(setImmediate);
  }
  reader.stdin.end('end');
  const seen = JSON.parse(String((await lines.next()).value)) as string[];
  assert.ok(
    seen.every(each => ['200000aa', '200000bb'].includes(each)),
    seen.join(' '),
  );
});

test('a write that fails leaves the old content, and nothing beside it', async () => {
  const at = await place(systemFiles);
  await systemFiles.makeDirectory(`${at}/full`, 0o700);
  writeFileSync(`${at}/full/file`, 'kept');
  await assert.rejects(systemFiles.write(`${at}/full`, 'new', 0o600), { code: 'EISDIR' });
  assert.deepEqual(readdirSync(at), ['full']);
  assert.equal(readFileSync(`${at}/full/file`, 'utf8'), 'kept');
});

test('a new file has its mode whatever the umask, from the first moment', async () => {
  const at = await place(systemFiles);
  const old = process.umask(0o077);
  try {
    await systemFiles.write(`${at}/open`, '', 0o666);
    await systemFiles.makeDirectory(`${at}/wide`, 0o1777);
  } finally {
    process.umask(old);
  }
  assert.equal(lstatSync(`${at}/open`).mode & 0o7777, 0o666);
  assert.equal(lstatSync(`${at}/wide`).mode & 0o7777, 0o1777);
});

test('a sweep removes what writers that are gone have left, and nothing else', async () => {
  const at = await place(systemFiles);
  const gone = '.4194999-1-0123abcd~';
  const other = `.${process.pid}-1-0123abcd~`;
  const names = [gone, other, temporaryName(), 'backup~', '.1-2-3~', 'file'];
  for (const name of names) writeFileSync(`${at}/${name}`, '');
  await systemFiles.sweep(at);
  assert.deepEqual(readdirSync(at).sort(), names.filter(name => name !== gone && name !== other).sort());
});
