// runs in a lab: bookworm trixie +containernetworking-plugins +nftables
// What is done with a container of a pod while it runs: it is attached to, files are copied, ports lead to it.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { begin, listen, onTerminal } from '../app/streams.ts';
import { done, eventually, spawnlet, system } from '../app/tools.ts';
import { apply, container, isReady, podOf, remove, until, useHost } from './agent.ts';

const host = useHost();

/** Has a pod run whose containers are not started again. */
async function run(name: string, ...containers: readonly object[]): Promise<void> {
  await apply(
    name,
    podOf(name, containers, { restartPolicy: 'Never', volumes: [{ name: 'data', emptyDir: {} }] }),
  );
  await until(name, 'is ready', isReady).catch((cause: unknown) => {
    throw new Error(host.agent.said(), { cause });
  });
}

/** The terminal of a spawnlet that runs with these words. */
async function terminalOf(...argv: readonly string[]): Promise<string> {
  const words = ['', ...argv, ''].join('\0');
  for (const pid of await readdir('/proc')) {
    const its = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (its.endsWith(words)) return await readlink(`/proc/${pid}/fd/0`);
  }
  throw new Error(`spawnlet ${argv.join(' ')} does not run`);
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

  test('has a terminal of the caller’s size, then and when it changes, which is left by its detach keys', async () => {
    const sizes = 'while read -r line; do echo "$line: $(stty size)"; [ "$line" != end ] || exit 4; done';
    const streams = { stdin: true, stdinOnce: true, tty: true };
    await run('tty', container('main', sizes, streams));
    const first = onTerminal('pod', 'attach', '-it', 'tty');
    const [left, heard] = [ended(first), listen(first)];
    // What is typed before the command has taken the terminal is not all the container's.
    const typing = setInterval(() => first.stdin?.write('word\r'), 200);
    try {
      await heard('word: 33 77');
      await system(
        'stty',
        '--file',
        await terminalOf('pod', 'attach', '-it', 'tty'),
        'rows',
        '40',
        'cols',
        '90',
      );
      await heard('word: 40 90');
    } finally {
      clearInterval(typing);
    }
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
    const work = join(host.images.directory, 'cp');
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
    const file = join(host.images.directory, 'note');
    await writeFile(file, 'mine', { mode: 0o600 });
    await done(['pod', 'cp', '-c', 'other', file, 'files:note']);
    assert.equal(await inside('other', 'cat /data/note; stat -c " %u %g" /data/note'), 'mine 1000 1001\n');
    await done(['pod', 'cp', 'files:/data/note', join(host.images.directory, 'back')]);
    assert.equal(await readFile(join(host.images.directory, 'back'), 'utf8'), 'mine');
    const { code, err } = await cp('-c', 'other', file, 'files:/srv');
    assert.equal(code, 125);
    assert.match(err, /read-only.*ERR_GUEST_COPY/);
  });

  test('follows links of the container in the container, and brings none that leads anywhere on the host', async () => {
    const secret = join(host.images.directory, 'secret');
    await writeFile(secret, 'secret');
    await done(['pod', 'cp', secret, 'files:/srv/etc/was-linked']);
    assert.equal(await inside('main', 'cat /etc/was-linked'), 'secret');
    await assert.rejects(stat('/etc/was-linked'));
    // One copy brings a link to a directory of the host, the next one has a file below it.
    const victim = join(host.images.directory, 'victim');
    await mkdir(victim);
    const out = join(host.images.directory, 'taken');
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

  test('takes what is written to meanwhile', async () => {
    await inside(
      'main',
      'mkdir /tmp/logs; head -c 30000000 /dev/zero > /tmp/logs/log; (while echo line >> /tmp/logs/log; do :; done) > /dev/null 2>&1 & echo $! > /tmp/writer',
    );
    const out = join(host.images.directory, 'logs');
    await done(['pod', 'cp', 'files:/tmp/logs', out]);
    assert.ok((await stat(join(out, 'log'))).size >= 30_000_000);
    await inside('main', 'kill $(cat /tmp/writer); rm -r /tmp/logs');
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

describe('port-forward', () => {
  /** A server in perl, which the image has: tells who asked, and ends when all was said. */
  const server = (family: string, address: string, port: number) =>
    `perl -MIO::Socket::IP -e '
      my $s = IO::Socket::IP->new(LocalHost => "${address}", LocalPort => ${port}, Listen => 9, ReuseAddr => 1) or die "no $@";
      $| = 1; while (my $c = $s->accept) { local $/; my $all = <$c>; print $c "${family} heard " . length($all); close $c }'`;

  /** A command that forwards, once it listens, by what it has said. */
  async function forward(...argv: readonly string[]) {
    const child = begin('pod', 'port-forward', ...argv);
    const over = ended(child);
    let err = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      err += chunk.toString();
    });
    const heard = listen(child);
    return { child, over, heard, err: () => err };
  }

  async function say(host: string, port: number, words: string | Buffer): Promise<string> {
    const socket = connect({ host, port, allowHalfOpen: true });
    socket.end(words);
    return text(socket);
  }

  const portIn = (said: string, address: string, remote: number) =>
    Number(new RegExp(`from ${address}:(\\d+) -> ${remote}\\n`).exec(said)?.[1]);

  test('leads to what listens on either loopback address in the pod, until the pod ends', async () => {
    await apply(
      'served',
      podOf('served', [
        {
          ...container('four', server('four', '127.0.0.1', 81)),
          ports: [{ containerPort: 81, name: 'four' }],
        },
        container('six', server('six', '::1', 82)),
      ]),
    );
    await until('served', 'is ready', isReady);
    const led = await forward('served', ':four', ':82', ':83');
    const said = await led.heard('-> 83');
    const four = portIn(said, '127.0.0.1', 81);
    const big = Buffer.alloc(5_000_000);
    // The container may not listen yet, though its program runs.
    await eventually(async () => (await say('127.0.0.1', four, 'x').catch(() => '')) !== '', 'four listens');
    assert.equal(await say('127.0.0.1', four, big), 'four heard 5000000');
    assert.equal(await say('::1', portIn(said, '\\[::1\\]', 81), 'over IPv6'), 'four heard 9');
    const six = portIn(said, '127.0.0.1', 82);
    await eventually(async () => (await say('127.0.0.1', six, 'x').catch(() => '')) !== '', 'six listens');
    assert.equal(await say('127.0.0.1', six, 'to IPv6'), 'six heard 7');
    await assert.rejects(say('127.0.0.1', portIn(said, '127.0.0.1', 83), 'x'), { code: 'ECONNRESET' });
    await eventually(async () => led.err().includes('port 83 of served: connect ECONNREFUSED'), 'it says so');
    await led.heard(`Handling connection for ${four}`);
    const taken = await spawnlet(['pod', 'port-forward', 'served', `${four}:81`]);
    assert.match(taken.err, /ERR_PORT_TAKEN/);
    await remove('served');
    assert.equal(await led.over, 125);
    assert.match(led.err(), /ERR_POD_GONE/);
  });

  test('says what is not there', async () => {
    await run('idle', container('main', 'exec sleep 1000'));
    for (const [argv, error] of [
      [['none', '80'], /ERR_NO_POD/],
      [['idle', ':http'], /ERR_NO_PORT/],
      [['idle', 'x:80'], /ERR_FLAG_VALUE/],
      [['--address=example.org', 'idle', '80'], /ERR_FLAG_VALUE/],
      [['--address=192.0.2.1', 'idle', ':80'], /192\.0\.2\.1 is no address of this host.*ERR_FLAG_VALUE/],
    ] as const) {
      const { code, err } = await spawnlet(['pod', 'port-forward', ...argv]);
      assert.equal(code, 125);
      assert.match(err, error);
    }
    await remove('idle');
  });
});

describe('top', () => {
  interface Metrics {
    readonly metadata: { readonly name: string };
    readonly containers: readonly {
      readonly name: string;
      readonly usage: { readonly cpu: string; readonly memory: string };
    }[];
  }

  test('tells CPU and memory of pods and containers', async () => {
    const holds = 'perl -e \'my $x = "x" x 60_000_000; $| = 1; print "held\\n"; sleep 1000\'';
    await run('busy', container('burns', 'while :; do :; done'), container('holds', holds));
    await run('calm', container('main', 'exec sleep 1000'));
    await eventually(
      async () => (await done(['pod', 'logs', 'busy', 'holds'])) === 'held\n',
      'it holds memory',
    );
    const [busy, ...others] = JSON.parse(await done(['pod', 'top', '-o', 'json', 'busy'])) as Metrics[];
    assert.deepEqual(others, []);
    const [burns, holdsIt] = busy?.containers ?? [];
    assert.deepEqual([burns?.name, holdsIt?.name], ['burns', 'holds']);
    const cpu = (it: typeof burns) => Number(/^(\d+)n$/.exec(it?.usage.cpu ?? '')?.[1]);
    const memory = (it: typeof burns) => Number(/^(\d+)Ki$/.exec(it?.usage.memory ?? '')?.[1]);
    assert.ok(cpu(burns) > 20 * cpu(holdsIt), JSON.stringify(busy));
    assert.ok(cpu(burns) < 1.2e9, JSON.stringify(busy));
    assert.ok(memory(holdsIt) > 58_000 && memory(burns) < 30_000, JSON.stringify(busy));
    const lines = (await done(['pod', 'top', '--sort-by=memory'])).split('\n');
    assert.match(lines[0] ?? '', /^NAMESPACE +NAME +CPU\(cores\) +MEMORY\(bytes\)$/);
    assert.match(lines[1] ?? '', /^default +busy +\d+m +\d\d+Mi$/);
    assert.match(lines[2] ?? '', /^default +calm +\d+m +\d+Mi$/);
    const each = await done(['pod', 'top', '--containers', '--sort-by=cpu']);
    assert.match(each, /^NAMESPACE +POD +NAME +CPU.*\ndefault +busy +burns +\d+m +\d+Mi\n/);
    assert.match((await spawnlet(['pod', 'top', 'none'])).err, /ERR_NO_POD/);
    assert.equal(await done(['pod', 'top', '-n', 'other', '-o', 'json']), '[]\n');
    await remove('busy');
    await remove('calm');
  });
});
