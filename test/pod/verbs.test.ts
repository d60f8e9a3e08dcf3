// runs in a lab: bookworm trixie +containernetworking-plugins +nftables
// What is done with a container of a pod while it runs: it is attached to.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { begin, listen, onTerminal } from '../app/streams.ts';
import { debianImage, done, type Fixture, spawnlet, useImages } from '../app/tools.ts';
import { apply, isReady, podOf, remove, type TestAgent, until, useAgent } from './agent.ts';

let images: Fixture;
let agent: TestAgent;
const image = 'localhost/images:deb';

before(async () => {
  images = await useImages({ deb: debianImage() });
  agent = await useAgent();
});

after(async () => {
  await agent[Symbol.asyncDispose]();
  await images[Symbol.asyncDispose]();
});

const container = (name: string, script: string, more: object = {}) => ({
  name,
  image,
  command: ['sh', '-c', script],
  ...more,
});

/** Has a pod run whose containers are not started again. */
async function run(name: string, ...containers: readonly object[]): Promise<void> {
  await apply(name, podOf(name, containers, { restartPolicy: 'Never' }));
  await until(name, 'is ready', isReady).catch((cause: unknown) => {
    throw new Error(agent.said(), { cause });
  });
}

const echoes = 'while read -r line; do echo "heard $line"; [ "$line" != end ] || exit 5; done; exit 9';

describe('attach', () => {
  // The path of its socket is longer than an address takes.
  const long = 'a'.repeat(63);

  test('leaves a container its standard input, and gives the exit code', async () => {
    await run('kept', container(long, echoes, { stdin: true }));
    const first = begin('pod', 'attach', '-i', 'kept');
    const [over, heard] = [ended(first), listen(first)];
    first.stdin?.write('one\n');
    await heard('heard one');
    first.stdin?.end();
    first.kill('SIGTERM');
    assert.equal(await over, 143);
    const { code, out } = await spawnlet(['pod', 'attach', '-i', 'kept'], { input: 'two\nend\n' });
    assert.deepEqual([code, out], [5, 'heard two\nheard end\n']);
    await remove('kept');
  });

  test('ends the standard input of stdinOnce when the first one has gone', async () => {
    await run('once', container('main', echoes, { stdin: true, stdinOnce: true }));
    const { code, out } = await spawnlet(['pod', 'attach', '-i', 'once'], { input: 'one\n' });
    assert.deepEqual([code, out], [9, 'heard one\n']);
    await remove('once');
  });

  test('has a terminal of the caller’s size, which is left by its detach keys', async () => {
    const sizes = 'while read -r line; do echo "$line: $(stty size)"; [ "$line" != end ] || exit 4; done';
    const streams = { stdin: true, stdinOnce: true, tty: true };
    await run('tty', container('main', sizes, streams));
    const first = onTerminal('pod', 'attach', '-it', 'tty');
    const [left, heard] = [ended(first), listen(first)];
    // What is typed before the command has taken the terminal is not all the container's.
    const typing = setInterval(() => first.stdin?.write('word\r'), 200);
    await heard('word: 33 77').finally(() => clearInterval(typing));
    first.stdin?.write('\u0010\u0011');
    assert.equal(await left, 0);
    const second = onTerminal('pod', 'attach', '-it', '--detach-keys=x,y', 'tty');
    const over = ended(second);
    const again = setInterval(() => second.stdin?.write('end\r'), 200);
    assert.equal(await over.finally(() => clearInterval(again)), 4);
    await remove('tty');
  });

  test('says what is not there', async () => {
    await apply(
      'deaf',
      podOf('deaf', [container('main', 'sleep 1000'), container('other', 'exit 0')], {
        restartPolicy: 'Never',
      }),
    );
    await until('deaf', 'has one that runs and one that ended', ({ containerStatuses = [] }) =>
      ['running', 'terminated'].every(kind =>
        containerStatuses.some(({ state }) => Object.hasOwn(state ?? {}, kind)),
      ),
    );
    for (const [argv, error] of [
      [['-i', 'deaf'], /main of deaf reads no standard input.*ERR_NO_STDIN/],
      [['-c', 'other', 'deaf'], /other of deaf is not running.*ERR_NOT_RUNNING/],
      [['-c', 'none', 'deaf'], /ERR_NO_CONTAINER.*\n.*one of main, other/],
      [['none'], /ERR_NO_POD/],
    ] as const) {
      const { code, err } = await spawnlet(['pod', 'attach', ...argv]);
      assert.equal(code, 125);
      assert.match(err, error);
    }
    await remove('deaf');
    await done(['pod', 'attach', '--help']);
  });
});
