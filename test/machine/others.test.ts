// runs in a lab: bookworm +nftables
// What is not a machine's alone stays when it goes: trees of somebody's, the bridge of others, copies that are kept.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { realHost } from '../../src/host/host.ts';
import type { Part, Parts } from '../../src/machine/change.ts';
import { eject } from '../../src/machine/eject.ts';
import { restore } from '../../src/machine/snapshot.ts';
import { lockDirectory } from '../../src/names.ts';
import { SystemdClient } from '../../src/systemd/client.ts';
import { done, spawnlet, system, words } from '../app/tools.ts';
import { base, create, inside, machine, status, useBase, world } from './machines.ts';

let made: AsyncDisposable;

before(async () => {
  made = await useBase();
});

after(() => made[Symbol.asyncDispose]());

test('a tree that was there before spawnlet stays when the machine is removed', async () => {
  await system(
    'sh',
    '-euc',
    'mkdir -p /var/lib/machines/mine/etc /var/lib/machines/mine/usr; echo hello >/var/lib/machines/mine/etc/motd; echo ID=mine >/var/lib/machines/mine/etc/os-release',
  );
  const settings = '/etc/systemd/nspawn/mine.nspawn';
  await mkdir('/etc/systemd/nspawn', { recursive: true });
  await writeFile(settings, '[Network]\nPrivate=no\n');
  await machine('adopt', 'mine');
  const { err } = await spawnlet(['machine', 'rm', 'mine']);
  assert.equal(await readFile('/var/lib/machines/mine/etc/motd', 'utf8'), 'hello\n');
  assert.match(err, /\/var\/lib\/machines\/mine stays/);
  assert.match((await spawnlet(['machine', 'status', 'mine'])).err, /ERR_NO_MACHINE/);
  await writeFile(settings, '[Network]\nPrivate=no\n');
  await machine('adopt', 'mine');
  await machine('rename', 'mine', 'ours');
  await writeFile('/var/lib/spawnlet/machine/ours/machine.yaml', 'kind: [\n');
  await machine('rm', 'ours');
  assert.equal(await readFile('/var/lib/machines/ours/etc/motd', 'utf8'), 'hello\n');
  await rm('/var/lib/machines/ours', { recursive: true });
});

test('a password goes by standard input as a text or as a hash, when a machine is made and later', async () => {
  const hash =
    '$6$salt$EOlhXZQPNqHvtCh1N7EgFT9F1Cmd0VBXhx8mlxYVyPEIh3ARPKcAd5PdZXaTNGC5i3vr2SAW8pY/fyUyk7Mqs.';
  const shadow = async () =>
    /^root:([^:]*):/m.exec(await readFile('/var/lib/machines/secret/etc/shadow', 'utf8'))?.[1];
  const made = ['machine', 'create', 'secret', '--from', base, '--network=none', '--password-hash-stdin'];
  await done(made, { input: `${hash}\n` });
  assert.equal(await shadow(), hash);
  await done(['machine', 'passwd', '--password-stdin', 'secret'], { input: 'hello\n' });
  assert.match((await shadow()) ?? '', /^\$(6|y)\$/);
  assert.notEqual(await shadow(), hash);
  await done(['machine', 'passwd', '--password-hash-stdin', 'secret'], { input: hash });
  assert.equal(await shadow(), hash);
  const { code, err } = await spawnlet(['machine', 'passwd', '--password-hash-stdin', 'secret'], {
    input: 'hunter2\n',
  });
  assert.equal(code, 125);
  assert.match(err, /ERR_PASSWORD/);
  assert.doesNotMatch(err, /hunter2/);
  await machine('rm', 'secret');
});

test('a machine is not ejected while it has snapshots: they are named', async () => {
  await create('kept');
  await machine('snapshot', 'kept', 'one');
  await machine('snapshot', 'kept', 'two');
  const { code, err } = await spawnlet(['machine', 'eject', 'kept']);
  assert.equal(code, 125);
  assert.match(err, /ERR_MACHINE_SNAPSHOTS/);
  assert.match(err, /spawnlet machine rm kept\/one kept\/two/);
  await machine('rm', 'kept/one', 'kept/two');
  await machine('eject', 'kept');
  await machine('adopt', 'kept');
  await machine('rm', 'kept');
  await rm('/var/lib/machines/kept', { recursive: true });
});

test('an ejected machine keeps its bridge, its address and its ports when the last other machine goes', async () => {
  await create('out', '--network=nat', '--publish=8080:80');
  await create('last', '--network=nat');
  const addressOf = async (name: string) =>
    /\d+\.\d+\.\d+\.\d+/.exec(
      await readFile(`/var/lib/spawnlet/machine/${name}/machine.yaml`, 'utf8'),
    )?.[0] ?? 'none';
  const address = await addressOf('out');
  await machine('eject', 'out');
  await machine('rm', 'last');
  await create('next', '--network=nat');
  assert.notEqual(await addressOf('next'), address);
  await machine('rm', 'next');
  const taken = ['create', 'next', '--from', base, '--network=nat', '--publish=127.0.0.1:8080:80'];
  assert.match((await spawnlet(['machine', ...taken])).err, /8080\/tcp is machine out's \[ERR_PORT_TAKEN\]/);
  await system('systemctl', 'start', 'systemd-nspawn@out');
  assert.match(await inside('out', 'ip', 'address', 'show', 'host0'), new RegExp(address));
  await system('systemctl', 'stop', 'systemd-nspawn@out');
  await machine('adopt', 'out');
  await machine('rm', 'out');
  await rm('/var/lib/machines/out', { recursive: true });
  await assert.rejects(readFile('/etc/systemd/system/spawnlet-nat.service'), { code: 'ENOENT' });
});

test('a file that cannot be read stops what depends on all machines and is named, and its machine can be removed', async () => {
  const clean = await world();
  await create('broken', '--enable');
  await create('other');
  const file = '/var/lib/spawnlet/machine/broken/machine.yaml';
  await writeFile(file, 'kind: [\n');
  const { code, err } = await spawnlet(['machine', 'rm', 'other']);
  assert.equal(code, 125);
  assert.match(err, new RegExp(file));
  await machine('rm', 'broken');
  await machine('rm', 'other');
  assert.equal(await world(), clean);
});

test('the journal and the files of a machine that does not run are read with nothing mounted', async () => {
  await create('still', '--start');
  await machine('stop', 'still');
  const mount = 'var-lib-machines-still.mount';
  await system('systemctl', 'stop', mount);
  assert.match(await machine('logs', 'still'), /Reached target/);
  await machine('cp', 'still:/etc/hostname', '/root/hostname');
  assert.equal(await readFile('/root/hostname', 'utf8'), 'still\n');
  assert.doesNotMatch(
    await system('findmnt', '--noheadings', '--list', '--output=TARGET'),
    /machines\/still/,
  );
  await rm('/root/hostname');
  await machine('rm', 'still');
});

test('a machine that another command is at work on is not started', async () => {
  await create('held');
  const { locks } = realHost(lockDirectory, 'a test');
  const lock = await locks.take('machine-held');
  for (const verb of ['start', 'restart']) {
    const { code, err } = await spawnlet(['machine', verb, 'held']);
    assert.equal(code, 125);
    assert.match(err, /ERR_BUSY/);
  }
  assert.equal((await status('held')).state, 'stopped');
  await lock[Symbol.asyncDispose]();
  await machine('start', 'held');
  await machine('rm', '--force', 'held');
});

/** The first part of a change; the machine is started by hand before the next one is asked for. */
async function startedBetween(name: string, parts: Parts): Promise<IteratorResult<Part, void>> {
  assert.equal((await parts.next()).done, false);
  await system('systemctl', 'start', `systemd-nspawn@${name}`);
  return parts.next();
}

/** No plan is applied by who asks for parts. */
const unused = async () => assert.fail('nothing is applied');

test('a machine that is started by hand while it is copied is not taken apart', async () => {
  await create('late');
  await machine('snapshot', 'late', 'one');
  const signal = AbortSignal.timeout(60_000);
  const host = realHost(lockDirectory, 'a test');
  await using client = await SystemdClient.connect({ signal });
  const deps = {
    host,
    applier: { apply: unused, dryRun: unused, pending: unused },
    systemd: async () => client,
  };
  await assert.rejects(
    startedBetween('late', restore(deps, { do: 'restore', name: 'late', snapshot: 'one' }, signal)),
    { code: 'ERR_RUNNING' },
  );
  await machine('stop', 'late');
  await machine('rm', 'late/one');
  await assert.rejects(startedBetween('late', eject(deps, { do: 'eject', name: 'late' }, signal)), {
    code: 'ERR_RUNNING',
  });
  await machine('rm', '--force', 'late');
});

test('a machine comes up again though the restart that was asked for is killed', async () => {
  await create('again');
  await machine('start', 'again');
  const { leader, unit } = await status('again');
  const signal = AbortSignal.timeout(60_000);
  await using client = await SystemdClient.connect({ signal });
  const [command = '', ...argv] = words('machine', 'restart', 'again');
  const child = spawn(command, argv, { stdio: 'ignore' });
  await client.waitUntil(unit, ({ ActiveState }) => ActiveState === 'deactivating', signal);
  child.kill('SIGKILL');
  const { ActiveState } = await client.waitUntil(unit, ({ Job }) => Job === 0, signal);
  assert.equal(ActiveState, 'active');
  assert.notEqual((await status('again')).leader, leader);
  await machine('restart', 'again', '--time', '30');
  assert.equal((await status('again')).state, 'running');
  await machine('rm', '--force', 'again');
});
