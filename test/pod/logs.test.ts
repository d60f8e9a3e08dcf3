// runs in a lab: bookworm trixie +containernetworking-plugins +nftables
// What containers of pods wrote is read again as kubectl reads it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { done, eventually, spawnlet, system, words } from '../app/tools.ts';
import { apply, gone, image, podOf, remove, until, useHost } from './agent.ts';

const host = useHost();

const main = (script: string) => ({ name: 'main', image, command: ['sh', '-c', script] });
const perl = (script: string) => ({ name: 'main', image, command: ['perl', '-e', script] });
const logs = (...argv: readonly string[]) => done(['pod', 'logs', ...argv]);

/** Waits until a container has ended so often that it runs no more for now. */
const rests = (name: string, restarts: number) =>
  until(
    name,
    `rests after ${restarts} restarts`,
    ({ containerStatuses: [only] = [] }) =>
      only?.restartCount === restarts && only.state?.running === undefined,
  );

test('logs are those of one run, with the options of kubectl', async () => {
  await apply('talks', podOf('talks', [main('echo one; echo two >&2; printf three; exit 1')]));
  await rests('talks', 1);
  for (const previous of [[], ['--previous']])
    assert.equal(await logs(...previous, 'talks'), 'one\ntwo\nthree');
  assert.equal(await logs('--tail=1', 'talks'), 'three');
  assert.equal(await logs('--tail=-1', 'talks'), 'one\ntwo\nthree');
  assert.equal(await logs('--tail=0', 'talks'), '');
  assert.equal(await logs('--limit-bytes=5', 'talks'), 'one\nt');
  const stamped = await logs('--timestamps', 'talks');
  assert.match(stamped, /^(\d{4}-\d\d-\d\dT[\d:]+\.\d{9}Z (one|two|three)\n?){3}$/);
  assert.equal(await logs('--timestamps', '--limit-bytes=33', 'talks'), stamped.slice(0, 33));
  assert.equal(await logs('--since=1h', 'talks'), 'one\ntwo\nthree');
  await remove('talks');
  await gone('talks');
  const { err } = await spawnlet(['pod', 'logs', 'talks']);
  assert.match(err, /ERR_NO_POD/);
});

test('logs of a time begin with the line of that time', async () => {
  const script = 'for n in 1 2 3 4 5; do echo line $n; sleep 0.02; done';
  await apply('timed', podOf('timed', [main(script)], { restartPolicy: 'Never' }));
  await until('timed', 'is done', ({ phase }) => phase === 'Succeeded');
  const third = /^(\S+) line 3$/m.exec(await logs('--timestamps', 'timed'))?.[1] ?? '';
  assert.equal(await logs(`--since-time=${third}`, 'timed'), 'line 3\nline 4\nline 5\n');
  assert.equal(await logs(`--since-time=${third}`, '--tail=1', 'timed'), 'line 5\n');
  const later = new Date(Date.now() + 60_000).toISOString();
  assert.equal(await logs(`--since-time=${later}`, '--tail=2', 'timed'), '');
  const { code, err } = await spawnlet(['pod', 'logs', '--since=1h', `--since-time=${third}`, 'timed']);
  assert.equal(code, 125);
  assert.match(err, /ERR_FLAG_CONFLICT/);
  await remove('timed');
});

test('a log is of the run that is, or was last; --previous of the one before, not of another pod that had its name', async () => {
  const script = `echo begin; trap 'echo end; exit 1' USR1; while :; do sleep 0.05; done`;
  const phased = podOf('phased', [main(script)]);
  await apply('phased', phased);
  await until('phased', 'runs', ({ containerStatuses: [only] = [] }) => only?.started === true);
  assert.equal(await logs('phased'), 'begin\n');
  const end = () => done(['pod', 'exec', 'phased', '--', 'sh', '-c', 'kill -USR1 1']);
  await end();
  await until(
    'phased',
    'runs again',
    ({ containerStatuses: [only] = [] }) => only?.restartCount === 1 && only.state?.running !== undefined,
  );
  assert.equal(await logs('phased'), 'begin\n');
  assert.equal(await logs('--previous', 'phased'), 'begin\nend\n');
  await end();
  await rests('phased', 1);
  assert.equal(await logs('phased'), 'begin\nend\n');
  await remove('phased');
  await gone('phased');
  // The same manifest, and so the same UID.
  await apply('phased', phased);
  await until('phased', 'runs', ({ containerStatuses: [only] = [] }) => only?.started === true);
  assert.equal(await logs('phased'), 'begin\n');
  const { code, err } = await spawnlet(['pod', 'logs', '--previous', 'phased']);
  assert.deepEqual([code, /ERR_NO_RUN/.test(err)], [125, true], err);
  await remove('phased');
});

test('what has not begun yet has no log, and why is told', async () => {
  await apply(
    'pulls',
    podOf('pulls', [{ ...main('true'), image: 'localhost/no:image', imagePullPolicy: 'Never' }]),
  );
  await until('pulls', 'waits', ({ containerStatuses: [only] = [] }) => only?.state?.waiting !== undefined);
  const { err } = await spawnlet(['pod', 'logs', 'pulls']);
  assert.match(err, /has not begun \(\w+\).*ERR_NO_RUN/);
  await remove('pulls');
});

test('long lines come in one piece with one time, and parts of lines as they are', async () => {
  const script = `$| = 1; print "a" x 100_000, "\\n"; print "half "; select(undef, undef, undef, 0.1); print "and half\\n", "\\n", "end"`;
  await apply('long', podOf('long', [perl(script)], { restartPolicy: 'Never' }));
  await until('long', 'is done', ({ phase }) => phase === 'Succeeded');
  const expected = `${'a'.repeat(100_000)}\nhalf and half\n\nend`;
  assert.equal(await logs('long'), expected);
  const stamped = await logs('--timestamps', 'long');
  assert.equal(stamped.replaceAll(/^\S{30} /gm, ''), expected);
  assert.equal(stamped.length, expected.length + 4 * 31);
  await remove('long');
});

/** Waits until a process that has read so many bytes reads no more, as nobody takes what it writes; or until it is over. */
async function standstill(pid: number, least = 1): Promise<void> {
  let before: number | undefined;
  const look = async () => {
    const text = await readFile(`/proc/${pid}/io`, 'latin1').catch(() => 'over');
    const now = Number(/^rchar: (\d+)/.exec(text)?.[1] ?? -1);
    const stands = now < 0 || (now >= least && now === before);
    before = now;
    return stands;
  };
  await eventually(look, `process ${pid} reads no more`, 300);
}

test('a reader that is slow gets all of it', async () => {
  await apply('slow', podOf('slow', [perl('print "line\\n" x 20_000')], { restartPolicy: 'Never' }));
  await until('slow', 'is done', ({ phase }) => phase === 'Succeeded');
  const pipe = join(host.images.directory, 'pipe');
  await system('mkfifo', pipe);
  const input = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  const output = openSync(pipe, 'w');
  const [program = '', ...argv] = words('pod', 'logs', 'slow');
  const child = spawn(program, argv, { stdio: ['ignore', output, 'inherit'] });
  closeSync(output);
  await standstill(child.pid ?? 0, 4 << 20);
  const all = await buffer(new Socket({ fd: input, readable: true, writable: false }));
  assert.equal(all.length, 100_000);
  await remove('slow');
});

test('logs -f ends with the container', async () => {
  await apply('short', podOf('short', [main('echo begin; sleep 0.5; echo end')], { restartPolicy: 'Never' }));
  await until('short', 'runs', ({ containerStatuses: [only] = [] }) => only?.state?.running !== undefined);
  assert.equal(await logs('-f', 'short'), 'begin\nend\n');
  await remove('short');
  await gone('short');
});

/** Most that a process has had in memory, in bytes. */
async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1').catch(() => '');
  return Number(/^VmHWM:\s*(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}

/** How many bytes logs give to a reader that pauses after the first ones, and the most memory that they took. */
async function weigh(name: string): Promise<{ bytes: number; peak: number }> {
  const [program = '', ...argv] = words('pod', 'logs', name);
  const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  const end = ended(child);
  const pid = child.pid ?? 0;
  let [bytes, peak] = [0, 0];
  for await (const chunk of child.stdout) {
    if (bytes === 0) await standstill(pid);
    bytes += (chunk as Buffer).length;
    peak = Math.max(peak, await peakOf(pid));
  }
  assert.equal(await end, 0);
  return { bytes, peak };
}

test('logs of 100 MB take no more memory than those of one', async () => {
  const most = { small: 1, big: 100 };
  for (const [name, size] of Object.entries(most)) {
    // Short lines last: they are what a lab tells of its journal when a test has failed.
    const script = `print "x" x 16_383, "\\n" for 1 .. ${size * 64}; print "\\n" x 130`;
    await apply(name, podOf(name, [perl(script)], { restartPolicy: 'Never' }));
  }
  for (const name of Object.keys(most)) await until(name, 'is done', ({ phase }) => phase === 'Succeeded');
  const small = await weigh('small');
  const big = await weigh('big');
  assert.deepEqual([small.bytes, big.bytes], [(1 << 20) + 130, (100 << 20) + 130]);
  const megabytes = (bytes: number) => Math.round(bytes / (1 << 20));
  assert.ok(
    big.peak < small.peak + (48 << 20),
    `${megabytes(small.peak)} MB, then ${megabytes(big.peak)} MB`,
  );
  await Promise.all(Object.keys(most).map(remove));
});
