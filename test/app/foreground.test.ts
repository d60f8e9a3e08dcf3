// runs in a lab: bookworm trixie
// The streams and signals of a container that somebody is attached to.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { begin, listen, onTerminal, quoted } from './streams.ts';
import { debianImage, done, type Fixture, spawnlet, system, useImages } from './tools.ts';

let images: Fixture;
let image: string;

before(async () => {
  images = await useImages({ deb: debianImage() });
  image = images.ref('deb');
});

after(() => images[Symbol.asyncDispose]());

const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

const shell = (command: string) => system('bash', '-o', 'pipefail', '-c', command);

describe('streams', { concurrency: 2 }, () => {
  test('carry 4 MB of any bytes in and out', async () => {
    const bytes = randomBytes(4 << 20);
    const { code, bytes: back } = await spawnlet(['run', '--rm', '-i', image, 'cat'], { input: bytes });
    assert.equal(code, 0);
    assert.equal(sha(back), sha(bytes));
  });

  test('wait for a slow reader', async () => {
    const text = await shell(
      `${quoted('run', '--rm', image, 'seq', '30000')} | { read -r first; sleep 1; wc -l; }`,
    );
    assert.equal(text.trim(), '29999');
  });

  test('end when nobody reads on', async () => {
    const text = await shell(
      `set +o pipefail; ${quoted('run', '--rm', image, 'sh', '-c', 'echo first; exec seq 3000000')} | head -n1`,
    );
    assert.equal(text, 'first\n');
  });

  test('are at their end where standard input is closed or not asked for', async () => {
    assert.equal(await shell(`echo lost | ${quoted('run', '--rm', image, 'cat')}`), '');
    assert.equal(await shell(`${quoted('run', '--rm', '-i', image, 'cat')} <&-`), '');
  });

  test('of exec carry any bytes too', async () => {
    await done(['run', '-d', '--name=host', image, 'sleep', 'infinity']);
    const bytes = randomBytes(5 << 20);
    const { code, bytes: back } = await spawnlet(['exec', '-i', 'host', 'cat'], { input: bytes });
    assert.deepEqual([code, sha(back)], [0, sha(bytes)]);
    assert.equal((await spawnlet(['exec', 'host', 'cat'], { input: 'lost' })).out, '');
  });
});

describe('signals', { concurrency: 2 }, () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    test(`${signal} goes to the program`, async () => {
      const name = signal.slice(3);
      const child = begin(
        'run',
        '--rm',
        image,
        'sh',
        '-c',
        `trap "echo got ${name}; exit 4" ${name}; echo ready; while :; do sleep 0.05; done`,
      );
      const end = ended(child);
      const heard = listen(child);
      await heard('ready');
      child.kill(signal);
      assert.equal(await end, 4);
      assert.match(await heard('got'), new RegExp(`got ${name}`));
    });
  }
});

test('a container whose command was killed goes on, and can be attached to', async () => {
  const program = 'trap "echo heard; exit 6" USR1; while :; do echo ready; sleep 0.05; done';
  const child = begin('run', '--name=orphan', image, 'sh', '-c', program);
  const end = ended(child);
  await listen(child)('ready');
  child.kill('SIGKILL');
  assert.equal(await end, 137);
  const second = begin('attach', 'orphan');
  const [code, heard] = [ended(second), listen(second)];
  await heard('ready');
  await done(['kill', '-s', 'USR1', 'orphan']);
  assert.equal(await code, 6);
  assert.match(await heard('heard'), /heard/);
});

test('to watch a container that heeds no Ctrl-C, attach can be told to keep signals to itself', async () => {
  const program = 'trap "" INT; while :; do echo here; sleep 0.05; done';
  await done(['run', '-d', '--name=stubborn', image, 'sh', '-c', program]);
  const child = begin('attach', '--sig-proxy=false', 'stubborn');
  const end = ended(child);
  await listen(child)('here');
  child.kill('SIGINT');
  assert.equal(await end, 130);
  assert.match(await done(['ps']), /^stubborn /m);
  await done(['rm', '-f', 'stubborn']);
});

test('a terminal is refused where standard input is none, at once and before anything is made', async () => {
  for (const argv of [
    ['run', '--rm', '-it', '--name=none', image, 'sh'],
    ['exec', '-it', 'none', 'sh'],
    ['exec', '-t', 'none', 'sh'],
  ]) {
    const { code, err } = await spawnlet(argv, { input: '' });
    assert.equal(code, 125);
    assert.match(err, /ERR_NO_TERMINAL.*\n {2}leave -t out/, argv.join(' '));
  }
  // Without -i nothing is passed on, and the terminal is the container's alone.
  assert.match(
    (await spawnlet(['run', '--rm', '-t', image, 'sh', '-c', 'test -t 1 && echo tty'])).out,
    /tty/,
  );
});

describe('a terminal', { concurrency: 2 }, () => {
  test('is one, of the caller’s size', async () => {
    const child = onTerminal(
      'run',
      '--rm',
      '-it',
      image,
      'sh',
      '-c',
      'read -r line; test -t 0 && test -t 1 && echo "tty $(stty size) $TERM"; exit 9',
    );
    const end = ended(child);
    const heard = listen(child);
    child.stdin?.write('go\r');
    assert.match(await heard('tty '), /tty 33 77 xterm/);
    assert.equal(await end, 9);
  });

  test('has the caller’s size before anybody has attached, and at a later start', async () => {
    const child = onTerminal('run', '-d', '-t', '--name=sized', image, 'stty', 'size');
    assert.equal(await ended(child), 0);
    await done(['wait', 'sized']);
    await done(['start', 'sized']);
    await done(['wait', 'sized']);
    assert.equal(await done(['logs', 'sized']), '33 77\r\n33 77\r\n');
    await done(['rm', 'sized']);
  });

  test('is left by its detach keys, and can be come back to', async () => {
    const program = 'echo ready; while read -r line; do echo "heard $line"; done';
    const child = onTerminal('run', '-it', '--name=left', image, 'sh', '-c', program);
    const end = ended(child);
    await listen(child)('ready');
    child.stdin?.write('\u0010\u0011');
    assert.equal(await end, 0);
    assert.match(await done(['ps']), /^left /m);
    const second = onTerminal('attach', '--detach-keys=x,y', 'left');
    const [code, heard] = [ended(second), listen(second)];
    // What is typed before the command has taken the terminal is not all the container's.
    const typing = setInterval(() => second.stdin?.write('xword\r'), 200);
    await heard('heard xword').finally(() => clearInterval(typing));
    second.stdin?.write('xy');
    assert.equal(await code, 0);
    assert.equal(await done(['rm', '-f', 'left']), 'left\n');
  });

  test('passes Ctrl-C on as a byte', async () => {
    const child = onTerminal(
      'run',
      '--rm',
      '-it',
      image,
      'sh',
      '-c',
      'trap "exit 3" INT; echo ready; while :; do sleep 0.05; done',
    );
    const end = ended(child);
    await listen(child)('ready');
    child.stdin?.write('\u0003');
    assert.equal(await end, 3);
  });

  test('is given to exec -it', async () => {
    await done(['run', '-d', '--name=inside', image, 'sleep', 'infinity']);
    const child = onTerminal(
      'exec',
      '-it',
      'inside',
      'sh',
      '-c',
      'read -r line; test -t 0 && echo "tty $(stty size)"; exit 8',
    );
    const end = ended(child);
    const heard = listen(child);
    child.stdin?.write('go\r');
    assert.match(await heard('tty '), /tty 33 77/);
    assert.equal(await end, 8);
  });
});

test('standard error stays apart from standard output', async () => {
  const child = begin('run', '--rm', image, 'sh', '-c', 'echo out; echo err >&2');
  const [out, err] = await Promise.all([
    buffer(child.stdout as NodeJS.ReadableStream),
    buffer(child.stderr as NodeJS.ReadableStream),
  ]);
  assert.deepEqual([out.toString(), err.toString()], ['out\n', 'err\n']);
});
