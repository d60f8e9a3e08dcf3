// runs in a lab
// A command that is killed at any border of its plan is undone or finished by the next one.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { debianImage, done, type Fixture, spawnlet, useImages } from '../app/tools.ts';
import { type KilledCommand, useKilledCommand } from './killed-command.ts';
import { settledDifference, traces } from './traces.ts';

let command: KilledCommand;
const image = 'localhost/images:deb';
let images: Fixture;
let ref = '';
/** The host with the image, and with whatever the first container leaves for all that follow. */
let clean: readonly string[] = [];

before(async () => {
  command = await useKilledCommand();
  images = await useImages({ deb: debianImage() });
  ref = images.ref('deb');
  await done(['run', '-d', '--name', 'first', ref, 'sleep', '1000']);
  await done(['rm', '-f', 'first']);
  clean = await traces();
});

after(async () => {
  await images[Symbol.asyncDispose]();
  await command[Symbol.asyncDispose]();
});

const runUntil = (border: number, words: readonly string[]) => command.runUntil(border, words);

/** Any next command: it says that it has cleaned up, and about nothing else. */
async function nextCommand(at: string): Promise<string> {
  const { code, out, err } = await spawnlet(['ps', '-a']);
  assert.equal(code, 0, `${at}: ${err}`);
  assert.match(err, /^(cleaned up after '.*', which was cut off\n)?$/, at);
  return out;
}

async function assertClean(at: string, expected = clean): Promise<void> {
  assert.deepEqual(await settledDifference(expected), [], at);
}

/** The image is there as a whole, or nothing is beside what `bare` had; it is there afterwards. */
async function assertWhole(at: string, bare: string[]): Promise<void> {
  const { code } = await spawnlet(['image', 'inspect', image]);
  if (code !== 0) {
    await assertClean(at, bare);
    await done(['image', 'pull', ref]);
  }
  await assertClean(at);
}

async function walk(least: number, visit: (border: number, at: string) => Promise<boolean>): Promise<void> {
  let border = 1;
  while (await visit(border, `killed at border ${border}`)) border++;
  assert.ok(border > least, `${border} borders: is anything journalled?`);
}

test('a run -d that is killed between any two steps is gone', async () => {
  await walk(10, async (border, at) => {
    const stopped = await runUntil(border, ['run', '-d', '--name', 'w', '-p80:80', ref, 'sleep', '1000']);
    const list = await nextCommand(at);
    if (stopped) assert.doesNotMatch(list, /^w /m, at);
    else await done(['rm', '-f', 'w']);
    await assertClean(at);
    return stopped;
  });
});

test('a run --rm that is killed between any two steps is gone', async () => {
  await walk(10, async (border, at) => {
    const stopped = await runUntil(border, ['run', '--rm', '--name', 'w', ref, 'true']);
    await nextCommand(at);
    await assertClean(at);
    return stopped;
  });
});

test('a run that is killed while it fetches its image leaves a whole image or none', async () => {
  // The borders of the pull come first; those after them are the same as of an image that was there.
  for (let border = 1; border <= 5; border++) {
    const at = `killed at border ${border}`;
    await done(['image', 'rm', image]);
    const bare = await traces();
    assert.ok(await runUntil(border, ['run', '--rm', '--name', 'w', ref, 'true']), at);
    await nextCommand(at);
    await assertWhole(at, bare);
  }
});

test('an rm -f that is killed has not begun, or is finished', async () => {
  await walk(4, async (border, at) => {
    await done(['run', '-d', '--name', 'w', '-p80:80', ref, 'sleep', '1000']);
    const stopped = await runUntil(border, ['rm', '-f', 'w']);
    const list = await nextCommand(at);
    if (border === 1) {
      assert.match(list, /^w .* Up /m, at);
      await done(['rm', '-f', 'w']);
    } else assert.doesNotMatch(list, /^w /m, at);
    await assertClean(at);
    return stopped;
  });
});

test('a pull that is killed leaves a whole image or none', async () => {
  await walk(2, async (border, at) => {
    await done(['image', 'rm', image]);
    const bare = await traces();
    const stopped = await runUntil(border, ['image', 'pull', ref]);
    await nextCommand(at);
    await assertWhole(at, bare);
    return stopped;
  });
});
