// runs in a lab: bookworm trixie
// What a container may do, seen on its running processes and compared with what Docker allows.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { debianImage, done, type Fixture, running, spawnlet, system, useImages } from '../app/tools.ts';

let images: Fixture;
let image: string;

before(async () => {
  images = await useImages({ deb: debianImage() });
  image = images.ref('deb');
  await done(['run', '-d', '--name=plain', image, 'sleep', 'infinity']);
  await done([
    'run',
    '-d',
    '--name=user',
    '-uapp',
    '--security-opt=no-new-privileges',
    image,
    'sleep',
    'infinity',
  ]);
  await done(['run', '-d', '--name=might', '--privileged', image, 'sleep', 'infinity']);
});

after(() => images[Symbol.asyncDispose]());

/** PID of the container's first process as the host sees it. */
const pidOf = async (name: string) => (await readFile(`/run/spawnlet/app/${name}/pid`, 'utf8')).trim();

/** Fields of /proc/PID/status. */
function fields(text: string): Record<string, string> {
  return Object.fromEntries(
    text.split('\n').map(line => {
      const [name = '', value = ''] = line.split(/:\s*/, 2);
      return [name, value.trim()];
    }),
  );
}

const filters = async (path: string) => Number(fields(await readFile(path, 'utf8'))['Seccomp_filters']);
const statusOf = async (name: string) => fields(await readFile(`/proc/${await pidOf(name)}/status`, 'utf8'));

/** CAP_CHOWN … CAP_SETFCAP: what Docker gives, of capabilities(7) by number. */
const dockers = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31].reduce(
  (mask, bit) => mask | (1n << BigInt(bit)),
  0n,
);
const hex = (mask: bigint) => mask.toString(16).padStart(16, '0');
const none = hex(0n);

/**
 * Calls a system call by number with zeros or given arguments, and prints its name and what came of it. Numbers are
 * those of x86-64 and arm64, from Linux' tables.
 */
function probe(
  calls: Readonly<Record<string, readonly [x64: number, arm64: number, ...args: (number | string)[]]>>,
) {
  const at = process.arch === 'arm64' ? 1 : 0;
  const lines = Object.entries(calls).map(
    ([name, [x64, arm64, ...args]]) =>
      `$r = syscall(${[at ? arm64 : x64, ...args.map(arg => (typeof arg === 'string' ? `my $t = "${arg}"` : arg))].join(', ')}); print "${name} ", ($r == -1 ? $!{EPERM} ? 'EPERM' : $!{ENOSYS} ? 'ENOSYS' : 'other' : 'ok'), "\\n";`,
  );
  return ['perl', '-MErrno', '-e', lines.join('\n')];
}

const parse = (text: string) =>
  Object.fromEntries(
    text
      .trim()
      .split('\n')
      .map(line => line.split(' ')),
  );

describe('the first process', () => {
  test('has Docker’s capabilities and no more, none of them inheritable (CVE-2022-27649)', async () => {
    const status = await statusOf('plain');
    const sets = [status['CapInh'], status['CapPrm'], status['CapEff'], status['CapBnd'], status['CapAmb']];
    assert.deepEqual(sets, [none, hex(dockers), hex(dockers), hex(dockers), none]);
  });

  test('has them in its bounding set alone if it is no root', async () => {
    const status = await statusOf('user');
    const sets = [status['CapInh'], status['CapPrm'], status['CapEff'], status['CapBnd'], status['CapAmb']];
    assert.deepEqual(sets, [none, none, none, hex(dockers), none]);
    assert.equal(status['NoNewPrivs'], '1');
    assert.deepEqual([status['Uid'], status['Groups']], ['1000\t1000\t1000\t1000', '1001 2000 2001']);
  });

  test('has a seccomp filter', async () => {
    const status = await statusOf('plain');
    assert.equal(status['Seccomp'], '2');
    assert.equal(Number(status['Seccomp_filters']), (await filters('/proc/1/status')) + 1);
    assert.equal(status['NoNewPrivs'], '0');
  });

  test('is PID 1, with namespaces of its own', async () => {
    const pid = await pidOf('plain');
    assert.equal((await statusOf('plain'))['NSpid']?.split('\t').at(-1), '1');
    for (const [kind, own] of Object.entries({
      pid: true,
      mnt: true,
      ipc: true,
      uts: true,
      net: true,
      user: false,
    })) {
      const [inside, outside] = [
        await system('readlink', `/proc/${pid}/ns/${kind}`),
        await system('readlink', `/proc/1/ns/${kind}`),
      ];
      assert.equal(inside !== outside, own, kind);
    }
  });

  test('of a privileged container has every capability there is, and no filter', async () => {
    const status = await statusOf('might');
    const possible = fields(await readFile('/proc/self/status', 'utf8'))['CapBnd'];
    assert.deepEqual([status['CapEff'], status['CapBnd']], [possible, possible]);
    assert.equal(Number(status['Seccomp_filters']), await filters('/proc/1/status'));
  });
});

describe('system calls', { concurrency: 2 }, () => {
  const denied = {
    mount: [165, 40, 0, 0, 0, 0, 0],
    umount2: [166, 39, '/', 0],
    unshare: [272, 97, 0x10000000],
    setns: [308, 268, 0, 0],
    keyctl: [250, 219, 0, 0, 0],
    add_key: [248, 217, 0, 0, 0, 0, 0],
    request_key: [249, 218, 0, 0, 0, 0],
    bpf: [321, 280, 0, 0, 0],
    perf_event_open: [298, 241, 0, 0, 0, 0, 0],
    init_module: [175, 105, 0, 0, 0],
    reboot: [169, 142, 0, 0, 0],
    swapon: [167, 224, 0, 0],
    pivot_root: [155, 41, 0, 0],
    open_by_handle_at: [304, 265, 0, 0, 0],
    settimeofday: [164, 170, 0, 0],
    kexec_load: [246, 104, 0, 0, 0, 0],
    clone: [56, 220, 0x10000000, 0, 0, 0, 0],
    sethostname: [170, 161, 'x', 1],
    syslog: [103, 116, 3, 0, 0],
    quotactl: [179, 60, 0, 0, 0, 0],
    acct: [163, 89, 0],
    userfaultfd: [323, 282, 0],
    open_tree: [428, 428, 0, 0, 0],
    fsopen: [430, 430, 0, 0],
  } as const;
  const unknown = {
    clone3: [435, 435, 0, 0],
    'number 600': [600, 600],
    'number 9999': [9999, 9999],
  } as const;

  test('that Docker denies get EPERM, those that nobody knows ENOSYS', async () => {
    const got = parse(await done(['run', '--rm', image, ...probe({ ...denied })]));
    const missing = { ...got };
    for (const [name, answer] of Object.entries(got)) assert.equal(answer, 'EPERM', name);
    assert.equal(Object.keys(missing).length, Object.keys(denied).length);
    const spaced = Object.fromEntries(
      Object.entries(unknown).map(([name, call]) => [name.replaceAll(' ', '-'), call]),
    );
    const other = parse(await done(['run', '--rm', image, ...probe(spaced)]));
    for (const [name, answer] of Object.entries(other)) assert.equal(answer, 'ENOSYS', name);
  });

  test('without the profile are not denied for their name: the test above can fail', async () => {
    const got = parse(
      await done([
        'run',
        '--rm',
        '--security-opt=seccomp=unconfined',
        image,
        ...probe({ keyctl: denied.keyctl, unshare: [272, 97, 0] }),
      ]),
    );
    assert.deepEqual(got, { keyctl: 'other', unshare: 'ok' });
  });

  test('of CAP_SYS_ADMIN are open with it, keyrings stay closed', async () => {
    const got = parse(
      await done([
        'run',
        '--rm',
        '--cap-add=SYS_ADMIN',
        image,
        ...probe({ sethostname: denied.sethostname, keyctl: denied.keyctl, unshare: denied.unshare }),
      ]),
    );
    assert.deepEqual(got, { unshare: 'ok', keyctl: 'EPERM', sethostname: 'ok' });
  });
});

describe('devices', { concurrency: 2 }, () => {
  /** Makes the devices of a disk, of memory, of fuse and of tun, and tries to open them. */
  const script = `mknod disk b 254 0; mknod memory c 1 1; mknod fuse c 10 229; mknod tun c 10 200
    for name in disk memory fuse tun; do perl -e 'print "$ARGV[0] ", (open(F, "<", $ARGV[0]) ? "opens" : $!), "\n"' $name; done`;

  test('of the host cannot be opened though they can be made', async () => {
    assert.equal(
      await done(['run', '--rm', '-w/tmp', image, 'sh', '-c', script]),
      ['disk', 'memory', 'fuse', 'tun'].map(name => `${name} Operation not permitted\n`).join(''),
    );
    const privileged = await done(['run', '--rm', '-w/tmp', '--privileged', image, 'sh', '-c', script]);
    assert.match(privileged, /fuse opens\ntun opens/, 'the test above can fail');
  });

  test('of the kernel that every program needs can', async () => {
    const script =
      'for d in null zero full random urandom; do head -c0 </dev/$d || echo $d; done; echo x >/dev/null; mknod /tmp/n c 1 3 && echo x >/tmp/n; ls /dev/pts/ptmx >/dev/null && echo fine';
    assert.equal(await done(['run', '--rm', image, 'sh', '-c', script]), 'fine\n');
  });

  test('that are named can, with the access that is named', async () => {
    // Who may open the host's own differs: newer versions of systemd-nspawn bind it into a lab.
    await system('mknod', '--mode=666', '/dev/named', 'c', '10', '229');
    const tries = `for mode in "<" ">>"; do perl -e 'print open(F, $ARGV[0], "/dev/inside") ? "opens\n" : "$!\n"' "$mode"; done; stat -c %t:%T /dev/inside`;
    const text = await done([
      'run',
      '--rm',
      '--device=/dev/named:/dev/inside:r',
      '-uapp',
      image,
      'sh',
      '-c',
      tries,
    ]);
    assert.equal(text, 'opens\nOperation not permitted\na:e5\n');
  });
});

describe('files of the kernel', () => {
  test('that tell too much are masked, that change the host are read-only', async () => {
    const script = `
      for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/sched_debug; do [ ! -e $f ] || [ -z "$(head -c1 $f)" ] || echo open $f; done
      for d in /sys/firmware /proc/acpi /proc/scsi; do [ ! -e $d ] || [ -z "$(ls $d)" ] || echo open $d; done
      for f in /proc/sys/kernel/domainname /proc/sysrq-trigger /sys/kernel/mm/ksm/run /proc/irq/default_smp_affinity; do
        [ ! -e $f ] || { echo 0 >$f; } 2>/dev/null && [ -e $f ] && echo written $f; done
      echo looked`;
    assert.equal(await done(['run', '--rm', image, 'sh', '-c', script]), 'looked\n');
    const { out } = await spawnlet([
      'run',
      '--rm',
      '--privileged',
      image,
      'sh',
      '-c',
      'test -n "$(head -c1 /proc/timer_list)" && echo open; test -w /proc/sys/kernel/domainname && echo writable',
    ]);
    assert.equal(out, 'open\nwritable\n', 'the test above can fail');
  });
});

describe('a process of exec', () => {
  const facts = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Uid', 'Gid', 'Groups'];
  for (const name of ['plain', 'user', 'might']) {
    test(`in '${name}' has what the first one has, cgroups too`, async () => {
      const first = await statusOf(name);
      const text = await done(['exec', name, 'cat', '/proc/self/status', '/proc/self/cgroup']);
      const second = fields(text);
      for (const fact of facts) assert.equal(second[fact], first[fact], fact);
      // Units of a lab have the lab's own filters below; a command that was brought into the lab has not.
      const [unit, self] = [await filters('/proc/1/status'), await filters('/proc/self/status')];
      assert.equal(Number(second['Seccomp_filters']) - self, Number(first['Seccomp_filters']) - unit);
      const cgroups = (await readFile(`/proc/${await pidOf(name)}/cgroup`, 'utf8')).trim();
      assert.ok(text.includes(cgroups), `${text}\n---\n${cgroups}`);
      assert.match(cgroups, new RegExp(`${name}\\.service`));
    });
  }

  test('is in the same namespaces', async () => {
    const script =
      'for n in pid mnt ipc uts net; do [ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] || echo $n; done; echo compared';
    assert.equal(await done(['exec', 'plain', 'sh', '-c', script]), 'compared\n');
  });

  test('runs as whom, where and with what it is told', async () => {
    const text = await done([
      'exec',
      '-uapp',
      '-w/home',
      '-eA=b c',
      'plain',
      'sh',
      '-c',
      'id; pwd; echo "$A"',
    ]);
    assert.equal(text, 'uid=1000(app) gid=1001(app) groups=1001(app),2000(extra),2001(more)\n/home\nb c\n');
    const { CapEff } = fields(await done(['exec', '-uapp', 'plain', 'cat', '/proc/self/status']));
    assert.equal(CapEff, none);
  });

  test('gives its exit code; a program that is not there 127, one that cannot be run 126', async () => {
    const codes = await Promise.all(
      [['sh', '-c', 'exit 42'], ['sh', '-c', 'kill -TERM $$'], ['/no/such'], ['/etc/passwd']].map(
        async argv => (await spawnlet(['exec', 'plain', ...argv])).code,
      ),
    );
    assert.deepEqual(codes, [42, 143, 127, 126]);
  });

  test('dies with the container', async () => {
    await done(['run', '-d', '--name=mortal', image, 'sleep', 'infinity']);
    const long = running(['exec', 'mortal', 'sh', '-c', 'trap "" TERM; echo deaf; sleep infinity']);
    assert.equal(await long.line(), 'deaf');
    await done(['stop', '-t1', 'mortal']);
    assert.equal(await long.ended, 137);
  });
});

test('a profile of one’s own is used, and named when it is none', async () => {
  const path = join(images.directory, 'profile.json');
  const rules = [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 95 }];
  await system(
    'sh',
    '-c',
    `printf %s '${JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: rules })}' >${path}`,
  );
  const { err } = await spawnlet(['run', '--rm', `--security-opt=seccomp=${path}`, image, 'mkdir', '/tmp/x']);
  assert.match(err, /Operation not supported/);
  const wrong = await spawnlet(['run', '--rm', '--security-opt=seccomp=/etc/passwd', image, 'true']);
  assert.equal(wrong.code, 125);
  assert.match(wrong.err, /\/etc\/passwd.*ERR_SECCOMP_PROFILE/);
});
