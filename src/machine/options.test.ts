import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { nspawnOptions, optionTable } from './options.ts';

const all = nspawnOptions.flatMap(({ options }) => options);

test('docs/machines.md has the table of options as it is in the list that adopt reads', async () => {
  const page = await readFile(resolve(import.meta.dirname, '../../docs/machines.md'), 'utf8');
  assert.ok(page.includes(`\n${optionTable()}\n`));
});

test('each option is taken or left out for a reason, never both, and is there once', () => {
  for (const { flags, key, spawnlet, leftOut } of all)
    assert.equal((spawnlet === undefined) !== (leftOut === undefined), true, `${flags.join()} ${key ?? ''}`);
  const names = all.flatMap(({ flags, key }) => [...flags, ...(key === undefined ? [] : [key])]);
  assert.deepEqual(names.toSorted(), [...new Set(names)].toSorted());
});

test('no cell of the table holds what would end it', () => {
  for (const line of optionTable().split('\n')) assert.equal(line.split('|').length, 5, line);
});
