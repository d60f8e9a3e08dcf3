// runs in a lab: bookworm
// What ps, inspect, logs and errors tell a person, in podman's words where it has some.
import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { debianImage, done, eventually, type Fixture, spawnlet, system, useImages, words } from './tools.ts';

let images: Fixture;
let image: string;

before(async () => {
  images = await useImages({ deb: debianImage() });
  image = images.ref('deb');
});

after(() => images[Symbol.asyncDispose]());

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

interface Row {
  readonly name: string;
  readonly status: string;
  readonly created: string;
  readonly started: string | null;
  readonly ended: string | null;
  readonly restarts: number;
}

const rowOf = async (name: string) =>
  (JSON.parse(await done(['ps', '-a', '-o', 'json'])) as Row[]).find(row => row.name === name);

test('ps has the columns of podman, with the time since a container is up or has ended', async () => {
  await done(['run', '-d', '--name=up', image, 'sleep', 'infinity']);
  await done(['run', '-d', '--name=over', image, 'sh', '-c', 'exit 4']);
  await done(['wait', 'over']);
  const text = await done(['ps', '-a']);
  assert.match(text, /^NAME +IMAGE +COMMAND +CREATED +STATUS +PORTS$/m);
  assert.match(text, /^up .* sleep infinity +(\d+ seconds?|Less than a second) ago +Up (\d+ s|Less)/m);
  assert.match(text, /^over .* Exited \(4\) (\d+ seconds?|Less than a second) ago$/m);
  assert.doesNotMatch(await done(['ps']), /^over /m);
});

test('a container that fails again and again is restarting, and ps says how often', async () => {
  await done(['run', '-d', '--name=loop', '--restart=always', image, 'sh', '-c', 'exit 3']);
  await eventually(
    async () => ((await rowOf('loop'))?.status.startsWith('Restarting (3) ') ? true : undefined),
    'it is restarting',
  );
  await eventually(async () => ((await rowOf('loop'))?.restarts ?? 0) > 1 || undefined, 'it is counted');
  await done(['stop', 'loop']);
  assert.match((await rowOf('loop'))?.status ?? '', /^Exited \(3\) /);
});

test('times in documents are exact, and all of one form', async () => {
  await done(['run', '-d', '--name=times', image, 'sleep', 'infinity']);
  const row = await rowOf('times');
  assert.match(row?.created ?? '', rfc3339);
  assert.match(row?.started ?? '', rfc3339);
  assert.equal(row?.ended, null);
  await done(['kill', 'times']);
  await done(['wait', 'times']);
  const [told] = JSON.parse(await done(['inspect', 'times'])) as {
    state: { ended: string };
    lastRun: { ended: string };
    unitProperties: Record<string, unknown>;
  }[];
  assert.match(told?.state.ended ?? '', rfc3339);
  assert.ok((told?.state.ended ?? '') > (row?.started ?? ''), `${row?.started}, ${told?.state.ended}`);
  assert.match(told?.lastRun.ended ?? '', rfc3339);
  const stamps = Object.entries(told?.unitProperties ?? {}).filter(([key]) => key.endsWith('Timestamp'));
  assert.ok(stamps.length > 3);
  for (const [key, value] of stamps) assert.match(String(value), /^null$|^\d{4}-.*Z$/, key);
});

test('logs --tail takes all, as podman and docker do', async () => {
  await done(['run', '-d', '--name=lines', image, 'seq', '20']);
  await done(['wait', 'lines']);
  const whole = await done(['logs', 'lines']);
  assert.equal(whole.split('\n').length, 21);
  for (const all of ['all', '-1']) assert.equal(await done(['logs', '--tail', all, 'lines']), whole);
  assert.equal(await done(['logs', '--tail', '2', 'lines']), '19\n20\n');
});

test('run says that a name has drop-ins already, which rm leaves', async () => {
  const directory = '/etc/systemd/system/dropped.service.d';
  await mkdir(directory, { recursive: true });
  const run = () => spawnlet(['run', '-d', '--name=dropped', image, 'sleep', 'infinity']);
  assert.equal((await run()).err, '');
  assert.equal((await spawnlet(['rm', '-f', 'dropped'])).err, '');
  await writeFile(`${directory}/own.conf`, '[Service]\nCPUWeight=50\n');
  const { code, err } = await run();
  assert.equal(code, 0);
  assert.match(err, new RegExp(`^spawnlet: ${directory} is there already`, 'm'));
  const taken = await run();
  assert.match(taken.err, /ERR_NAME_TAKEN/);
  assert.doesNotMatch(taken.err, /is there already, and/);
  assert.match((await spawnlet(['rm', '-f', 'dropped'])).err, new RegExp(`${directory} is yours and stays`));
  await rm(directory, { recursive: true });
});

test('the hint of a start that failed leads to what was said about it', async () => {
  const missing = await spawnlet(['run', '-d', '--name=missing', image, '/no/such']);
  assert.equal(missing.code, 127);
  assert.doesNotMatch(missing.err, /journalctl/);
  // conmon cannot be started at all: only systemd and the script can say so.
  const directory = '/etc/systemd/system/broken.service.d';
  await mkdir(directory, { recursive: true });
  await writeFile(`${directory}/own.conf`, '[Service]\nExecStart=\nExecStart=/no/such/program\n');
  const broken = await spawnlet(['run', '-d', '--name=broken', image, 'true']);
  assert.equal(broken.code, 125);
  const hint = /^ {2}(journalctl .*)$/m.exec(broken.err)?.[1] ?? '';
  assert.match(await system('sh', '-c', hint), /\/no\/such\/program/);
  await rm(directory, { recursive: true });
  await done(['rm', '-f', 'broken', 'missing']);
});

test('help of what is no command is an error, as the word itself is', async () => {
  for (const argv of [['nosuch'], ['help', 'nosuch']]) {
    const { code, out, err } = await spawnlet(argv);
    assert.deepEqual([code, out], [125, '']);
    assert.match(err, /there is no command 'nosuch' \[ERR_USAGE\]/);
  }
  assert.match(await done(['help', 'image']), /^ {2}image pull /m);
  assert.match(await done(['help', 'image', 'pull']), /^Usage: spawnlet image pull /);
});

test('where systemd is not PID 1, commands about containers say so, and lead to the lab', async () => {
  for (const argv of [
    ['ps'],
    ['stop', 'x'],
    ['rm', '-f', 'x'],
    ['logs', 'x'],
    ['inspect', 'x'],
    ['exec', 'x', 'y'],
  ]) {
    const said = await system(
      'unshare',
      '--mount',
      'sh',
      '-c',
      'mount -t tmpfs tmpfs /run; "$@" 2>&1; [ $? = 125 ]',
      'sh',
      ...words(...argv),
    );
    assert.match(said, /ERR_NO_SYSTEMD[^]*spawnlet lab up/, argv.join(' '));
  }
});
