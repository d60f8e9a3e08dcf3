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

for (const [program, code] of [
  ['/nowhere', 127],
  ['not-in-the-path', 127],
  ["it's no [program]*", 127],
  ['/etc', 126],
  ['/etc/passwd', 126],
] as const)
  test(`${program}, which cannot be run, is told by ${code}`, async () => {
    assert.equal((await spawnlet(['run', '--rm', ...flags, image, program])).code, code);
    assert.equal((await spawnlet(['run', ...flags, '--name=cannot', image, program])).code, code);
    assert.equal(await done(['wait', 'cannot']), `${code}\n`);
    await done(['rm', 'cannot']);
  });

test('a program that says what nspawn says of another has run', async () => {
  const lies = ['sh', '-c', 'echo "execv(/nowhere) failed: No such file or directory" >&2; exit 1'];
  assert.equal((await spawnlet(['run', '--rm', ...flags, image, ...lies])).code, 1);
});
