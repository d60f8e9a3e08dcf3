// runs in a lab: bookworm trixie
// What is particular to the engine nspawn: how the end of a program is told.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { debianImage, done, running, spawnlet, useImages } from '../app/tools.ts';

const images = await useImages({ deb: debianImage() });
after(() => images[Symbol.asyncDispose]());

const flags = ['--engine', 'nspawn'];
const image = images.ref('deb');

for (const cleaning of [['--rm'], []])
  test(`a signal that kills the program is told as 128+n ${cleaning.join('')}`, async () => {
    // nspawn is there before the program is: whoever kills it then kills nothing.
    const program = ['sh', '-c', 'echo here; exec sleep infinity'];
    const victim = running(['run', ...cleaning, ...flags, '--name', 'victim', image, ...program]);
    assert.equal(await victim.line(), 'here');
    await done(['kill', '-s', 'KILL', 'victim']);
    assert.equal(await victim.ended, 137);
  });

test('a program that exits with 1 has not been killed', async () => {
  const { code } = await spawnlet(['run', '--rm', ...flags, image, 'false']);
  assert.equal(code, 1);
});

test('an out-of-memory kill is told', async () => {
  const greedy = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=100M', 'count=1'];
  const limits = ['--name', 'greedy', '--memory', '32m'];
  assert.equal((await spawnlet(['run', ...flags, ...limits, image, ...greedy])).code, 137);
  const [found] = JSON.parse(await done(['inspect', 'greedy'])) as { state: object }[];
  assert.partialDeepStrictEqual(found?.state, { kind: 'exited', exitCode: 137, oomKilled: true });
});
