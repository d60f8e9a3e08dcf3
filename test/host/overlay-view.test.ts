// runs in a lab: bookworm trixie
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { viewOverlay } from '../../src/host/overlay-view.ts';

test('layers are read as one tree that is mounted nowhere, whatever their names, and nothing is written', async () => {
  // On the lab's own root, which is an overlay, whiteouts cannot be made.
  const at = mkdtempSync('/var/lib/spawnlet/view-');
  // Longer together than an option of fsconfig(2), and with its separators.
  const layers = Array.from({ length: 8 }, (_layer, index) => join(at, `${'x'.repeat(60)}:,\\ ${index}`));
  for (const [index, layer] of layers.entries()) {
    mkdirSync(layer);
    writeFileSync(join(layer, 'which'), String(index));
    writeFileSync(join(layer, `of-${index}`), '');
  }
  execFileSync('mknod', [join(layers.at(-1) ?? '', 'of-0'), 'c', '0', '0']);
  const mounts = () => readFileSync('/proc/self/mountinfo', 'utf8');
  const before = [mounts(), readdirSync(at)];
  {
    using view = await viewOverlay(layers);
    assert.equal(readFileSync(join(view.path, 'which'), 'utf8'), '7');
    assert.deepEqual(readdirSync(view.path).length, 8);
    assert.throws(() => readFileSync(join(view.path, 'of-0')), { code: 'ENOENT' });
    assert.throws(() => writeFileSync(join(view.path, 'which'), ''), { code: 'EROFS' });
    assert.deepEqual([mounts(), readdirSync(at)], before);
  }
  await assert.rejects(viewOverlay([join(at, 'missing'), at]), { code: 'ENOENT' });
  rmSync(at, { recursive: true });
});
