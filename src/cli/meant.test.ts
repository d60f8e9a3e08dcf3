import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseInput } from './command.ts';
import { elsewhere, meantCommand } from './meant.ts';
import { entries, findEntry } from './registry.ts';

const known = entries.filter(({ hidden }) => !hidden).map(({ name }) => name);

for (const [typed, meant] of [
  ['rnu', 'run'],
  ['pods', 'pod ls'],
  ['labs', 'lab status'],
  ['pod delete', 'pod rm'],
  ['pod exce', 'pod exec'],
  ['machine list', 'machine ls'],
  ['machine delete', 'machine rm'],
  ['machine reboot', 'machine restart'],
  ['machines ls', 'machine ls'],
  ['machin start', 'machine start'],
  ['lab stop', 'lab down'],
  ['delete', 'rm'],
] as const)
  test(`'${typed}' is answered by '${meant}'`, () =>
    assert.equal(meantCommand(typed.split(' '), known), meant));

test('a word that is close to nothing gets no answer', () => {
  assert.equal(meantCommand(['frobnicate'], known), undefined);
  assert.equal(meantCommand(['machine', 'frobnicate'], known), undefined);
});

test('a word of docker’s or podman’s that is no command is answered by what serves', () => {
  assert.equal(elsewhere['info'], 'spawnlet doctor');
  for (const [word, hint] of Object.entries(elsewhere)) {
    assert.equal(findEntry([word]), undefined, word);
    for (const [, named = ''] of hint.matchAll(/(?<=^|, |: )spawnlet ((?:image )?[a-z]+)/g))
      assert.ok(named === 'builds' || known.includes(named) || /^(gives|pushes)/.test(named), hint);
  }
});

test('--debug behind a command is answered by its place', async () => {
  const rm = await findEntry(['rm'])?.entry.load();
  assert.ok(rm);
  assert.throws(() => parseInput(rm, ['x', '--debug']), { hint: /^spawnlet --debug rm …;/ });
});

test('a flag that is misspelt is answered by the one that is meant', async () => {
  const run = await findEntry(['run'])?.entry.load();
  assert.ok(run);
  assert.throws(() => parseInput(run, ['--memroy', '1g', 'image']), {
    code: 'ERR_USAGE',
    hint: 'is --memory meant? spawnlet run --help',
  });
  assert.throws(() => parseInput(run, ['--frobnicate', 'image']), { hint: 'spawnlet run --help' });
});
