import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

const checkout = resolve(import.meta.dirname, '../..');

/** Codes of Node's own that src/ looks for. */
const nodeCodes = ['ERR_STREAM_PREMATURE_CLOSE'];

/** Codes in the sources: in quotes, or in the text of an error that is written by hand. */
async function codesThrown(): Promise<Set<string>> {
  const codes = new Set<string>();
  for await (const file of glob('src/**/*.ts', { cwd: checkout })) {
    if (file.endsWith('.test.ts')) continue;
    const source = await readFile(join(checkout, file), 'utf8');
    for (const match of source.matchAll(/(?:'|\[)(ERR_[A-Z][A-Z0-9_]*[A-Z0-9])(?:'|\])/g))
      codes.add(match[1] ?? '');
  }
  for (const code of nodeCodes) codes.delete(code);
  return codes;
}

test('docs/errors.md has every code that spawnlet gives, once, and no other', async () => {
  const page = await readFile(join(checkout, 'docs/errors.md'), 'utf8');
  const listed = [...page.matchAll(/^\| `(ERR_[A-Z0-9_]+)` \|/gm)].map(match => match[1] ?? '');
  assert.deepEqual(listed.toSorted(), [...(await codesThrown())].toSorted());
});

test('docs/errors.md says the cause and the way out of each', async () => {
  const page = await readFile(join(checkout, 'docs/errors.md'), 'utf8');
  for (const line of page.split('\n').filter(each => each.startsWith('| `ERR_')))
    assert.match(line, /^\| `\w+` \| [^|]{8,} \| [^|]{8,} \|$/, line);
});
