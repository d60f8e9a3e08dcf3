// runs in a lab: bookworm trixie +openssh-server
// What is written into a fresh tree, seen in the machine that boots from it.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { realHost } from '../../src/host/host.ts';
import { guestFiles } from '../../src/machine/guest/files.ts';
import { firstBootState } from '../../src/machine/guest/first-boot.ts';
import { newIdentity } from '../../src/machine/guest/identity.ts';
import { guestOs } from '../../src/machine/guest/os.ts';
import { guestExecutors, type WriteGuest } from '../../src/machine/guest/write.ts';
import { hashOf, passwordStep } from '../../src/machine/password.ts';
import type { FirstBoot, MachineSpec } from '../../src/machine/spec.ts';
import { lockDirectory } from '../../src/names.ts';
import { system } from '../app/tools.ts';
import { plainSpec } from '../harness/machine-spec.ts';
import { type Booted, boot } from './booted.ts';

const signal = AbortSignal.timeout(300_000);
const host = realHost(lockDirectory, 'guest test');
const executor = guestExecutors(host.children)['write-guest'];
const work = await mkdtemp(join(tmpdir(), 'guest-'));
after(() => rm(work, { recursive: true, force: true }));

/** The step of a machine's making. */
async function stepFor(spec: MachineSpec, root: string): Promise<WriteGuest> {
  const os = await guestOs(root, spec.firstBoot, host.files);
  const files = guestFiles(spec, os, [], newIdentity(host.clock.now()));
  return { do: 'write-guest', machine: spec.name, root, files, tree: 'new' };
}

const useMachine = (firstBoot: Partial<FirstBoot>): Promise<Booted> =>
  boot(
    { firstBoot: { ...plainSpec.firstBoot, ...firstBoot } },
    { tree: { kind: 'plain' } },
    async (spec, tree) => executor.apply(await stepFor(spec, tree), signal),
  );

async function script(name: string, content: string): Promise<string> {
  await writeFile(join(work, name), content, { mode: 0o755 });
  return join(work, name);
}

/** Resolves when `look` no longer throws. */
async function eventually<T>(look: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }
}

const ended = (machine: Booted) =>
  eventually(async () => {
    const state = firstBootState(machine.tree);
    if (state.kind === 'pending' || state.kind === 'running') throw new Error(state.kind);
    return state;
  });

const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxDbuA1k0nK3bFVZ0lJvQ4X8pP7zL2Wm3Yh9c5sTq1R ann@example';

describe('a fresh machine', () => {
  test('is somebody of its own, with its users, keys, files, and scripts that have run once', async () => {
    await mkdir(join(work, 'site/sub'), { recursive: true });
    await writeFile(join(work, 'site/sub/page'), 'hello', { mode: 0o604 });
    const passwordHash = await hashOf(
      { kind: 'plain', text: 'open sesame' },
      'sha512',
      host.children,
      signal,
    );
    const logged = await script('first', '#!/bin/sh\necho "$(id -un) $(hostname) $PWD" >>/var/log/first\n');
    await using machine = await useMachine({
      hostname: 'tower.example',
      timezone: 'UTC',
      locale: 'C.UTF-8',
      rootPasswordHash: passwordHash,
      sshKeys: [key],
      users: [{ name: 'ann', groups: ['adm'], sshKeys: [key], passwordHash }],
      copy: [{ source: join(work, 'site'), target: '/srv' }],
      run: [logged],
    });
    const { tree } = machine;
    const inside = (...argv: readonly string[]) => machine.inside(...argv);
    const id = (await inside('cat', '/etc/machine-id')).trim();
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.notEqual(id, (await readFile('/etc/machine-id', 'utf8')).trim());
    assert.match(await inside('hostnamectl', '--static'), /^tower\.example$/m);
    assert.match(await inside('getent', 'hosts', 'tower'), /^127\.0\.1\.1\s+tower\.example tower/);
    assert.equal(await inside('id', '-Gn', 'ann'), 'ann adm\n');
    assert.equal(
      await inside(
        'stat',
        '-c',
        '%a %U:%G',
        '/home/ann',
        '/home/ann/.profile',
        '/home/ann/.ssh',
        '/home/ann/.ssh/authorized_keys',
      ),
      '700 ann:ann\n644 ann:ann\n700 ann:ann\n600 ann:ann\n',
    );
    assert.equal(await inside('cat', '/root/.ssh/authorized_keys'), `${key}\n`);
    assert.equal(await inside('stat', '-c', '%a %U', '/srv/site/sub/page'), '604 root\n');
    const perl =
      'print crypt("open sesame", (getspnam_of())) ; sub getspnam_of { (split /:/, `grep ^ann: /etc/shadow`)[1] }';
    assert.equal(await inside('perl', '-e', perl), passwordHash);
    assert.equal(await inside('date', '+%Z'), 'UTC\n');

    // sshd has keys of this machine, not of the tree that it was made from.
    await inside('systemctl', 'start', 'ssh.service');
    assert.equal(await inside('systemctl', 'is-active', 'ssh.service'), 'active\n');
    const public_ = await inside('cat', '/etc/ssh/ssh_host_ed25519_key.pub');
    assert.notEqual(public_, await readFile('/etc/ssh/ssh_host_ed25519_key.pub', 'utf8'));

    assert.deepEqual(await ended(machine), { kind: 'done' });
    assert.equal(await inside('cat', '/var/log/first'), 'root tower.example /root\n');
    await system('systemctl', 'restart', machine.unit);
    await inside('systemctl', 'is-system-running', '--wait').catch(() => '');
    assert.equal(await inside('cat', '/var/log/first'), 'root tower.example /root\n');
    assert.deepEqual(
      await host.files
        .list(join(tree, 'etc/systemd/system/multi-user.target.wants'))
        .then(names => names.filter(name => name.includes('first-boot'))),
      [],
    );
    assert.equal((await inside('cat', '/etc/machine-id')).trim(), id);
  });

  test('tells which script of its first boot has failed, after the next boot, too, and runs none behind it', async () => {
    await using machine = await useMachine({
      run: [
        await script('a', '#!/bin/sh\nexit 3\n'),
        await script('b', '#!/bin/sh\ntouch /var/log/second\n'),
      ],
    });
    const failed = { kind: 'failed', script: '001-a', code: 3 };
    assert.deepEqual(await ended(machine), failed);
    assert.match(
      await eventually(() => machine.inside('systemctl', 'list-units', '--failed')),
      /spawnlet-first-boot/,
    );
    await assert.rejects(machine.inside('cat', '/var/log/second'));
    await system('systemctl', 'restart', machine.unit);
    assert.deepEqual(firstBootState(machine.tree), failed);
  });
});

describe('a plan for a tree', () => {
  const bare = async () => {
    const root = await mkdtemp(join(work, 'tree-'));
    for (const name of ['etc/ssh', 'usr']) await mkdir(join(root, name), { recursive: true });
    await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
    await writeFile(join(root, 'etc/shadow'), 'root:*:1::::::\n', { mode: 0o640 });
    return root;
  };
  const spec = (firstBoot: Partial<FirstBoot>): MachineSpec => ({
    ...plainSpec,
    firstBoot: { ...plainSpec.firstBoot, ...firstBoot },
  });

  test('is refused where the tree has not what it needs', async () => {
    const root = await bare();
    const cases: Partial<FirstBoot>[] = [
      { run: [await script('r', '')] },
      { timezone: 'Mars/Olympus' },
      { timezone: '../../etc/passwd' },
      { locale: 'tlh_KX.UTF-8' },
      { cloudInit: work },
    ];
    for (const each of cases) await assert.rejects(stepFor(spec(each), root), { code: 'ERR_GUEST_OS' });
    await assert.rejects(stepFor(spec({ copy: [{ source: join(work, 'none'), target: '/' }] }), root), {
      code: 'ERR_GUEST_SOURCE',
    });
  });

  test('shows no hash, is done once, and is done again after it was cut off', async () => {
    const root = await bare();
    const step = await stepFor(spec({ rootPasswordHash: '$6$salt$hashed' }), root);
    assert.equal(await executor.satisfied(step), false);
    assert.doesNotMatch(executor.body?.(step) ?? '', /hashed/);
    await executor.apply(step, signal);
    assert.equal(await executor.satisfied(step), true);
    await rm(join(root, 'etc/hostname'));
    assert.equal(await executor.satisfied(step), false);
    await executor.apply(step, signal);
    assert.equal(await executor.satisfied(step), true);
  });

  test('of another password is taken back with all that was there before', async () => {
    const root = await bare();
    const os = await guestOs(root, plainSpec.firstBoot, host.files);
    const password = { kind: 'plain', text: 'new' } as const;
    const step = await passwordStep('web', root, os, 'root', password, host, signal);
    const prior = (await executor.prior?.(step)) ?? null;
    await executor.apply(step, signal);
    assert.match(await readFile(join(root, 'etc/shadow'), 'utf8'), /^root:\$6\$/);
    await executor.undo?.(step, prior);
    assert.equal(await readFile(join(root, 'etc/shadow'), 'utf8'), 'root:*:1::::::\n');
    await executor.undo?.(step, prior);
  });

  test('that copies is not led out of the tree by its links', async () => {
    const root = await bare();
    const outside = join(work, 'outside');
    await mkdir(outside, { recursive: true });
    await writeFile(join(outside, 'page'), 'outside');
    await mkdir(join(work, 'pages/dir'), { recursive: true });
    for (const path of ['page', 'dir/page']) await writeFile(join(work, 'pages', path), 'copied');
    await mkdir(join(root, 'srv'));
    await symlink(join(outside, 'page'), join(root, 'srv/page'));
    await symlink(outside, join(root, 'abs'));
    const copy = [
      { source: `${work}/pages/.`, target: '/srv' },
      { source: join(work, 'pages/page'), target: '/abs/page' },
    ];
    await executor.apply(await stepFor(spec({ copy }), root), signal);
    assert.equal(await readFile(join(outside, 'page'), 'utf8'), 'outside');
    assert.equal(await readFile(join(root, 'srv/page'), 'utf8'), 'copied');
    assert.equal(await readFile(join(root, outside, 'page'), 'utf8'), 'copied');

    await symlink(outside, join(root, 'dir'));
    const onto = [{ source: `${work}/pages/.`, target: '/' }];
    await assert.rejects(executor.apply(await stepFor(spec({ copy: onto }), root), signal), {
      code: 'ERR_GUEST_COPY',
    });
    assert.equal(await readFile(join(outside, 'page'), 'utf8'), 'outside');
  });
});
