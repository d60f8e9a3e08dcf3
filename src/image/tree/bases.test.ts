import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeFiles } from '../../host/files.ts';
import { basesDirectory, machineStateDirectory, persistentUnits } from '../../names.ts';
import { Bases, lowerBases, placesOf } from './bases.ts';
import { recipeOf } from './recipe.ts';

async function host() {
  const files = new FakeFiles();
  const base = async (name: string) => {
    const { directory, record } = placesOf(name);
    await files.makeDirectory(directory, 0o700);
    const recipe = recipeOf({ kind: 'debian', suite: 'bookworm' });
    await files.write(record, JSON.stringify({ version: 1, recipe, created: 5, size: 7 }), 0o600);
  };
  await files.makeDirectory(persistentUnits, 0o755);
  return { files, base, bases: new Bases(files) };
}

const mount = (base: string) => `[Mount]
What=overlay
Options=lowerdir=${basesDirectory}/${base}/tree,upperdir=/var/lib/spawnlet/machine/x/upper,workdir=/w
`;

test('bases that are whole are listed, halves are not', async () => {
  const { files, base, bases } = await host();
  await base('deb');
  await base('new');
  await files.move(placesOf('new').directory, placesOf('new').building);
  await files.makeDirectory(`${basesDirectory}/empty`, 0o700);
  assert.deepEqual(
    (await bases.list()).map(({ name, size, created }) => [name, size, created]),
    [['deb', 7, 5]],
  );
  assert.deepEqual(await bases.remains(), ['new']);
});

test('clones are known by their mount units, and a machine with a tree of its own is none', async () => {
  const { files, base, bases } = await host();
  await base('deb');
  await files.write(`${persistentUnits}/var-lib-machines-web\\x2d1.mount`, mount('deb'), 0o644);
  await files.write(`${persistentUnits}/var-lib-other.mount`, mount('deb'), 0o644);
  await files.makeDirectory(`${machineStateDirectory}/db`, 0o700);
  await files.write(
    `${machineStateDirectory}/db/machine.yaml`,
    'kind: Machine\nspec:\n  from: base:deb\n',
    0o600,
  );
  assert.deepEqual(await bases.usedBy('deb'), ['web-1']);
  assert.deepEqual(await bases.usedBy('no'), []);
});

test('only lower directories that are trees of bases count', () => {
  assert.deepEqual(lowerBases(mount('a')), ['a']);
  const lower = `lowerdir=/x/a/tree:${basesDirectory}/b/tree:${basesDirectory}/c/other:${basesDirectory}/d.building/tree/e`;
  assert.deepEqual(lowerBases(`[Mount]\nOptions=${lower}\n`), ['b']);
});
