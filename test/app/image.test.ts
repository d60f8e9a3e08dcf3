// runs in a lab: bookworm trixie
// What an image's config says, and what it ships, as its container shows it.
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeImage, makeIndex, writeLayout } from '../harness/images.ts';
import {
  debianImage,
  done,
  type Fixture,
  spawnlet,
  staticProgram,
  system,
  useImages,
  words,
} from './tools.ts';

let images: Fixture;
const secret = '/var/lib/secret-of-the-host';

before(async () => {
  await mkdir(secret, { recursive: true });
  await writeFile(join(secret, 'key'), 'of the host');
  images = await useImages({
    deb: debianImage(),
    words: debianImage({ Entrypoint: ['printf', '%s|'], Cmd: ['a b', '$HOME', '%n', '', '"'] }),
    env: debianImage({
      Cmd: ['env'],
      Env: ['A=1', 'B=two words', 'C=a\nb', 'D=$x %h "q" \\', 'E=', 'F=a=b', 'A=2'],
    }),
    asked: debianImage({
      Cmd: ['sleep', 'infinity'],
      Healthcheck: { Test: ['CMD', 'echo', 'of the image'], Interval: 3_600_000_000_000 },
    }),
    user: debianImage({ User: 'app', Cmd: ['id'] }),
    number: debianImage({ User: '4711', Cmd: ['id'] }),
    pair: debianImage({ User: '4711:4712', Cmd: ['id'] }),
    named: debianImage({ User: 'app:extra', Cmd: ['id'] }),
    workdir: debianImage({
      WorkingDir: '/srv/made/for/it',
      Cmd: ['stat', '-c', '%n %U:%G %a', '/srv/made/for/it', '.'],
    }),
    linked: debianImage({ WorkingDir: '/link/below', Cmd: ['pwd', '-P'] }, [
      { path: 'link', symlink: '../../var' },
    ]),
    volume: debianImage({ Volumes: { '/data': {}, '/empty': {} }, User: 'app' }, [
      { path: 'data', directory: true, mode: 0o750, owner: { uid: 1000, gid: 1001 } },
      { path: 'data/file', content: 'shipped', owner: { uid: 1000, gid: 1001 }, mode: 0o640 },
    ]),
    hostile: debianImage({ Volumes: { '/steal': {}, '/deep/steal': {} } }, [
      { path: 'steal', symlink: secret },
      { path: 'deep', symlink: '/var/lib' },
    ]),
    scratch: makeImage({
      layers: [[{ path: 'ldconfig', content: staticProgram(), mode: 0o755 }]],
      config: { Entrypoint: ['/ldconfig'], Cmd: ['--version'] },
    }),
    nothing: makeImage({ layers: [], config: { Cmd: ['/x'] } }),
    shipped: debianImage({}, [
      { path: 'run/shipped', content: 'in run' },
      { path: 'tmp', directory: true, mode: 0o1777 },
      { path: 'tmp/shipped', content: 'in tmp' },
      { path: 'dev/shipped', content: 'in dev' },
    ]),
    logs: debianImage({ User: '4711' }, [
      { path: 'var/log/access.log', symlink: '/dev/stdout' },
      { path: 'var/log/error.log', symlink: '/dev/stderr' },
    ]),
    high: debianImage({ User: '4294967296' }),
    negative: debianImage({ User: '2147483648:0' }),
    ghost: debianImage({ User: 'ghost' }),
    signal: debianImage({ StopSignal: 'SIGFOO' }),
    leak: debianImage({ WorkingDir: '/proc/self/fd/8' }),
    none: debianImage({ Cmd: [] }),
  });
});

after(() => images[Symbol.asyncDispose]());

const run = (...argv: readonly string[]) => {
  const at = argv.findIndex(word => !word.startsWith('-'));
  return spawnlet(['run', '--rm', ...argv.slice(0, at), images.ref(argv[at] ?? ''), ...argv.slice(at + 1)]);
};
const out = async (...argv: readonly string[]) => {
  const { code, out: text, err } = await run(...argv);
  assert.equal(code, 0, err);
  assert.equal(err, '');
  return text;
};

describe('the config', { concurrency: 3 }, () => {
  test('entrypoint and command come word by word', async () => {
    assert.equal(await out('words'), 'a b|$HOME|%n||"|');
    assert.equal(await out('words', 'x', '--rm', ''), 'x|--rm||');
    assert.equal(await out('--entrypoint=echo', 'words'), '\n');
    assert.equal(await out('--entrypoint=["echo","-n"]', 'words', 'y'), 'y');
    assert.equal(await out('--entrypoint=', 'words', 'echo', 'z'), 'z\n');
  });

  test('an image without a command needs one', async () => {
    const { code, err } = await run('none');
    assert.equal(code, 125);
    assert.match(err, /ERR_NO_COMMAND/);
  });

  test('the environment is the image’s, byte for byte, with PATH and HOME', async () => {
    assert.deepEqual((await out('env')).split('\n').sort(), [
      '',
      'A=2',
      'B=two words',
      'C=a',
      'D=$x %h "q" \\',
      'E=',
      'F=a=b',
      'HOME=/root',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'b',
    ]);
  });

  test('flags replace variables', async () => {
    const file = join(images.directory, 'env');
    await writeFile(file, '# no\n\nA=file\nFROM=file\nHOME=/elsewhere\n');
    const text = await out(`--env-file=${file}`, '-eA=flag', '-eE=', '-eHOME', 'env');
    const lines = text.split('\n');
    assert.ok(lines.includes('A=flag') && lines.includes('FROM=file') && lines.includes('E='), text);
    assert.ok(lines.includes(`HOME=${process.env['HOME']}`), text);
  });

  test('a user is looked up in the image', async () => {
    assert.equal(await out('user'), 'uid=1000(app) gid=1001(app) groups=1001(app),2000(extra),2001(more)\n');
    assert.equal(await out('number'), 'uid=4711 gid=0(root) groups=0(root)\n');
    assert.equal(await out('pair'), 'uid=4711 gid=4712 groups=4712\n');
    assert.equal(await out('named'), 'uid=1000(app) gid=2000(extra) groups=2000(extra)\n');
    assert.equal(await out('-uapp', 'deb', 'sh', '-c', 'echo $HOME'), '/home\n');
  });

  test('a user that is none, or beyond 31 bits (CVE-2024-40635, CVE-2026-46680), is refused', async () => {
    for (const name of ['high', 'negative', 'ghost']) {
      const { code, err } = await run(name, 'id');
      assert.equal(code, 126, name);
      assert.match(err, /ERR_USER/);
    }
  });

  test('a working directory that is missing is made', async () => {
    assert.equal(await out('workdir'), '/srv/made/for/it root:root 755\n. root:root 755\n');
    assert.equal(await out('linked'), '/var/below\n');
    assert.equal(await out('-w/opt/x', 'deb', 'pwd'), '/opt/x\n');
  });

  test('a working directory in /proc/self/fd leads nowhere (CVE-2024-21626)', async () => {
    for (const name of ['leak']) {
      const { code, out: text } = await run(name, 'cat', '../../../../etc/machine-id');
      assert.notEqual(code, 0);
      assert.equal(text, '');
    }
    for (let fd = 3; fd < 12; fd++) {
      const { out: text } = await run(`-w/proc/self/fd/${fd}`, 'deb', 'cat', '../../../../etc/machine-id');
      assert.equal(text, '', `descriptor ${fd}`);
    }
  });

  test('a stop signal is a signal, not a line of a unit', async () => {
    const { code, err } = await run('signal', 'true');
    assert.equal(code, 125);
    assert.match(err, /ERR_SIGNAL/);
  });
});

describe('what is in the image', { concurrency: 3 }, () => {
  test('volumes have the image’s content, with owner and mode, and are writable', async () => {
    const script =
      'stat -c "%n %u:%g %a" /data /data/file /empty; cat /data/file; echo new >/data/new && echo; cat /data/new';
    assert.equal(
      await out('volume', 'sh', '-c', script),
      '/data 1000:1001 750\n/data/file 1000:1001 640\n/empty 0:0 755\nshipped\nnew\n',
    );
  });

  test('volumes stay from run to run, and go with their container', async () => {
    await done([
      'run',
      '-d',
      '--name=keeps',
      images.ref('volume'),
      'sh',
      '-c',
      'echo x >> /data/file; cat /data/file',
    ]);
    await done(['wait', 'keeps']);
    await done(['start', 'keeps']);
    await done(['wait', 'keeps']);
    assert.equal(await done(['logs', 'keeps']), 'shippedx\nshippedx\nx\n');
    await done(['rm', 'keeps']);
  });

  test('a volume that is a link in the image copies nothing of the host (CVE-2022-23648)', async () => {
    const {
      code,
      out: text,
      err,
    } = await run('hostile', 'sh', '-c', 'ls -R /steal/ /deep/steal/ /var/lib 2>&1; cat /steal/key');
    assert.doesNotMatch(text, /of the host|^key$/m, err);
    assert.notEqual(code, 0);
  });

  test('an image of one static program runs', async () => {
    assert.match(await out('scratch'), /^ldconfig \(/);
    const { code, err } = await run('--read-only', 'scratch');
    assert.equal(code, 0, err);
  });

  test('an image without a layer says that its program is not there', async () => {
    const { code, err } = await run('nothing');
    assert.equal(code, 127, err);
    assert.match(err, /ERR_START/);
  });

  test('what it ships in /run and /tmp is there', async () => {
    assert.equal(await out('shipped', 'cat', '/run/shipped', '/tmp/shipped'), 'in runin tmp');
    assert.equal(await out('shipped', 'stat', '-c', '%a', '/tmp'), '1777\n');
  });

  test('any user can open /dev/stdout and /dev/stderr, also through links and after a change of user', async () => {
    const script =
      'echo one >/var/log/access.log; echo two >/dev/stderr; echo three >>/dev/stdout; echo four >>/var/log/error.log';
    const foreground = await run('logs', 'sh', '-c', script);
    assert.deepEqual([foreground.out, foreground.err], ['one\nthree\n', 'two\nfour\n']);
    const changed = await run(
      '-u0',
      'logs',
      'setpriv',
      '--reuid=33',
      '--regid=33',
      '--clear-groups',
      'sh',
      '-c',
      script,
    );
    assert.deepEqual([changed.out, changed.err], ['one\nthree\n', 'two\nfour\n']);
    await done(['run', '-d', '--name=writes', images.ref('logs'), 'sh', '-c', script]);
    await done(['wait', 'writes']);
    assert.equal(await done(['logs', '--stream=stdout', 'writes']), 'one\nthree\n');
    const { err } = await spawnlet(['logs', '--stream=stderr', 'writes']);
    assert.equal(err, 'two\nfour\n');
    await done(['rm', 'writes']);
  });
});

test('no run leaves a mount on the host, or a container', async () => {
  assert.equal(await readFile(join(secret, 'key'), 'utf8'), 'of the host');
  const overlays = await system('findmnt', '--noheadings', '--list', '--output=TARGET', '--types=overlay');
  assert.doesNotMatch(overlays, /spawnlet/);
  assert.equal(await done(['ps', '-aq']), '');
});

test('its HEALTHCHECK is asked, unless it is left out', async () => {
  await done(['run', '-d', '--name=asked', images.ref('asked')]);
  await done(['run', '-d', '--name=left', '--no-healthcheck', images.ref('asked')]);
  await done(['healthcheck', 'run', 'asked']);
  const [{ health }] = JSON.parse(await done(['inspect', 'asked'])) as [
    { health: { status: string; log: readonly { output: string }[] } },
  ];
  assert.deepEqual([health.status, health.log.at(-1)?.output], ['healthy', 'of the image\n']);
  assert.match((await spawnlet(['healthcheck', 'run', 'left'])).err, /ERR_NO_HEALTHCHECK/);
  const other = await spawnlet(['run', '--rm', '--engine=nspawn', images.ref('asked')]);
  assert.match(other.err, /the engine nspawn has no health checks .*\n.*--no-healthcheck/);
});

test('a pull shows a bar for each layer on a terminal, and plain lines elsewhere', async () => {
  const image = makeImage({ layers: [[{ path: 'own', content: 'of this test' }]] });
  await writeLayout(join(images.directory, 'own'), { latest: image });
  const reference = `oci:${join(images.directory, 'own')}`;
  const plain = await spawnlet(['image', 'pull', reference]);
  assert.match(plain.err, /^[0-9a-f]{12} {2}\d[\d.]* [kM]?B$/m);
  assert.doesNotMatch(plain.err, /\u001b/);
  await done(['image', 'rm', 'localhost/own:latest']);
  const command = words('image', 'pull', reference).join(' ');
  const drawn = await system('script', '--quiet', '--return', '--command', command, '/dev/null');
  assert.match(drawn, /\u001b\[2K[0-9a-f]{12} {2}(?:\[=|waiting)/);
  assert.match(drawn, /\u001b\[2K[0-9a-f]{12} {2}done/);
});

/** An image of an index that has no other. */
async function foreignImage(): Promise<string> {
  const image = makeImage({ layers: [[]], platform: { os: 'linux', architecture: 's390x' } });
  await writeLayout(join(images.directory, 'foreign'), { latest: makeIndex([image]) });
  return `oci:${join(images.directory, 'foreign')}`;
}

test('an image for another machine is told with what it is made for', async () => {
  const { code, err } = await spawnlet(['run', '--rm', await foreignImage(), 'true']);
  assert.equal(code, 125);
  assert.match(err, /ERR_PLATFORM\]\n {2}it is made for linux\/s390x/);
});

test('where an error comes from is shown with --debug alone', async () => {
  const argv = ['run', '--rm', await foreignImage(), 'true'];
  assert.doesNotMatch((await spawnlet(argv)).err, /^ +at /m);
  assert.match((await spawnlet(['--debug', ...argv])).err, /^ +at /m);
});
