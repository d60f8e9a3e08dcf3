import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { engineLimits } from '../../src/pod/spec/engine-limits.ts';
import { elsewhere, refused, working } from '../../src/pod/spec/fields.ts';
import { manifestKinds } from '../../src/pod/spec/validate.ts';

const checkout = resolve(import.meta.dirname, '../..');
const page = await readFile(join(checkout, 'docs/podspec.md'), 'utf8');

/** The rows of the table under a heading, cell by cell. */
function rowsUnder(heading: string): string[][] {
  const section = page.split(/^## /m).find(each => each.startsWith(`${heading}\n`)) ?? '';
  const lines = section.split('\n').filter(line => line.startsWith('|'));
  return lines.slice(2).map(line => line.slice(2, -2).split(' | '));
}

const codes = (cell: string | undefined) =>
  [...(cell ?? '').matchAll(/`([^`]+)`/g)].map(match => match[1] ?? '');
const listed = (heading: string) =>
  rowsUnder(heading).map(([type, fields]) => [codes(type)[0], codes(fields).toSorted()]);
const tabled = (table: { readonly [type: string]: string }) =>
  Object.entries(table).map(([type, fields]) => [type, fields.trim().split(/\s+/).toSorted()]);

test('docs/podspec.md has every field that works, and every one that is answered elsewhere', () => {
  assert.deepEqual(listed('They do what the API says'), tabled(working));
  assert.deepEqual(listed('They are answered elsewhere'), tabled(elsewhere));
});

test('docs/podspec.md has every field that is refused, with its reason', () => {
  const told = rowsUnder('They are refused').flatMap(([fields, why]) =>
    codes(fields).map(field => [field, why]),
  );
  const expected = Object.entries(refused).flatMap(([type, fields]) =>
    Object.entries(fields).map(([field, why]) => [`${type}.${field}`, why]),
  );
  const sorted = (rows: readonly (readonly (string | undefined)[])[]) =>
    rows.map(row => row.join(' ')).toSorted();
  assert.deepEqual(sorted(told), sorted(expected));
});

test('docs/podspec.md has what an engine refuses, and every kind', () => {
  assert.deepEqual(
    rowsUnder('They are refused by an engine').map(([field, ...rest]) => [codes(field)[0], ...rest]),
    engineLimits.map(({ field, shown, engine, reason }) => [field, shown, engine, reason]),
  );
  for (const kind of manifestKinds) assert.match(page, new RegExp(`\\b${kind}\\b`));
});

test('docs/podspec.md names a live test for every row of fields that work, or says why there is none', async () => {
  const rows = rowsUnder('They do what the API says');
  const tests = rowsUnder('Tests that read them back');
  const named = new Set(
    rows.flatMap(([, , by = '']) => (by.startsWith('not read back: ') ? [] : by.split(', '))),
  );
  assert.deepEqual([...named].toSorted(), tests.map(([name]) => name ?? '').toSorted());
  for (const [, file, title = ''] of tests) {
    const text = await readFile(join(checkout, codes(file)[0] ?? ''), 'utf8');
    assert.match(text, /^\/\/ runs in a lab/, file);
    assert.ok(text.includes(`test('${title}', async`), `${file} has the test ${title}`);
  }
});
