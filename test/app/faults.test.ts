// runs in a lab
// What goes wrong with containers and around them, and what is told and left then.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { debianImage, done, eventually, type Fixture, spawnlet, system, useImages, words } from './tools.ts';

let images: Fixture;
let image: string;

before(async () => {
  images = await useImages({ deb: debianImage() });
  image = images.ref('deb');
});

after(() => images[Symbol.asyncDispose]());

const run = (name: string, ...rest: readonly string[]) =>
  done(['run', '-d', '--network=none', `--name=${name}`, ...rest]);

/** Starts spawnlet, for a test that signals it. */
function begin(...argv: readonly string[]) {
  const [program = '', ...rest] = words(...argv);
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'], timeout: 60_000 });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, end: ended(child), line: async () => (await lines.next()).value as string };
}

/** Has the start script of a container wait for a line, before it makes the container. */
async function holdStart(name: string): Promise<{ readonly held: string } & AsyncDisposable> {
  const at = join(images.directory, name);
  const dropIns = `/etc/systemd/system/${name}.service.d`;
  await mkdir(dropIns);
  await mkdir(at);
  await system('mkfifo', join(at, 'go'));
  await writeFile(join(at, 'hold'), `case $0 in */start) : > ${at}/held; read -r _ < ${at}/go ;; esac\n`);
  await writeFile(join(dropIns, 'hold.conf'), `[Service]\nEnvironment=BASH_ENV=${at}/hold\n`);
  return {
    held: join(at, 'held'),
    [Symbol.asyncDispose]: () => rm(dropIns, { recursive: true }),
  };
}

describe('a run that is broken off before its program has run', () => {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGKILL', 137],
  ] as const) {
    test(`by ${signal} leaves nothing, and the name is free`, async () => {
      const name = `cut-${signal.toLowerCase()}`;
      await using hold = await holdStart(name);
      const { child, end } = begin('run', '-d', '--network=none', `--name=${name}`, image, 'true');
      await eventually(async () => existsSync(hold.held), 'its script runs');
      assert.match(await done(['ps']), new RegExp(`^${name} .* Starting`, 'm'));
      child.kill(signal);
      assert.equal(await end, code);
      assert.doesNotMatch(await done(['ps', '-a']), new RegExp(name));
      assert.ok(!existsSync(`/etc/systemd/system/${name}.service`));
    });
  }
});

describe('start', () => {
  for (const policy of ['no', 'always']) {
    test(`of a container that cannot be made says why, with the restart policy ${policy}`, async () => {
      const name = `gone-${policy}`;
      const source = join(images.directory, `source-${policy}`);
      await mkdir(source);
      await run(name, `--restart=${policy}`, `-v${source}:/x`, image, 'sleep', 'infinity');
      await done(['stop', '-t0', name]);
      await rm(source, { recursive: true });
      const { code, err } = await spawnlet(['start', name]);
      assert.equal(code, 125);
      assert.match(err, new RegExp(`source-${policy}.*ERR_START`));
      await done(['rm', '-f', name]);
    });
  }

  test('of a container that ends at once is well', async () => {
    await run('brief', image, 'false');
    await done(['wait', 'brief']);
    assert.equal(await done(['start', 'brief']), 'brief\n');
  });
});

describe('kill of a container that is always started again', () => {
  const program = ['sh', '-c', 'trap "exit 3" USR1 TERM; while :; do sleep 0.05; done'];
  for (const signal of ['KILL', 'TERM']) {
    test(`leaves it down, by ${signal}`, async () => {
      const name = `always-${signal.toLowerCase()}`;
      await run(name, '--restart=always', image, ...program);
      await done(['kill', '-s', signal, name]);
      assert.equal(await done(['wait', name]), signal === 'KILL' ? '137\n' : '3\n');
      assert.match(await done(['ps', '-a']), new RegExp(`^${name} .* Exited`, 'm'));
    });
  }

  test('lets it start again by another signal', async () => {
    await run('always-usr1', '--restart=always', image, ...program);
    await done(['kill', '-s', 'USR1', 'always-usr1']);
    await eventually(
      async () => (await system('systemctl', 'show', '-P', 'NRestarts', 'always-usr1')) === '1\n',
      'it was started again',
    );
  });
});

describe('exec', () => {
  before(() => run('host', image, 'sleep', 'infinity'));

  const here = '/run/spawnlet/app/host';

  test('passes a signal on to its command and ends with it', async () => {
    const program = 'trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done';
    const { child, end, line } = begin('exec', 'host', 'sh', '-c', program);
    assert.equal(await line(), 'ready');
    child.kill('SIGTERM');
    assert.equal(await end, 7);
  });

  test('removes the files that one left which was killed', async () => {
    const { child, line } = begin('exec', '-eSECRET=1', 'host', 'sh', '-c', 'echo ready; sleep 9999');
    const before = readdirSync(here);
    assert.equal(await line(), 'ready');
    assert.notDeepEqual(readdirSync(here), before);
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    await done(['exec', 'host', 'true']);
    assert.deepEqual(readdirSync(here), before);
  });

  test('finds users that were made in the container, and none of the host', async () => {
    const shell = (text: string) => done(['exec', 'host', 'sh', '-c', text]);
    await shell('echo made:x:4242:4243::/home:/bin/sh >> /etc/passwd');
    assert.equal(await done(['exec', '-u', 'made', 'host', 'sh', '-c', 'id -u; id -g']), '4242\n4243\n');
    const secret = join(images.directory, 'passwd');
    await writeFile(secret, 'outside:x:1:1::/:/bin/sh\n');
    await shell(`cp /etc/passwd /etc/kept; rm /etc/passwd; ln -s ../../../../..${secret} /etc/passwd`);
    assert.match((await spawnlet(['exec', '-u', 'outside', 'host', 'true'])).err, /ERR_USER/);
    await shell('rm /etc/passwd; mkfifo /etc/passwd');
    assert.match((await spawnlet(['exec', '-u', 'made', 'host', 'true'])).err, /ERR_GUEST_PATH/);
    await shell('rm /etc/passwd; cp /etc/kept /etc/passwd');
  });

  test('says once that a program is not there', async () => {
    const { code, err } = await spawnlet(['exec', 'host', 'nowhere']);
    assert.equal(code, 127);
    assert.match(err, /ERR_EXEC/);
    assert.equal(err.split('No such file').length, 2, err);
  });
});

test('a dry run refuses a name that is taken, by a container and by another unit', async () => {
  await run('dry', image, 'true');
  for (const name of ['dry', 'dbus']) {
    const { code, err } = await spawnlet(['run', '--dry-run', `--name=${name}`, image, 'true']);
    assert.equal(code, 125);
    assert.match(err, /ERR_NAME_TAKEN/);
  }
});

test('files that were cut short stop no other container, and the damaged one can be removed', async () => {
  for (const name of ['whole', 'broken']) await run(name, image, 'sleep', 'infinity');
  const file = '/var/lib/spawnlet/app/broken/config.json';
  await writeFile(file, '');
  assert.match(await done(['ps', '-a']), /^broken .* Damaged/m);
  await done(['exec', 'whole', 'true']);
  await done(['image', 'prune']);
  assert.match((await spawnlet(['exec', 'broken', 'true'])).err, /ERR_DAMAGED/);
  assert.equal(await done(['rm', '-f', 'broken']), 'broken\n');
  assert.ok(!existsSync(file) && !existsSync('/etc/systemd/system/broken.service'));
  await run('broken', image, 'true');

  const index = '/var/lib/spawnlet/index.json';
  const text = await readFile(index);
  await writeFile(index, text.subarray(0, text.length / 2));
  assert.match((await spawnlet(['image', 'ls'])).err, /ERR_STORE_DAMAGED/);
  await writeFile(index, text);
});
