// runs in a lab: bookworm trixie +containernetworking-plugins +nftables
// What is done with a container of a pod while it runs: it is attached to, files are copied.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
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
  await apply(
    name,
    podOf(name, containers, { restartPolicy: 'Never', volumes: [{ name: 'data', emptyDir: {} }] }),
  );
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

describe('cp', () => {
  before(() =>
    run(
      'files',
      container('main', 'mkdir /srv /tmp/out; ln -s /etc /srv/etc; exec sleep 1000', {
        volumeMounts: [{ name: 'data', mountPath: '/data' }],
      }),
      container('other', 'exec sleep 1000', {
        securityContext: { runAsUser: 1000, runAsGroup: 1001, readOnlyRootFilesystem: true },
        volumeMounts: [{ name: 'data', mountPath: '/data' }],
        workingDir: '/data',
      }),
    ),
  );
  after(() => remove('files'));

  const cp = (...argv: readonly string[]) => spawnlet(['pod', 'cp', ...argv]);
  const inside = (containerName: string, script: string) =>
    done(['pod', 'exec', '-c', containerName, 'files', '--', 'sh', '-c', script]);

  test('takes files and trees to a container that has no tar, and back', async () => {
    const work = join(images.directory, 'cp');
    await mkdir(join(work, 'in/deep'), { recursive: true });
    await writeFile(join(work, 'in/deep/run'), 'one', { mode: 0o750 });
    await done(['pod', 'cp', join(work, 'in'), 'files:/srv']);
    assert.equal(await inside('main', 'stat -c "%a %U" /srv/in/deep/run'), '750 root\n');
    await done(['pod', 'cp', join(work, 'in/.'), 'default/files:/srv/flat']);
    assert.equal(await inside('main', 'cat /srv/flat/deep/run'), 'one');
    await done(['pod', 'cp', 'files:/srv/in/.', join(work, 'out')]);
    assert.equal(await readFile(join(work, 'out/deep/run'), 'utf8'), 'one');
    assert.equal((await stat(join(work, 'out/deep/run'))).mode & 0o777, 0o750);
  });

  test('gives what it brings to the user of the container, in its volumes too', async () => {
    const file = join(images.directory, 'note');
    await writeFile(file, 'mine', { mode: 0o600 });
    await done(['pod', 'cp', '-c', 'other', file, 'files:note']);
    assert.equal(await inside('other', 'cat /data/note; stat -c " %u %g" /data/note'), 'mine 1000 1001\n');
    await done(['pod', 'cp', 'files:/data/note', join(images.directory, 'back')]);
    assert.equal(await readFile(join(images.directory, 'back'), 'utf8'), 'mine');
    const { code, err } = await cp('-c', 'other', file, 'files:/srv');
    assert.equal(code, 125);
    assert.match(err, /read-only.*ERR_GUEST_COPY/);
  });

  test('follows links of the container in the container, and brings none that leads anywhere on the host', async () => {
    const secret = join(images.directory, 'secret');
    await writeFile(secret, 'secret');
    await done(['pod', 'cp', secret, 'files:/srv/etc/was-linked']);
    assert.equal(await inside('main', 'cat /etc/was-linked'), 'secret');
    await assert.rejects(stat('/etc/was-linked'));
    // One copy brings a link to a directory of the host, the next one has a file below it.
    const victim = join(images.directory, 'victim');
    await mkdir(victim);
    const out = join(images.directory, 'taken');
    await inside('main', `mkdir -p /srv/h; ln -s ${victim} /srv/h/x; ln -s ${secret} /srv/leak`);
    await done(['pod', 'cp', 'files:/srv/h', out]);
    await inside('main', 'rm /srv/h/x; mkdir /srv/h/x; echo bad > /srv/h/x/y');
    await cp('files:/srv/h/.', out);
    assert.deepEqual(await readdir(victim), []);
    assert.match(
      (await cp('files:/srv/leak', join(out, 'z'))).err,
      /there is no files:\/srv\/leak.*ERR_GUEST_COPY/,
    );
  });

  test('says what is not there, and what it does not do', async () => {
    for (const [argv, error] of [
      [['files:/none', '/tmp/x'], /there is no files:\/none.*ERR_GUEST_COPY/],
      [['none:/x', '/tmp/x'], /ERR_NO_POD/],
      [['-c', 'none', 'files:/x', '/tmp/x'], /ERR_NO_CONTAINER/],
      [['files:/x', 'files:/y'], /ERR_USAGE/],
      [['/tmp/x', '/tmp/y'], /ERR_USAGE/],
      [['files:', '/tmp/y'], /ERR_USAGE/],
    ] as const) {
      const { code, err } = await cp(...argv);
      assert.equal(code, 125);
      assert.match(err, error);
    }
  });
});
