// runs in a lab
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemFiles } from '../../src/host/files.ts';

test('nothing is removed where something is mounted, at the place or below it', async () => {
  const at = mkdtempSync(join(tmpdir(), 'mounted-'));
  const mount = `${at}/tree/with blank\\`;
  await systemFiles.makeDirectory(mount, 0o700);
  await systemFiles.makeDirectory(`${at}/tree2`, 0o700);
  writeFileSync(`${at}/tree/a`, '');
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', mount]);
  try {
    writeFileSync(`${mount}/theirs`, '');
    symlinkSync('tree', `${at}/link`);
    const refused = { code: 'ERR_MOUNTED', message: /with blank\\$/ };
    await assert.rejects(systemFiles.remove(`${at}/tree`), refused);
    await assert.rejects(systemFiles.remove(`${at}/link/with blank\\`), refused);
    await assert.rejects(systemFiles.remove(mount), refused);
    assert.deepEqual([readdirSync(`${at}/tree`), readdirSync(mount)], [['a', 'with blank\\'], ['theirs']]);
    await systemFiles.remove(`${at}/tree2`);
    await systemFiles.remove(`${at}/link`);
  } finally {
    execFileSync('umount', [mount]);
  }
  await systemFiles.remove(at);
  assert.equal(await systemFiles.look(at), undefined);
});
