// Bases, made in a lab by the real programs: of archives of packages that the test makes, of root file systems, of images.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { aptArchive } from '../harness/apt-archive.ts';
import { archive, directory, file, hardlink, raw, symlink } from '../harness/hostile-tar.ts';
import { makeImage, writeLayout } from '../harness/images.ts';
import { checkout, type TestLab, useLab } from '../harness/lab.ts';

let lab: TestLab;
let shared: string;
let mirror: string;
let keyring: string;

const command = join(checkout, 'bin/spawnlet');
const bases = '/var/lib/spawnlet/base';
const port = 8000;

/** Serves the directories below / to the lab itself, and leads elsewhere from /away and /here. */
const server = `const { createServer } = require('node:http');
const { createReadStream, statSync } = require('node:fs');
createServer((request, response) => {
  if (request.url === '/away') return response.writeHead(302, { location: 'http://10.77.0.1/x' }).end();
  if (request.url === '/here') return response.writeHead(302, { location: '/srv/gz' }).end();
  const path = decodeURIComponent(request.url);
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found?.isFile()) return response.writeHead(404).end();
  response.writeHead(200, { 'content-length': found.size });
  createReadStream(path).pipe(response);
}).listen(${port}, '127.0.0.1', () => process.stdout.write('listening'));
`;

const shell = (script: string, ...words: string[]) => lab.read(['bash', '-ec', script, 'bash', ...words]);
const put = (path: string, content: string | Buffer) =>
  lab.read(['sh', '-c', 'mkdir -p "$(dirname "$1")" && cat > "$1"', 'sh', path], { input: content });

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function spawnlet(...argv: string[]): Promise<Ran> {
  const { code, stdout, stderr } = await lab.exec([command, ...argv]);
  return { code, out: stdout.toString(), err: stderr };
}

async function done(...argv: string[]): Promise<string> {
  const { code, out, err } = await spawnlet(...argv);
  assert.equal(code, 0, `spawnlet ${argv.join(' ')}: ${err}`);
  return out;
}

async function refused(code: string, ...argv: string[]): Promise<string> {
  const ran = await spawnlet(...argv);
  assert.equal(ran.code, 125, ran.out + ran.err);
  assert.match(ran.err, new RegExp(`\\[${code}\\]`));
  return ran.err;
}

/** All that there is of bases: directories, units, and what is mounted. */
const left = () =>
  shell(
    `ls -A ${bases} 2>/dev/null; systemctl list-units --all --plain --no-legend 'spawnlet-base-*'; findmnt -rno TARGET | grep ${bases} || true`,
  );

const inTree = (name: string, path: string) => shell('cat "$1"', `${bases}/${name}/tree${path}`);
const sumOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

const rootfs = archive(
  directory('.'),
  directory('usr'),
  directory('usr/bin'),
  directory('etc'),
  file('etc/os-release', 'ID=test\n'),
  file('usr/bin/tool', 'x', { mode: 0o4755, uid: 7, gid: 8 }),
);

before(async () => {
  const packages = [
    'dbus',
    'hello',
    'iproute2',
    'libpam-systemd',
    'login',
    'passwd',
    'systemd',
    'systemd-sysv',
  ];
  const made = await aptArchive({ suite: 'bookworm', alias: ['jammy'], packages });
  mirror = `http://127.0.0.1:${port}${made.directory}`;
  keyring = made.keyring;
  shared = await mkdtemp(join(tmpdir(), 'trees-'));
  const layers = [
    [
      { path: 'usr', directory: true as const },
      { path: 'usr/gone', content: 'x' },
      { path: 'usr/kept', content: 'below' },
    ],
    [
      { path: 'usr/.wh.gone', content: '' },
      { path: 'usr/own', content: 'above' },
    ],
  ];
  await writeLayout(shared, { os: makeImage({ layers }), one: makeImage({ layers: layers.slice(0, 1) }) });
  lab = await useLab({
    binds: [`${made.directory}:${made.directory}:ro`, `${shared}:${shared}:ro`],
    packages:
      'arch-install-scripts bzip2 createrepo-c debootstrap dnf e2fsprogs gpg gpg-agent gpgv libarchive-tools makepkg mmdebstrap pacman-package-manager rpm xz-utils zstd'.split(
        ' ',
      ),
  });
  await put('/root/www.cjs', server);
  await shell(
    `systemd-run --quiet --unit=www --property=StandardOutput=file:/root/www.out "$1" /root/www.cjs
     tail -n +1 -F /root/www.out 2>/dev/null | head -c 9 >/dev/null`,
    process.execPath,
  );
  await put('/srv/plain', rootfs);
  await shell('cd /srv; gzip -k <plain >gz; xz <plain >xz; zstd -q <plain >zst; bzip2 <plain >bz2');
});

after(async () => {
  await lab[Symbol.asyncDispose]();
  await rm(shared, { recursive: true });
});

afterEach(context => lab.explain(context));

/** A release of Fedora as rpmbuild and createrepo_c make one, signed, and an update of one package. Gives its key. */
async function fedoraMirror(): Promise<string> {
  await shell(`mkdir -p /root/rpm; cd /root/rpm
    export GNUPGHOME=/root/rpm/gnupg; mkdir -m 700 gnupg
    gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-gen-key 'Fedora of tests' rsa2048 sign never
    arch=$(uname -m) mirror=/srv/fedora
    make_package() {
      printf '%s\\n' "Name: $1" "Version: $2" 'Release: 1' 'Summary: Of tests' 'License: none' 'BuildArch: noarch' \
        %description Nothing. %install 'mkdir -p %{buildroot}/usr/share/%{name} %{buildroot}/usr/bin' \
        'echo %{name} %{version} >%{buildroot}/usr/share/%{name}/text' 'touch %{buildroot}/usr/bin/%{name}' \
        %files '/usr/share/%{name}' '/usr/bin/%{name}' '%post -p <lua>' \
        'local proc, null = io.open("/proc/self/status"), io.open("/dev/null", "w")' \
        'local said = io.open("/usr/share/%{name}/said", "w")' \
        'said:write(proc and "proc " or "", null and "null\\n" or "")' >"$1.spec"
      rpmbuild -bb --quiet --define "_rpmdir $3" "$1.spec"
    }
    release=$mirror/releases/42/Everything/$arch/os updates=$mirror/updates/42/Everything/$arch
    for name in dnf fedora-release hello iproute passwd systemd systemd-networkd util-linux; do
      make_package $name 1 $release
    done
    make_package hello 2 $updates
    rpm --define '_gpg_name Fedora of tests' --define '__gpg /usr/bin/gpg' --addsign $release/*/*.rpm $updates/*/*.rpm
    for directory in $release $updates; do createrepo_c --quiet $directory; done
    gpg --export --armor >$mirror/key`);
  return '/srv/fedora/key';
}

describe('a base of a distribution', () => {
  test('is made by mmdebstrap of what the archive’s key has signed', async () => {
    const argv = ['base', 'prepare', 'ub', '--from', 'ubuntu:jammy', '--mirror', mirror];
    assert.match(await refused('ERR_TREE_BUILD', ...argv), /NO_PUBKEY/);
    assert.equal(await left(), '');
    argv.push('--keyring', keyring);
    assert.match(
      await done(...argv, '--dry-run'),
      /mmdebstrap .*--keyring=.* --include=\S*,systemd,\S* jammy/,
    );
    const { err } = await spawnlet(...argv);
    assert.equal(
      err,
      'Building base ub from ubuntu:jammy\nInstalling ubuntu:jammy by mmdebstrap\n',
      'what it does is told meanwhile',
    );
    assert.equal(await left(), 'ub\n');
    await shell(`cd ${bases}/ub/tree && test -x lib/systemd/systemd && test ! -e etc/hostname`);
    await done('base', 'rm', 'ub');
    assert.equal(await left(), '');
  });

  test('is made by debootstrap where mmdebstrap is not there, once', async () => {
    const from = ['--from', 'debian:bookworm', '--mirror', mirror, '--keyring', keyring];
    const argv = ['base', 'prepare', 'deb', ...from, '--packages', 'hello'];
    await shell('mv /usr/bin/mmdebstrap /usr/bin/mmdebstrap.away');
    try {
      assert.match(await done(...argv), /^deb: \d+ MB\n$/);
    } finally {
      await shell('mv /usr/bin/mmdebstrap.away /usr/bin/mmdebstrap');
    }
    assert.match(await inTree('deb', '/etc/os-release'), /bookworm/);
    await shell(`cd ${bases}/deb/tree && test -x usr/bin/hello && test -x lib/systemd/systemd`);
    const before = await shell(`stat -c %Y.%i ${bases}/deb/tree`);
    assert.equal(await done(...argv), 'deb: there already, of this recipe\n');
    assert.equal(await shell(`stat -c %Y.%i ${bases}/deb/tree`), before);
    const said = await refused('ERR_BASE_CHANGED', 'base', 'prepare', 'deb', ...from);
    assert.match(said, /another recipe \(packages\)[^]*--rebuild/);
  });

  test('is made by pacstrap of a repository that repo-add made', async () => {
    await shell(`mkdir -p /srv/arch/core/os/x86_64 /root/pkg/usr/lib /root/pkg/etc/pacman.d; cd /root/pkg
      echo ID=arch >usr/lib/os-release
      printf '%s\\n' 'pkgname = base' 'pkgver = 1-1' 'builddate = 1' 'size = 1' 'arch = any' >.PKGINFO
      tar -czf /srv/arch/core/os/x86_64/base-1-1-any.pkg.tar.gz .PKGINFO usr etc
      cd /srv/arch/core/os/x86_64; repo-add core.db.tar.gz base-1-1-any.pkg.tar.gz`);
    const argv = ['base', 'prepare', 'arch1', '--from', 'arch', '--components', 'core'];
    argv.push('--mirror', `http://127.0.0.1:${port}/srv/arch`);
    await refused('ERR_TREE_BUILD', ...argv);
    await done(...argv, '--insecure');
    assert.match(await inTree('arch1', '/usr/lib/os-release'), /^ID=arch$/m);
    assert.match(await inTree('arch1', '/etc/pacman.d/mirrorlist'), /^Server = .*\$repo/m);
    await shell(`test ! -e ${bases}/arch1/tree/var/cache/pacman/pkg`);
    await done('base', 'rm', 'arch1');
  });

  test('is made by dnf of what the repository’s key has signed, updates included', async () => {
    const key = await fedoraMirror();
    const argv = ['base', 'prepare', 'fed', '--from', 'fedora:42', '--packages', 'hello'];
    argv.push('--mirror', `http://127.0.0.1:${port}/srv/fedora`);
    assert.match(await refused('ERR_TREE_UNVERIFIED', ...argv), /--keyring/);
    assert.match(await refused('ERR_TREE_BUILD', ...argv, '--keyring', keyring), /GPG/);
    assert.doesNotMatch(await left(), /fed/);
    await done(...argv, '--keyring', key);
    assert.equal(await inTree('fed', '/usr/share/hello/text'), 'hello 2\n');
    assert.equal(await inTree('fed', '/usr/share/hello/said'), 'proc null\n', 'what its script found');
    // The database is where Fedora's own rpm looks, and nothing of the build stays.
    assert.equal(
      await shell(
        `cd ${bases}/fed/tree; find . -type f -not -path './usr/share/*' -not -path './usr/bin/*' -printf '%h\\n' | sort -u`,
      ),
      './usr/lib/sysimage/rpm\n./var/lib/dnf\n',
    );
    await done('base', 'rm', 'fed');
    await done(...argv, '--insecure');
    await done('base', 'rm', 'fed');
  });

  test('names the package of a program that is missing', async () => {
    await shell('mv /usr/bin/dnf /usr/bin/dnf.away');
    try {
      assert.match(
        await refused('ERR_PROGRAM_MISSING', 'base', 'prepare', 'f', '--from', 'fedora:42'),
        /apt-get install dnf/,
      );
    } finally {
      await shell('mv /usr/bin/dnf.away /usr/bin/dnf');
    }
  });
});

describe('a base of an archive', () => {
  test('is the same however it is compressed', async () => {
    for (const name of ['plain', 'gz', 'xz', 'zst', 'bz2']) {
      await done('base', 'prepare', name, '--from', `tar:/srv/${name}`);
      const stat = await shell(`stat -c '%a %u %g' ${bases}/${name}/tree/usr/bin/tool`);
      assert.equal(stat, '4755 7 8\n', name);
      await done('base', 'rm', name);
    }
  });

  test('of a URL is what its checksum says, or nothing', async () => {
    const url = `http://127.0.0.1:${port}/srv/xz`;
    await refused('ERR_TREE_UNVERIFIED', 'base', 'prepare', 'net', '--from', `tar:${url}`);
    await refused(
      'ERR_TREE_CHECKSUM',
      'base',
      'prepare',
      'net',
      '--from',
      `tar:${url}`,
      '--sha256',
      'ab'.repeat(32),
    );
    assert.doesNotMatch(await left(), /net/);
    const sum = (await shell('sha256sum /srv/xz')).slice(0, 64);
    await done('base', 'prepare', 'net', '--from', `tar:${url}#sha256=${sum}`);
    assert.equal(await inTree('net', '/etc/os-release'), 'ID=test\n');
    await done('base', 'rm', 'net');
  });

  test('of a URL is taken on the word of a signature, if it is good', async () => {
    // Signed, and no archive: what is refused behind the signature has passed it.
    const argv = [
      'base',
      'prepare',
      'net',
      '--keyring',
      keyring,
      '--signature',
      `${mirror}/dists/jammy/Release.gpg`,
    ];
    await refused('ERR_LAYER_TRUNCATED', ...argv, '--from', `tar:${mirror}/dists/jammy/Release`);
    const said = await refused('ERR_TREE_CHECKSUM', ...argv, '--from', `tar:http://127.0.0.1:${port}/srv/xz`);
    assert.match(said, /no good signature/);
    assert.doesNotMatch(await left(), /net/);
  });

  test('follows redirections, but to no place that is not taken', async () => {
    const at = (path: string) => ['--insecure', '--from', `tar:http://127.0.0.1:${port}${path}`];
    await done('base', 'prepare', 'net', ...at('/here'));
    await done('base', 'rm', 'net');
    assert.match(
      await refused('ERR_TREE_SOURCE', 'base', 'prepare', 'net', ...at('/away')),
      /http:\/\/ is not taken/,
    );
    assert.match(await refused('ERR_TREE_FETCH', 'base', 'prepare', 'net', ...at('/nowhere')), /404/);
    await refused(
      'ERR_TREE_SOURCE',
      'base',
      'prepare',
      'net',
      '--insecure',
      '--from',
      'tar:http://10.77.0.1/x',
    );
    assert.doesNotMatch(await left(), /net/);
  });

  test('that is hostile writes nothing outside of the tree, and its devices are left out', async () => {
    await shell('mkdir -p /srv/victim');
    const evil: Readonly<Record<string, Buffer>> = {
      ERR_LAYER_PATH: archive(directory('usr'), file('../../../../srv/victim/x', 'out')),
      ERR_LAYER_WHITEOUT: archive(directory('usr'), file('usr/.wh.x')),
      ERR_LAYER_LINK: archive(directory('usr'), hardlink('usr/x', 'srv/victim')),
      ERR_LAYER_HEADER: Buffer.alloc(2048, 'no archive'),
      ERR_TREE_EMPTY: archive(directory('etc'), symlink('usr', '/usr')),
    };
    for (const [code, bytes] of Object.entries(evil)) {
      await put('/srv/evil.tar', bytes);
      await refused(code, 'base', 'prepare', 'evil', '--from', 'tar:/srv/evil.tar');
    }
    const links = archive(
      directory('usr'),
      symlink('usr/out', '/srv/victim'),
      file('usr/out/x', 'stays inside'),
      raw({ name: 'disk', type: '4', major: 8, minor: 0 }),
      hardlink('disk2', 'disk'),
      file('disk3', 'a file'),
    );
    await put('/srv/evil.tar', links);
    await done('base', 'prepare', 'evil', '--from', 'tar:/srv/evil.tar');
    assert.equal(
      await shell(`cd ${bases}/evil/tree; ls; cat srv/victim/x; ls /srv/victim`),
      'disk3\nsrv\nusr\nstays inside',
    );
    await done('base', 'rm', 'evil');
  });

  test('that is cut off or damaged is refused', async () => {
    for (const [name, cut] of [
      ['xz', 100],
      ['plain', 1000],
    ] as const) {
      await shell(`head -c ${cut} /srv/${name} >/srv/cut`);
      const { code, err } = await spawnlet('base', 'prepare', 'cut', '--from', 'tar:/srv/cut');
      assert.equal(code, 125);
      assert.match(err, /ERR_TREE_ARCHIVE|ERR_LAYER_TRUNCATED/);
    }
    assert.doesNotMatch(await left(), /cut/);
  });

  test('of LXD has its root file system in a directory', async () => {
    await put(
      '/srv/lxd.tar',
      archive(file('metadata.yaml'), directory('rootfs/usr'), file('rootfs/usr/x', 'y')),
    );
    await done('base', 'prepare', 'lxd', '--from', 'tar:/srv/lxd.tar');
    assert.equal(await inTree('lxd', '/usr/x'), 'y');
    await done('base', 'rm', 'lxd');
  });
});

describe('a base of an image', () => {
  test('has its layers merged', async () => {
    await done('base', 'prepare', 'os', '--from', `oci:oci:${shared}:os`);
    assert.equal(await shell(`cd ${bases}/os/tree/usr && ls && cat kept own`), 'kept\nown\nbelowabove');
    await done('base', 'prepare', 'one', '--from', `oci:oci:${shared}:one`);
    assert.equal(await inTree('one', '/usr/gone'), 'x');
    assert.equal(await left(), 'deb\none\nos\n');
    await done('base', 'rm', 'os', 'one');
  });
});

describe('what goes into a base', () => {
  test('scripts run in it, without network unless that is asked for', async () => {
    await put('/srv/setup.sh', 'hello >/etc/said\nls /sys/class/net >/etc/links\n');
    const argv = ['base', 'prepare', 'with', '--from', 'base:deb', '--run', '/srv/setup.sh'];
    const { out, err } = await spawnlet(...argv);
    const steps = ['Building base with from base:deb', 'Copying base deb', 'Running /srv/setup.sh'];
    assert.deepEqual([/^with: \d+ MB\n$/.test(out), err], [true, `${steps.join('\n')}\n`]);
    assert.equal(await inTree('with', '/etc/said'), 'Hello, world!\n');
    assert.equal(await inTree('with', '/etc/links'), 'lo\n');
    const quiet = await spawnlet(...argv, '--rebuild', '--quiet');
    assert.deepEqual([quiet.out, quiet.err], ['with\n', '']);
    await put('/srv/setup.sh', '#!/bin/bash\necho "out of $0" >&2; exit 7\n');
    await refused('ERR_BASE_CHANGED', ...argv);
    assert.match(await refused('ERR_TREE_BUILD', ...argv, '--rebuild'), /ended with 7[^]*out of/);
    assert.equal(await inTree('with', '/etc/said'), 'Hello, world!\n', 'the old one is kept');
    await done('base', 'rm', 'with');
  });

  test('files are copied to where the tree’s own links lead', async () => {
    await shell(
      'mkdir -p /srv/victim /srv/site/a; rm -f /srv/victim/*; echo new >/srv/site/a/b; chmod 640 /srv/site/a/b',
    );
    const links = archive(
      directory('usr'),
      directory('srv/victim'),
      symlink('www', '/srv/victim'),
      symlink('usr/f', '/srv/victim/f'),
    );
    await put('/srv/links.tar', links);
    const argv = ['base', 'prepare', 'copied', '--from', 'tar:/srv/links.tar'];
    await done(...argv, '--copy', '/srv/site:/www/site', '--copy', '/srv/site/a/b:/usr/f');
    assert.equal(
      await shell(
        `cd ${bases}/copied/tree; cat srv/victim/site/a/b usr/f; stat -c '%a %u' usr/f; ls /srv/victim`,
      ),
      'new\nnew\n640 0\n',
    );
    await refused('ERR_BASE_CHANGED', ...argv, '--copy', '/srv/site:/www/site');
    await done('base', 'rm', 'copied');
    await refused('ERR_TREE_PATH', ...argv, '--copy', '/srv/site:/usr/f/x');
    assert.doesNotMatch(await left(), /copied/);
  });
});

describe('bases', () => {
  const unit = '/etc/systemd/system/var-lib-machines-web\\x2d1.mount';

  test('are listed with their clones, and not removed from under them', async () => {
    await done('base', 'prepare', 'used', '--from', 'tar:/srv/plain');
    await done('base', 'prepare', 'idle', '--from', 'tar:/srv/gz');
    await put(unit, `[Mount]\nWhat=overlay\nOptions=lowerdir=${bases}/used/tree,upperdir=/u,workdir=/w\n`);
    const rows = JSON.parse(await done('base', 'ls', '-o', 'json')) as {
      name: string;
      clones: string[];
      size: number;
    }[];
    assert.deepEqual(
      rows.map(({ name, clones }) => [name, clones]),
      [
        ['deb', []],
        ['idle', []],
        ['used', ['web-1']],
      ],
    );
    assert.ok(rows.every(({ size }) => size > 0));
    assert.match(await done('base', 'ls'), /^used +tar:\/srv\/plain +\S+ \S+ +.* ago +web-1$/m);
    assert.match(await refused('ERR_BASE_IN_USE', 'base', 'rm', 'used'), /web-1/);
    await refused('ERR_BASE_IN_USE', 'base', 'prepare', 'used', '--from', 'tar:/srv/plain', '--rebuild');
    assert.match(
      await done('base', 'prune', '--dry-run'),
      /remove base deb\nremove base idle|remove base idle/,
    );
    await done('base', 'rm', 'idle');
    await shell('rm "$1"', unit);
    await done('base', 'rm', 'used');
    await refused('ERR_BASE_NOT_FOUND', 'base', 'rm', 'used');
  });

  test('a full disk leaves nothing, and says so', async () => {
    await shell(
      `mkdir /var/lib/spawnlet/hidden; mv ${bases}/* /var/lib/spawnlet/hidden; mount -t tmpfs -o size=4m,mode=700 tmpfs ${bases}`,
    );
    try {
      const large = archive(directory('usr'), file('usr/large', Buffer.alloc(8 << 20)));
      await put('/srv/large.tar', large);
      assert.match(
        await refused('ERR_STORE_FULL', 'base', 'prepare', 'large', '--from', 'tar:/srv/large.tar'),
        /nothing of it was kept[^]*base prune/,
      );
      await refused(
        'ERR_STORE_FULL',
        'base',
        'prepare',
        'large',
        '--from',
        `tar:http://127.0.0.1:${port}/srv/large.tar`,
        '--sha256',
        sumOf(large),
      );
      assert.equal(await shell(`ls -A ${bases}`), '');
    } finally {
      await shell(`umount ${bases}; mv /var/lib/spawnlet/hidden/* ${bases}; rmdir /var/lib/spawnlet/hidden`);
    }
  });

  test('two commands that make one base at once make it once', async () => {
    const argv = ['base', 'prepare', 'twice', '--from', 'tar:/srv/plain'];
    await Promise.all([done(...argv), done(...argv)]);
    assert.match(await left(), /^twice$/m);
    await done('base', 'rm', 'twice');
  });
});

describe('a killed command', () => {
  const walker = join(checkout, 'test/host/killed-at.ts');
  const env = { SPAWNLET_MAIN: join(checkout, 'src/main.ts') };
  const killedAt = async (border: number, ...argv: string[]) =>
    (await lab.exec([process.execPath, walker, 'steps', String(border), ...argv], { env })).code === 137;

  test('is undone or finished by the next, wherever it was killed', async () => {
    const prepare = ['base', 'prepare', 'killed', '--from', 'tar:/srv/plain'];
    let kills = 0;
    while (await killedAt(kills + 1, ...prepare)) {
      kills++;
      await done('base', 'prune', '--dry-run');
      const now = await left();
      assert.match(now, /^deb\n(killed\n)?$/, `border ${kills}`);
      if (now.includes('killed')) await done('base', 'rm', 'killed');
    }
    assert.ok(kills >= 3, `${kills} kills`);
    let removals = 0;
    while (await killedAt(removals + 1, 'base', 'rm', 'killed')) {
      removals++;
      await done('base', 'prune', '--dry-run');
      // Before the first step nothing has begun, so nothing is to be finished.
      assert.equal(await left(), removals === 1 ? 'deb\nkilled\n' : 'deb\n', `border ${removals} of rm`);
      await done(...prepare);
    }
    assert.ok(removals >= 2, `${removals} kills of rm`);
    assert.equal(await left(), 'deb\n');
  });

  test('leaves a unit that builds, which the next one ends', async () => {
    await put('/srv/wait.sh', 'echo waits >/etc/waits\nexec sleep 1000\n');
    const argv = ['base', 'prepare', 'slow', '--from', 'base:deb', '--run', '/srv/wait.sh'];
    const script = 'echo $$ >/root/pid; exec "$@"';
    const child = await lab.spawn(['sh', '-c', script, 'sh', command, ...argv], { stdio: 'ignore' });
    await shell(`timeout 60 sh -c 'until test -e ${bases}/slow.building/tree/etc/waits; do sleep 0.1; done'`);
    const gone = once(child, 'exit');
    await shell('kill -KILL $(cat /root/pid)');
    await gone;
    assert.match(await left(), /spawnlet-base-slow\.service +loaded +active/);
    await done('base', 'prune', '--dry-run');
    assert.equal(await left(), 'deb\n');
  });

  test('whose build was killed too leaves nothing', async () => {
    const argv = ['base', 'prepare', 'slow', '--from', 'base:deb', '--run', '/srv/wait.sh'];
    const ran = spawnlet(...argv);
    await shell(`timeout 60 sh -c 'until test -e ${bases}/slow.building/tree/etc/waits; do sleep 0.1; done'`);
    await shell('systemctl kill --signal=KILL spawnlet-base-slow.service');
    assert.match((await ran).err, /cut off.*\[ERR_TREE_BUILD\]/s);
    assert.equal(await left(), 'deb\n');
  });
});
