// runs in a lab: bookworm trixie
// Every flag of run, seen from inside.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { debianImage, done, type Fixture, spawnlet, system, useImages } from './tools.ts';

let images: Fixture;
let image: string;

before(async () => {
  images = await useImages({ deb: debianImage({ Labels: { from: 'image' } }), spare: debianImage() });
  image = images.ref('deb');
});

after(() => images[Symbol.asyncDispose]());

/** Flags, then the script that shows their effect. */
const inside = async (...argv: readonly string[]) =>
  done(['run', '--rm', ...argv.slice(0, -1), image, 'sh', '-c', argv.at(-1) ?? '']);

const refused = async (flags: readonly string[], code: string) => {
  const { code: exit, err } = await spawnlet(['run', ...flags, image, 'true']);
  assert.equal(exit, 125, flags.join(' '));
  assert.ok(err.includes(code), `${flags.join(' ')}: ${err}`);
  assert.match(err, /\n {2}\S/, 'a hint');
};

describe('limits', { concurrency: 2 }, () => {
  test('of memory, CPU and processes are those of the unit', async () => {
    await done([
      'run',
      '-d',
      '--name=limited',
      '-m64m',
      '--cpus=0.5',
      '--pids-limit=20',
      image,
      'sleep',
      'infinity',
    ]);
    const text = await system(
      'systemctl',
      'show',
      '-p',
      'MemoryMax,MemorySwapMax,CPUQuotaPerSecUSec,TasksMax',
      'limited',
    );
    assert.deepEqual(text.trim().split('\n').sort(), [
      'CPUQuotaPerSecUSec=500ms',
      'MemoryMax=67108864',
      'MemorySwapMax=67108864',
      // conmon is one of them.
      'TasksMax=21',
    ]);
  });

  test('act', async () => {
    const { out, err } = await spawnlet([
      'run',
      '--rm',
      '--pids-limit=12',
      image,
      'sh',
      '-c',
      'for n in $(seq 30); do sleep 5 & done; echo all; kill %1',
    ]);
    assert.doesNotMatch(out, /all/);
    assert.match(err, /fork/);
    assert.equal(await inside('--pids-limit=4', 'echo begun'), 'begun\n', 'the least that is taken');
    // Half a second of work takes two and a half with a fifth of a CPU.
    const busy = `perl -e 'my $begin = time; 1 while (times)[0] + (times)[1] < 0.5; print time - $begin'`;
    const took = Number(await inside('--cpus=0.2', busy));
    assert.ok(took >= 1.5, `${took} s for half a second of CPU`);
  });
});

describe('files', { concurrency: 2 }, () => {
  test('--read-only leaves the root alone, --tmpfs and -v can be written', async () => {
    const script =
      'for d in /etc /tmp /scratch /data /ro; do touch $d/x 2>/dev/null && echo $d; done; stat -f -c %T /scratch; stat -c %a /scratch; stat -f -c %b:%S /scratch';
    await mkdir(join(images.directory, 'data'));
    const flags = [
      '--read-only',
      '--tmpfs=/scratch:size=1m,mode=700',
      `-v${images.directory}/data:/data`,
      `-v${images.directory}/data:/ro:ro`,
    ];
    assert.equal(await inside(...flags, script), '/scratch\n/data\ntmpfs\n700\n256:4096\n');
    assert.deepEqual(await readdir(join(images.directory, 'data')), ['x']);
  });

  test('-v takes files, names with odd characters, and a directory of the container’s own', async () => {
    const odd = join(images.directory, 'a b%n"$x');
    await writeFile(odd, 'odd');
    assert.equal(
      await inside(`-v${odd}:/etc/odd:ro`, '-v/own', 'cat /etc/odd; stat -c %F /own; touch /own/x'),
      'odddirectory\n',
    );
  });

  test('-v of what is not there is refused', async () => {
    await refused(['-v/no/such:/x'], 'ERR_');
  });
});

describe('identity', { concurrency: 3 }, () => {
  test('--hostname is the name inside, and resolves', async () => {
    const look =
      'uname -n; cat /etc/hostname; while read -r line; do case $line in *inside*) echo "$line";; esac; done < /etc/hosts';
    assert.equal(
      await inside('--network=host', '--hostname=inside.example', look),
      'inside.example\ninside.example\n127.0.0.1\tinside.example\n',
    );
    assert.match(
      await inside('--hostname=inside.example', look),
      /^inside\.example\ninside\.example\n10\.\d+\.\d+\.\d+\tinside\.example \S+\nfd\S+\tinside\.example \S+\n$/,
    );
    assert.equal(
      await inside('--network=none', '--hostname=alone', 'head -n1 /etc/hosts'),
      '127.0.0.1\tlocalhost alone\n',
    );
    assert.notEqual((await system('uname', '-n')).trim(), 'inside.example');
  });

  test('--network none has a loopback that is up, and nothing else', async () => {
    assert.equal(
      await inside(
        '--network=none',
        'ls /sys/class/net; cat /sys/class/net/lo/operstate; cat /proc/net/route | wc -l; perl -MSocket -e \'socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(8, INADDR_LOOPBACK)) and listen(S, 1); socket(C, PF_INET, SOCK_STREAM, 0); print connect(C, sockaddr_in(8, INADDR_LOOPBACK)) ? "up\n" : "$!\n"\'',
      ),
      'lo\nunknown\n1\nup\n',
    );
  });

  test('--label and the image’s name are in inspect', async () => {
    await done([
      'run',
      '-d',
      '--name=labelled',
      '--label=a=1',
      '-lb',
      '--label',
      'evil=x\nExecStartPost=/bin/false',
      image,
      'true',
    ]);
    const [found] = JSON.parse(await done(['inspect', 'labelled'])) as {
      labels: Record<string, string>;
      image: string;
    }[];
    assert.deepEqual(found?.labels, { a: '1', b: '', evil: 'x\nExecStartPost=/bin/false' });
    assert.doesNotMatch(await readFile('/etc/systemd/system/labelled.service', 'utf8'), /ExecStartPost|evil/);
  });

  test('-e passes a variable of the caller on', async () => {
    const { out } = await spawnlet(
      [
        'run',
        '--rm',
        '-eMINE',
        '-eABSENT',
        '-eTWO=a=b\nc',
        image,
        'sh',
        '-c',
        'echo "$MINE,$TWO,${ABSENT-none}"',
      ],
      { env: { ...process.env, MINE: 'from here' } },
    );
    assert.equal(out, 'from here,a=b\nc,none\n');
  });

  test('capabilities are added and dropped', async () => {
    const masks = async (...flags: string[]) =>
      (
        await inside(
          ...flags,
          'while read -r name value; do [ $name != CapBnd: ] || echo $value; done </proc/self/status',
        )
      ).trim();
    assert.equal(await masks('--cap-drop=ALL'), '0000000000000000');
    assert.equal(await masks('--cap-drop=all', '--cap-add=chown', '--cap-add=CAP_KILL'), '0000000000000021');
    assert.equal(await masks('--cap-add=NET_ADMIN'), '00000000a80435fb');
    await refused(['--cap-add=FLY'], 'ERR_CAPABILITY');
  });
});

test('values that make no sense are refused with what would', async () => {
  const wrong: [string, string][] = [
    ['--name=a/b', 'ERR_FLAG_VALUE'],
    ['--memory=lots', 'ERR_FLAG_VALUE'],
    ['--cpus=-1', 'ERR_FLAG_VALUE'],
    ['--pids-limit=0', 'ERR_FLAG_VALUE'],
    ['--pids-limit=3', 'no container starts with less than 4'],
    ['-vname:/x', 'ERR_FLAG_VALUE'],
    ['-v/a:relative', 'ERR_FLAG_VALUE'],
    ['--tmpfs=/x:fly', 'ERR_FLAG_VALUE'],
    ['--device=/etc/passwd', 'ERR_DEVICE'],
    ['--restart=sometimes', 'ERR_FLAG_VALUE'],
    ['--stop-signal=SIGFOO', 'ERR_SIGNAL'],
    ['--stop-timeout=x', 'ERR_FLAG_VALUE'],
    ['--hostname=a b', 'ERR_FLAG_VALUE'],
    ['--security-opt=apparmor=x', 'ERR_FLAG_VALUE'],
    ['--env-file=/no/such', 'ERR_FLAG_VALUE'],
    ['--network=mine', 'ERR_USAGE'],
    ['--pull=maybe', 'ERR_USAGE'],
    ['--rm --restart=always', 'ERR_FLAG_CONFLICT'],
    ['--rm --enable', 'ERR_FLAG_CONFLICT'],
    ['--register', 'ERR_FLAG_CONFLICT'],
    ['--workdir=relative', 'ERR_FLAG_VALUE'],
    ['--publish=99999:80', 'ERR_FLAG_VALUE'],
    ['-p80:80/sctp', 'ERR_FLAG_VALUE'],
    ['-p8000-8002:80-81', 'ERR_FLAG_VALUE'],
    ['-p[::1]:80:80', 'ERR_NETWORK'],
    ['--publish=8000-8001:80-81 --publish=8001:90', 'ERR_PORT_TAKEN'],
    ['--publish=80:80 --network=host', 'ERR_FLAG_CONFLICT'],
    ['--publish-all --network=none', 'ERR_FLAG_CONFLICT'],
    ['--dns=192.0.2.1 --network=host', 'ERR_FLAG_CONFLICT'],
    ['--add-host=a:192.0.2.1 --network=host', 'ERR_FLAG_CONFLICT'],
    ['--ip=192.0.2.1', 'ERR_NETWORK'],
    ['--ip=fd00::1', 'ERR_FLAG_VALUE'],
    ['--add-host=nothing', 'ERR_FLAG_VALUE'],
    ['--pod=x', 'ERR_FLAG_REFUSED'],
    ['--userns=keep-id', 'ERR_FLAG_REFUSED'],
    ['--ulimit=x', 'ERR_FLAG_REFUSED'],
  ];
  await Promise.all(
    [0, 1].map(async half => {
      for (const [flag, code] of wrong.filter((_each, index) => index % 2 === half))
        await refused(/^--\S+ --/.test(flag) ? flag.split(' ') : [flag], code);
    }),
  );
});

test('--pull never wants the image to be there', async () => {
  const { code, err } = await spawnlet(['run', '--rm', '--pull=never', 'localhost:9/no/such:1', 'true']);
  assert.equal(code, 125);
  assert.match(err, /ERR_IMAGE_NOT_FOUND/);
});

test('--dry-run shows every file without a secret, and changes nothing', async () => {
  const file = join(images.directory, 'secrets');
  await writeFile(file, 'FROM_FILE=hunter2\n');
  const everything = () =>
    system(
      'sh',
      '-c',
      'find /etc /run/systemd/system /run/spawnlet /var/lib/spawnlet -printf "%p %T@ %s\\n" | grep -v "/lock\\|compile-cache" | sort',
    );
  const before = await everything();
  const text = await done([
    'run',
    '--dry-run',
    '--name=dry',
    '--enable',
    '-ePASSWORD=swordfish "x"',
    `--env-file=${file}`,
    image,
    'true',
  ]);
  assert.equal(await everything(), before);
  assert.doesNotMatch(text, /swordfish|hunter2/);
  assert.match(text, /^write \/etc\/systemd\/system\/dry\.service /);
  assert.match(text, /"seccomp": "Docker's default, .*: \d+ rules, else SCMP_ACT_ERRNO"/);
  for (const part of [
    '/etc/systemd/system/dry.service',
    'ExecStart=',
    '/var/lib/spawnlet/app/dry/config.json',
    'PASSWORD=…',
    'FROM_FILE=…',
    'enable dry.service',
    'start dry.service',
  ])
    assert.ok(text.includes(part), part);
  const run = await done(['run', '-d', '--name=wet', '-ePASSWORD=swordfish', image, 'sleep', 'infinity']);
  assert.equal(run, 'wet\n');
  assert.doesNotMatch(await readFile('/etc/systemd/system/wet.service', 'utf8'), /swordfish/);
  assert.doesNotMatch(await system('systemctl', 'show', 'wet'), /swordfish/);
  assert.match(
    await system('stat', '-c', '%a', '/var/lib/spawnlet/app/wet/config.json', '/var/lib/spawnlet/app/wet'),
    /^600\n700$/m,
  );
});

test('a privileged container has the devices of the host, and can open them', async () => {
  await system('mknod', '/dev/own-null', 'c', '1', '3');
  try {
    assert.equal(
      await inside('--privileged', 'echo x > /dev/own-null && ls -d /dev/own-null'),
      '/dev/own-null\n',
    );
    assert.equal(
      await inside(
        '--privileged',
        '--device=/dev/own-null:/dev/other',
        'echo x > /dev/other; echo x > /dev/own-null; echo $?',
      ),
      '0\n',
    );
    assert.equal(await inside('[ -e /dev/own-null ] || echo none'), 'none\n');
  } finally {
    await system('rm', '/dev/own-null');
  }
});

test('a device whose path has what systemd reads as an escape can be opened', async () => {
  const path = '/dev/my\\x20null 100%h"';
  await system('mknod', path, 'c', '1', '3');
  try {
    const script = 'if echo x > /dev/there; then echo open; fi 2>&1';
    assert.equal(await inside(`--device=${path}:/dev/there`, script), 'open\n');
  } finally {
    await system('rm', path);
  }
});

test('volumes of which one has the name of the other and a ~ are two', async () => {
  assert.equal(await inside('-v/a~', '-v/a', 'touch /a~/one /a/two && ls /a~ /a'), '/a:\ntwo\n\n/a~:\none\n');
});

test('a program that is not installed is told with its package, and nothing is left', async () => {
  for (const [engine, path, owner] of [
    ['crun', '/usr/bin/crun', 'crun'],
    ['crun', '/usr/bin/conmon', 'conmon'],
    ['nspawn', '/usr/bin/systemd-nspawn', 'systemd-container'],
  ] as const) {
    await system('mv', path, `${path}.away`);
    try {
      const { code, err } = await spawnlet(['run', '--name=none', `--engine=${engine}`, image, 'true']);
      assert.equal(code, 125);
      assert.match(
        err,
        new RegExp(`is not installed \\[ERR_PROGRAM_MISSING\\]\n  apt-get install ${owner}\n`),
      );
    } finally {
      await system('mv', `${path}.away`, path);
    }
  }
  assert.equal((await spawnlet(['inspect', 'none'])).code, 125);
});

test('the settings of the containers’ journal are the administrator’s once they are there', async () => {
  const path = '/etc/systemd/journald@spawnlet.conf';
  const before = await readFile(path, 'utf8');
  try {
    await writeFile(path, '[Journal]\nSystemMaxUse=64M\n');
    await inside('true');
    assert.equal(await readFile(path, 'utf8'), '[Journal]\nSystemMaxUse=64M\n');
  } finally {
    await writeFile(path, before);
  }
});

test('a stop while a container is being made does not wait until it is', async () => {
  await done(['run', '-d', '--name=slow', '--stop-signal=HUP', '--stop-timeout=60', image, 'sleep', '1000']);
  await done(['stop', '-t', '1', 'slow']);
  const script = '/var/lib/spawnlet/app/slow/start';
  const text = await readFile(script, 'utf8');
  await writeFile(script, text.replace('#!/bin/bash\n', '#!/bin/bash\nsleep 50\n'));
  await system('systemctl', 'start', 'slow');
  const begin = performance.now();
  await system('systemctl', 'stop', 'slow');
  assert.ok(performance.now() - begin < 30_000);
  await done(['rm', '-f', 'slow']);
});

test('what cannot come to anything is refused before anything is written', async () => {
  await refused(['--name=never', '-v', '/nonexist:/data'], 'ERR_FLAG_VALUE');
  await refused(['--name=never', '-m', '1k'], 'ERR_FLAG_VALUE');
  assert.doesNotMatch(await done(['ps', '-a']), /never/);
});

test('a port on an address that the host does not have is published, and it is said', async () => {
  const { code, err } = await spawnlet(['run', '--rm', '-p', '192.0.2.7:8099:80', image, 'true']);
  assert.deepEqual([code, /does not have the address 192\.0\.2\.7/.test(err)], [0, true], err);
  const own = await spawnlet(['run', '--rm', '-p', '127.0.0.2:8099:80', image, 'true']);
  assert.doesNotMatch(own.err, /does not have/);
});

test('image prune --dry-run names what would go', async () => {
  await done(['image', 'pull', images.ref('spare')]);
  const text = await done(['image', 'prune', '-a', '--dry-run']);
  assert.match(text, /^remove image .*spare$/m);
  assert.equal(await done(['image', 'prune', '-a', '--dry-run']), text);
});
