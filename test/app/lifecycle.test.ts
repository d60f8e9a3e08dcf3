// runs in a lab: bookworm trixie
// How runs end, and that it can still be told afterwards.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SystemdClient } from '../../src/systemd/client.ts';
import {
  debianImage,
  done,
  eventually,
  type Fixture,
  running,
  spawnlet,
  system,
  useImages,
} from './tools.ts';

let images: Fixture;
let image: string;

before(async () => {
  images = await useImages({ deb: debianImage() });
  image = images.ref('deb');
});

after(() => images[Symbol.asyncDispose]());

const signal = AbortSignal.timeout(300_000);
const run = (...argv: readonly string[]) => spawnlet(['run', ...argv]);

interface Told {
  readonly state: {
    readonly kind: string;
    readonly exitCode?: number;
    readonly oomKilled?: boolean;
    readonly ended?: string;
  };
  readonly lastRun: { readonly invocation: string; readonly result: string } | null;
  readonly unitProperties: { readonly NRestarts: number; readonly InvocationID: string };
}

const inspect = async (name: string) => (JSON.parse(await done(['inspect', name])) as Told[])[0] as Told;

/** A program that reads where nothing is: the kernel kills it, though it is PID 1. */
const crash = ['perl', '-e', 'unpack("p", pack("J", 1))'];
const greedy = ['perl', '-e', 'my $x = "a" x (1 << 28)'];

describe('an end', { concurrency: 3 }, () => {
  const ends: Readonly<Record<string, { argv: readonly string[]; code: number }>> = {
    zero: { argv: ['true'], code: 0 },
    one: { argv: ['false'], code: 1 },
    most: { argv: ['sh', '-c', 'exit 255'], code: 255 },
    // systemd takes these for its own idea of success; they are told as they are.
    hup: { argv: ['sh', '-c', 'exit 129'], code: 129 },
    segv: { argv: crash, code: 139 },
  };

  for (const [name, { argv, code }] of Object.entries(ends)) {
    test(`by ${argv.join(' ')} gives ${code}, in the foreground and afterwards`, async () => {
      assert.equal((await run('--rm', image, ...argv)).code, code);
      await done(['run', '-d', `--name=${name}`, image, ...argv]);
      assert.equal(await done(['wait', name]), `${code}\n`);
      const { state } = await inspect(name);
      assert.deepEqual([state.kind, state.exitCode, state.oomKilled], ['exited', code, false]);
      assert.match(await done(['ps', '-a']), new RegExp(`^${name} .*Exited \\(${code}`, 'm'));
      await done(['rm', name]);
    });
  }

  test('by a signal is told as 128 and its number', async () => {
    await done(['run', '-d', '--name=killed', image, 'sleep', 'infinity']);
    const waiting = done(['wait', 'killed']);
    await done(['kill', 'killed']);
    assert.equal(await waiting, '137\n');
    assert.match(await done(['ps', '-a']), /^killed .*Exited \(137\) .*, SIGKILL/m);
  });

  test('of conmon itself, killed with all else, is told as a kill, also when systemd has forgotten it', async () => {
    await done(['run', '--name=slain', image, 'true']);
    await done(['start', 'slain']);
    await done(['wait', 'slain']);
    assert.equal((await inspect('slain')).lastRun?.result, 'success');
    await done(['rm', 'slain']);
    await done(['run', '-d', '--name=slain', image, 'sleep', 'infinity']);
    assert.equal((await inspect('slain')).lastRun, null, 'a run that goes on is told as one that has ended');
    const waiting = done(['wait', 'slain']);
    await system('systemctl', 'kill', '--kill-whom=all', '--signal=KILL', 'slain');
    assert.equal(await waiting, '137\n');
    assert.match(await done(['ps', '-a']), /^slain .*Exited \(137\) .*, SIGKILL/m);
    await system('systemctl', 'reset-failed', 'slain');
    const { state } = await inspect('slain');
    assert.deepEqual([state.kind, state.exitCode], ['exited', 137]);
  });

  test('for want of memory is told as such', async () => {
    const { code, err } = await run('--rm', '--memory=32m', image, ...greedy);
    assert.equal(code, 137);
    assert.match(err, /out of memory/);
    await done(['run', '-d', '--name=greedy', '--memory=32m', image, ...greedy]);
    assert.equal(await done(['wait', 'greedy']), '137\n');
    assert.equal((await inspect('greedy')).state.oomKilled, true);
    assert.match(await done(['ps', '-a']), /^greedy .*Exited \(137\) .*, out of memory/m);
  });

  test('of a program that cannot be run gives 126, of one that is not there 127', async () => {
    const [directory, missing] = await Promise.all([
      run('--rm', image, '/etc/passwd'),
      run('--rm', image, '/no/such'),
    ]);
    assert.deepEqual([directory.code, missing.code], [126, 127]);
    assert.match(missing.err, /no\/such.*ERR_START/);
    assert.equal((await run('--rm', '-w/etc/passwd', image, 'true')).code, 126);
  });
});

describe('stop', { concurrency: 3 }, () => {
  const trap = (signal: string) => [
    'sh',
    '-c',
    `trap 'echo got ${signal}; exit 3' ${signal}; echo ready; while :; do sleep 0.05; done`,
  ];
  /** Until its own line is in the log. */
  const ready = async (name: string) => assert.equal(await running(['logs', '-f', name]).line(), 'ready');

  test('sends SIGTERM to PID 1, which ends with its own exit code', async () => {
    await done(['run', '-d', '--name=term', image, ...trap('TERM')]);
    await ready('term');
    await done(['stop', 'term']);
    assert.equal(await done(['logs', 'term']), 'ready\ngot TERM\n');
    assert.equal((await inspect('term')).state.exitCode, 3);
  });

  for (const [flag, signal] of [
    ['SIGUSR1', 'USR1'],
    ['SIGRTMIN+3', '37'],
  ] as const) {
    test(`sends ${flag} where that is the stop signal`, async () => {
      const name = `stop-${signal}`.toLowerCase();
      await done(['run', '-d', `--name=${name}`, `--stop-signal=${flag}`, image, ...trap(signal)]);
      await ready(name);
      await system('systemctl', 'stop', name);
      assert.equal(await done(['logs', name]), `ready\ngot ${signal}\n`);
    });
  }

  test('kills after the time that is given', async () => {
    await done(['run', '-d', '--name=deaf', '--stop-timeout=1', image, 'sleep', 'infinity']);
    await done(['run', '-d', '--name=deaf2', image, 'sleep', 'infinity']);
    const begin = performance.now();
    await Promise.all([done(['stop', 'deaf']), done(['stop', '-t', '1', 'deaf2'])]);
    const took = performance.now() - begin;
    assert.ok(took >= 900 && took < 9000, `${took} ms`);
    assert.deepEqual(
      [(await inspect('deaf')).state.exitCode, (await inspect('deaf2')).state.exitCode],
      [137, 137],
    );
  });

  test('of one that is not running is done already; of one that is not there is an error', async () => {
    await done(['run', '-d', '--name=over', image, 'true']);
    await done(['wait', 'over']);
    assert.equal(await done(['stop', 'over']), 'over\n');
    const { code, err } = await spawnlet(['stop', 'nobody']);
    assert.equal(code, 125);
    assert.match(err, /ERR_NO_CONTAINER/);
  });
});

describe('restart policies', { concurrency: 2 }, () => {
  test('on-failure:3 runs a program four times, and no more', async () => {
    await done([
      'run',
      '-d',
      '--name=crashes',
      '--restart=on-failure:3',
      image,
      'sh',
      '-c',
      'echo run; exit 9',
    ]);
    await using systemd = await SystemdClient.connect({ signal });
    // After each run it has failed for an instant; the fifth start is the one that systemd refuses.
    await systemd.waitUntil(
      'crashes.service',
      unit => unit.SubState === 'failed' && unit.NRestarts === 4,
      signal,
    );
    assert.equal(await done(['logs', 'crashes']), 'run\n'.repeat(4));
    assert.equal((await inspect('crashes')).state.exitCode, 9);
  });

  test('on-failure leaves a program alone that went well', async () => {
    await done(['run', '-d', '--name=fine', '--restart=on-failure', image, 'sh', '-c', 'echo run']);
    assert.equal(await done(['wait', 'fine']), '0\n');
    assert.equal(await done(['logs', 'fine']), 'run\n');
  });

  test('on-failure starts a program again that ends with the code of a signal by itself, and not one that was stopped', async () => {
    await done([
      'run',
      '-d',
      '--name=coded',
      '--restart=on-failure',
      image,
      'sh',
      '-c',
      'echo run; exit 143',
    ]);
    const logs = running(['logs', '-f', 'coded']);
    assert.deepEqual([await logs.line(), await logs.line()], ['run', 'run']);
    await done(['stop', 'coded']);
    assert.match(await system('systemctl', 'show', '-P', 'ActiveState', 'coded'), /^(inactive|failed)$/m);
  });

  test('always starts it again whatever it ended with, and a stop ends that', async () => {
    await done(['run', '-d', '--name=again', '--restart=always', image, 'sh', '-c', 'echo run']);
    const logs = running(['logs', '-f', 'again']);
    assert.deepEqual([await logs.line(), await logs.line()], ['run', 'run']);
    await done(['stop', 'again']);
    assert.match(await system('systemctl', 'show', '-P', 'ActiveState', 'again'), /^(inactive|failed)$/m);
  });
});

test('a container whose conmon was killed is told with its end while systemd waits to start it again', async () => {
  const dropIns = '/etc/systemd/system/felled.service.d';
  await mkdir(dropIns);
  await writeFile(join(dropIns, 'patience.conf'), '[Service]\nRestartSec=1h\n');
  await done(['run', '-d', '--name=felled', '--restart=always', image, 'sleep', 'infinity']);
  await system('systemctl', 'kill', '--kill-whom=all', '--signal=KILL', 'felled');
  const { state } = await eventually(async () => {
    const told = await inspect('felled');
    return told.state.kind === 'restarting' ? told : undefined;
  }, 'it is to be started again');
  assert.equal(state.exitCode, 137);
  assert.match(state.ended ?? '', /^\d{4}-\d{2}-\d{2}T/);
  assert.match(await done(['ps']), /^felled .*Restarting \(137\) .* ago, SIGKILL/m);
  await done(['rm', '-f', 'felled']);
  await rm(dropIns, { recursive: true });
});

/** Connections to systemd's private socket, by their inodes. */
async function systemdClients(): Promise<string[]> {
  const table = await readFile('/proc/net/unix', 'utf8');
  const connected = /^\S+: \S+ \S+ \S+ 0001 03 +(\d+) \/run\/systemd\/private$/gm;
  return [...table.matchAll(connected)].map(([, inode = '']) => inode);
}

test('an end is told when systemd was re-executed', async () => {
  const gate = (name: string) => join(images.directory, name);
  await system('mkfifo', gate('across'), gate('front'));
  const waits = (name: string, code: number) => [
    `--name=${name}`,
    `-v${images.directory}:/gate`,
    image,
    'sh',
    '-c',
    `echo here; cat /gate/${name}; exit ${code}`,
  ];
  await done(['run', '-d', ...waits('across', 5)]);
  await done(['run', '-d', '--name=before', image, 'sh', '-c', 'exit 6']);
  await done(['wait', 'before']);
  const front = running(['run', '--rm', ...waits('front', 7)]);
  assert.equal(await front.line(), 'here');
  const both = running(['wait', 'before', 'across']);
  assert.equal(await both.line(), '6');
  const known = await systemdClients();
  await system('systemctl', 'daemon-reexec');
  await eventually(
    async () => (await systemdClients()).filter(inode => !known.includes(inode)).length >= 2 || undefined,
    'run and wait have connected again',
  );
  for (const name of ['across', 'front']) await writeFile(gate(name), '');
  assert.equal(await both.line(), '5');
  assert.deepEqual([await both.ended, await front.ended], [0, 7]);
  assert.equal((await inspect('before')).state.exitCode, 6);
});

test('a container starts again with the files that it left', async () => {
  await done(['run', '-d', '--name=twice', image, 'sh', '-c', 'cat /left 2>/dev/null; echo here >> /left']);
  await done(['wait', 'twice']);
  const first = (await inspect('twice')).lastRun?.invocation;
  await done(['start', 'twice']);
  await done(['wait', 'twice']);
  assert.equal(await done(['logs', 'twice']), 'here\n');
  assert.notEqual((await inspect('twice')).lastRun?.invocation, first);
  assert.equal(await done(['logs', '--last-run', 'twice']), 'here\n');
});

test('what is not running cannot be exec’d into, attached to or killed', async () => {
  await done(['run', '-d', '--name=ended', image, 'true']);
  await done(['wait', 'ended']);
  for (const argv of [
    ['exec', 'ended', 'true'],
    ['attach', 'ended'],
    ['kill', 'ended'],
  ]) {
    const { code, err } = await spawnlet(argv);
    assert.equal(code, 125);
    assert.match(err, /ERR_NOT_RUNNING/);
  }
});

test('rm takes a running container only by force', async () => {
  await done(['run', '-d', '--name=runs', image, 'sleep', 'infinity']);
  assert.match((await spawnlet(['rm', 'runs'])).err, /ERR_RUNNING/);
  assert.equal(await done(['rm', '-f', 'runs']), 'runs\n');
  assert.equal((await spawnlet(['rm', 'runs'])).code, 125);
  assert.equal(await done(['rm', '-i', 'runs']), '', 'only what was removed is told');
});

test('a container says whether it is well, to a timer that comes and goes with it', async () => {
  const check = [
    '--health-cmd=echo seen; test -e /well',
    '--health-interval=200ms',
    '--health-retries=2',
    '--stop-timeout=1',
  ];
  const health = async (name: string) => {
    const { health: known } = (await inspect(name)) as Told & {
      readonly health: { readonly status: string; readonly log: readonly { readonly output: string }[] };
    };
    return known;
  };
  const is = (name: string, status: string) =>
    eventually(async () => (await health(name)).status === status, `${name} is ${status}`);
  await done(['run', '-d', '--name=asked', ...check, image, 'sleep', 'infinity']);
  await is('asked', 'unhealthy');
  assert.match(await done(['ps']), /^asked .* \(unhealthy\)$/m);
  assert.equal((await health('asked')).log.at(-1)?.output, 'seen\n');
  const { code, out } = await spawnlet(['healthcheck', 'run', 'asked']);
  assert.deepEqual([code, out], [1, 'unhealthy\nseen\n']);
  await done(['exec', 'asked', 'touch', '/well']);
  await is('asked', 'healthy');
  // As crun has it until it lets the program run.
  const fifo = '/run/spawnlet/app/asked/crun/$(ls /run/spawnlet/app/asked/crun)/exec.fifo';
  await system('sh', '-c', `mkfifo ${fifo}`);
  const early = await spawnlet(['healthcheck', 'run', 'asked']);
  assert.equal(early.code, 125);
  assert.match(early.err, /asked is not running \(starting\).*ERR_NOT_RUNNING/);
  await system('sh', '-c', `rm ${fifo}`);
  const timers = () => system('systemctl', 'list-units', '--plain', '--no-legend', 'asked:health.timer');
  assert.match(await timers(), /^asked:health\.timer /);
  await done(['stop', 'asked']);
  await eventually(async () => (await timers()) === '', 'the timer has gone with the container');
  await done(['start', 'asked']);
  await eventually(async () => (await timers()) !== '', 'the timer has come again');
  await done(['rm', '-f', 'asked']);
  assert.equal(await system('sh', '-c', 'ls -d /etc/systemd/system/asked* 2>/dev/null; :'), '');
});

test('a container that is not well is ended or begun anew, where that is asked for', async () => {
  const asked = (name: string, action: string, ...more: readonly string[]) =>
    done(
      ['run', '-d', `--name=${name}`, `--health-on-failure=${action}`, '--health-retries=1', ...more].concat([
        '--health-interval=200ms',
        '--health-cmd=false',
        image,
        'sleep',
        'infinity',
      ]),
    );
  await asked('sick-felled', 'kill', '--rm');
  await asked('sick-ended', 'stop', '--stop-timeout=1');
  await asked('sick-again', 'restart', '--stop-timeout=1');
  const first = (await inspect('sick-again')).unitProperties.InvocationID;
  await eventually(
    async () => (await spawnlet(['inspect', 'sick-felled'])).code === 125,
    'one is killed, and gone with its files',
  );
  assert.equal(await system('sh', '-c', 'ls -d /run/systemd/system/sick-felled* 2>/dev/null; :'), '');
  await eventually(async () => (await inspect('sick-ended')).state.kind === 'exited', 'one is stopped');
  await eventually(async () => {
    const { state, unitProperties } = await inspect('sick-again');
    return state.kind === 'running' && unitProperties.InvocationID !== first;
  }, 'one has begun anew');
  await done(['rm', '-f', 'sick-ended', 'sick-again']);
});
