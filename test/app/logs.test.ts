// runs in a lab: bookworm trixie
// What a container writes can be read again, byte for byte, by stream and by run.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { debianImage, done, eventually, type Fixture, spawnlet, system, useImages, words } from './tools.ts';

/** Every byte in a row, twice; lines that look like something else; ends without a newline. */
const hostile = String.raw`binmode STDOUT; binmode STDERR; $| = 1;
print map { chr } 0 .. 255, 0 .. 255; print "\n";
print "<3>not an error\n", "\n", "\n", "\0\n", "\0\0a\0\n", "\xff\xfe\xc3\n", "\r\n", " \n", "\t\n";
print STDERR "<7>not debug\n\n", "E" x 100, "\n", "half";
print "x" x 1048576, "\n", "MESSAGE=forged\nPRIORITY=0\n__CURSOR=1\n", "no end";`;

const expected = Buffer.concat([
  Buffer.from([...Array(256).keys(), ...Array(256).keys()]),
  Buffer.from('\n<3>not an error\n\n\n\0\n\0\0a\0\n', 'latin1'),
  Buffer.from('\xff\xfe\xc3\n\r\n \n\t\n', 'latin1'),
  Buffer.alloc(1_048_576, 'x'),
  Buffer.from('\nMESSAGE=forged\nPRIORITY=0\n__CURSOR=1\nno end'),
]);
const expectedError = Buffer.from(`<7>not debug\n\n${'E'.repeat(100)}\nhalf`);

let images: Fixture;
let image: string;

before(async () => {
  images = await useImages({ deb: debianImage() });
  image = images.ref('deb');
  await done(['run', '-d', '--name=hostile', image, 'perl', '-e', hostile]);
  await done(['wait', 'hostile']);
  const lines = 'for n in 1 2 3 4 5; do echo out $n; echo err $n >&2; done; echo -n last';
  await done(['run', '-d', '--name=lines', image, 'sh', '-c', lines]);
  await done(['wait', 'lines']);
});

after(() => images[Symbol.asyncDispose]());

const same = (got: Buffer, wanted: Buffer) => {
  const at = wanted.findIndex((byte, index) => got[index] !== byte);
  const near = (bytes: Buffer) =>
    JSON.stringify(bytes.subarray(Math.max(0, at - 20), at + 20).toString('latin1'));
  if (at >= 0) assert.fail(`differs at byte ${at}: ${near(got)} instead of ${near(wanted)}`);
  assert.equal(got.length, wanted.length);
};

const logs = (...argv: readonly string[]) => spawnlet(['logs', ...argv]);

describe('logs', { concurrency: 2 }, () => {
  test('give both streams back as they were written', async () => {
    const { bytes, err } = await logs('hostile');
    same(bytes, expected);
    same(Buffer.from(err), expectedError);
  });

  test('in the foreground are the same', async () => {
    const { bytes, err } = await spawnlet(['run', '--rm', image, 'perl', '-e', hostile]);
    same(bytes, expected);
    same(Buffer.from(err), expectedError);
  });

  test('of a container that crashes again and again are kept apart by run, unterminated lines too', async () => {
    await done(['run', '-d', '--name=loop', image, 'sh', '-c', 'echo begin; echo -n $$ no end; exit 1']);
    await done(['wait', 'loop']);
    for (let count = 1; count < 20; count++)
      await system('sh', '-c', 'systemctl start loop; while systemctl -q is-active loop; do :; done');
    await done(['wait', 'loop']);
    assert.equal(await done(['logs', 'loop']), 'begin\n1 no end'.repeat(20));
    assert.equal(await done(['logs', '--last-run', 'loop']), 'begin\n1 no end');
  });

  test('of one stream', async () => {
    const out = await logs('--stream=stdout', 'lines');
    assert.deepEqual([out.out, out.err], ['out 1\nout 2\nout 3\nout 4\nout 5\nlast', '']);
    const err = await logs('--stream', 'stderr', 'lines');
    assert.deepEqual([err.out, err.err], ['', 'err 1\nerr 2\nerr 3\nerr 4\nerr 5\n']);
  });

  test('of the last lines', async () => {
    const { out, err } = await logs('--tail=3', 'lines');
    assert.equal(`${out}\n${err}`.split('\n').filter(Boolean).length, 3);
    assert.match(out, /last$/);
    assert.deepEqual(await logs('--tail=0', 'lines').then(({ out, err }) => out + err), '');
  });

  test('of the last lines, however long they are', async () => {
    const script = 'printf "%030000d\\n" 1 2 3; printf end';
    await done(['run', '--name=long', image, 'sh', '-c', script]);
    assert.equal((await logs('--tail=2', 'long')).out, `${'3'.padStart(30_000, '0')}\nend`);
    assert.equal((await logs('--tail=3', '--follow', 'long')).out.length, 60_005);
    assert.equal((await logs('--tail=9', 'long')).out.length, 90_006);
  });

  test('of a time', async () => {
    assert.equal((await logs('--since=1h', 'lines')).out, (await logs('lines')).out);
    assert.equal((await logs('--until=1h', 'lines')).out, '');
    assert.equal((await logs(`--since=${new Date(Date.now() + 60_000).toISOString()}`, 'lines')).out, '');
    const { code, err } = await logs('--since=yesterdayish', 'lines');
    assert.equal(code, 125);
    assert.match(err, /ERR_FLAG_VALUE/);
  });

  test('with times, one for each line', async () => {
    const { out } = await logs('--timestamps', 'lines');
    assert.match(out, /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z out \d\n){5}\d{4}-[^ ]* last$/);
  });

  test('of an earlier container of the same name are not shown', async () => {
    for (const word of ['first', 'second']) {
      await done(['run', '-d', '--name=namesake', image, 'echo', word]);
      await done(['wait', 'namesake']);
      assert.equal(await done(['logs', 'namesake']), `${word}\n`);
      await done(['rm', 'namesake']);
    }
    const { code, err } = await logs('namesake');
    assert.equal(code, 125);
    const hint = /ERR_NO_CONTAINER.*\n.*(journalctl .*)$/m.exec(err)?.[1] ?? '';
    assert.match(await system('sh', '-c', hint), /first\n[^]*second\n/, err);
  });

  test('that are followed come as they are written, until the container ends', async () => {
    await done([
      'run',
      '-d',
      '-i',
      '--name=talks',
      image,
      'sh',
      '-c',
      'echo -n first; trap "echo more; echo -n end; exit" USR1; while :; do sleep 0.05; done',
    ]);
    const [program = '', ...argv] = words('logs', '-f', 'talks');
    const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    const seen: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => seen.push(chunk));
    // An unterminated line is known to journald when it is ended, so what can be waited for is the journal's reader.
    await eventually(
      async () =>
        (await system('sh', '-c', 'cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " "')).includes(
          'journalctl --quiet --no-pager --output=export',
        )
          ? true
          : undefined,
      'logs follows',
    );
    await done(['kill', '-s', 'USR1', 'talks']);
    const code = await new Promise(resolve => {
      child.once('close', resolve);
    });
    assert.equal(code, 0);
    assert.equal(Buffer.concat(seen).toString(), 'firstmore\nend');
  });

  test('are plain to journalctl and systemctl', async () => {
    assert.match(await system('journalctl', '--namespace=spawnlet', '-u', 'lines', '-o', 'cat'), /^out 5$/m);
    assert.match(await system('sh', '-c', 'systemctl status lines; :'), /out 5/);
  });

  test('end quietly when nobody reads on', async () => {
    const child = spawn('sh', ['-c', `${words('logs', 'hostile').join(' ')} | head -c 1 | od -An -tx1`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    assert.equal((await buffer(child.stdout)).toString().trim(), '00');
    assert.equal((await buffer(child.stderr)).toString().includes('ERR'), false);
  });
});
