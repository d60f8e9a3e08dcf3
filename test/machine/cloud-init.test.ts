// runs in a lab: bookworm trixie +cloud-init +nftables +openssh-server +whois
// What a machine is told at its first boot by cloud-init's NoCloud directory, and passwords by hashes that others have made.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { systemChildren } from '../../src/host/child.ts';
import { done, system } from '../app/tools.ts';
import { base, create, inside, machine, useBase } from './machines.ts';

let made: AsyncDisposable;
let work: string;

before(async () => {
  made = await useBase();
  work = await mkdtemp(join(tmpdir(), 'cloud-init-'));
});

after(async () => {
  await made[Symbol.asyncDispose]();
  await rm(work, { recursive: true });
});

/** A NoCloud directory. */
async function seed(files: Readonly<Record<string, string>>): Promise<string> {
  const directory = await mkdtemp(join(work, 'seed-'));
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
  return directory;
}

/** What cloud-init says of itself in a machine, when it has come to an end. */
const ended = (name: string) => inside(name, 'sh', '-c', 'cloud-init status --wait --long || :');

/** The locale of cloud-init's own settings would have to be made, by a package that is not there. */
const userData = `#cloud-config
locale: false
write_files:
  - path: /etc/from-seed
    content: hello
runcmd:
  - echo ran >>/etc/ran
users:
  - name: ann
`;

describe('a machine with a NoCloud directory', () => {
  test('is told by it who it is and what to do, once; a clone is somebody else', async () => {
    const directory = await seed({ 'user-data': userData });
    const flags = ['--hostname', 'tower', '--cloud-init', directory];
    await create('web', '--network=nat', ...flags);
    await machine('start', 'web');
    assert.match(await ended('web'), /^status: done$/m);
    assert.equal(await inside('web', 'cat', '/etc/from-seed', '/etc/ran'), 'helloran\n');
    assert.match(await inside('web', 'id', 'ann'), /\(ann\)/);
    assert.equal(await inside('web', 'hostname'), 'tower\n');
    // Its network is what spawnlet has written, alone.
    assert.equal(await inside('web', 'ls', '/etc/systemd/network'), '00-spawnlet-host0.network\n');
    await machine('restart', 'web');
    assert.match(await ended('web'), /^status: done$/m);
    assert.equal(await inside('web', 'cat', '/etc/ran'), 'ran\n');
    await machine('stop', 'web');
    await machine('clone', 'web', 'other');
    await machine('start', 'other');
    assert.match(await ended('other'), /^status: done$/m);
    assert.equal(await inside('other', 'cat', '/etc/ran'), 'ran\nran\n');
    assert.equal(await inside('other', 'hostname'), 'other\n');
    await machine('rm', '--force', 'web', 'other');
  });

  test('goes by what the directory says of it', async () => {
    const directory = await seed({
      'meta-data': 'instance-id: mine\nlocal-hostname: named-by-seed\n',
      'network-config': 'version: 2\nethernets: { host0: { dhcp4: true } }\n',
      'vendor-data': '#cloud-config\nlocale: false\n',
    });
    await create('told', '--network=nat', '--cloud-init', directory);
    await machine('start', 'told');
    assert.match(await ended('told'), /^status: done$/m);
    assert.equal(await inside('told', 'hostname'), 'named-by-seed\n');
    assert.equal(await inside('told', 'cat', '/var/lib/cloud/data/instance-id'), 'mine\n');
    assert.match(await inside('told', 'ls', '/etc/systemd/network'), /cloud-init/);
    await machine('rm', '--force', 'told');
  });

  test('keeps the name that it was given later', async () => {
    await create('old', '--cloud-init', await seed({ 'user-data': userData }));
    await machine('start', 'old');
    assert.match(await ended('old'), /^status: done$/m);
    await machine('stop', 'old');
    await machine('rename', 'old', 'new');
    await machine('start', 'new');
    assert.match(await ended('new'), /^status: done$/m);
    assert.equal(await inside('new', 'hostname'), 'new\n');
    await machine('rm', '--force', 'new');
  });
});

test('without a NoCloud directory cloud-init does nothing', async () => {
  await create('plain');
  await machine('start', 'plain');
  assert.match(
    await ended('plain').catch(() => inside('plain', 'sh', '-c', 'cloud-init status; :')),
    /disabled/,
  );
  await machine('rm', '--force', 'plain');
});

/** Whether the machine's own PAM takes a password. */
const isTaken = async (name: string, password: string): Promise<boolean> => {
  const argv = ['systemd-run', '--quiet', '--wait', '--pipe', `--machine=${name}`];
  const { code } = await systemChildren.capture([...argv, '/usr/sbin/unix_chkpwd', 'root', 'nullok'], {
    input: `${password}\0`,
  });
  return code === 0;
};

for (const method of ['yescrypt', 'sha512crypt'])
  test(`a hash of ${method} that mkpasswd made is a password in a machine, stopped or running`, async () => {
    const hash = (text: string) => system('mkpasswd', `--method=${method}`, text);
    const ask = async (words: readonly string[], text: string) =>
      done(['machine', ...words, '--password-hash-stdin'], { input: await hash(text) });
    await ask(['create', 'keyed', '--from', base, '--network', 'none'], 'at first');
    await machine('start', 'keyed');
    assert.equal(await isTaken('keyed', 'at first'), true);
    assert.equal(await isTaken('keyed', 'another'), false);
    await ask(['passwd', 'keyed'], 'while it runs');
    assert.equal(await isTaken('keyed', 'at first'), false);
    assert.equal(await isTaken('keyed', 'while it runs'), true);
    await machine('stop', 'keyed');
    await ask(['passwd', 'keyed'], 'while it stands');
    await machine('start', 'keyed');
    assert.equal(await isTaken('keyed', 'while it stands'), true);
    await machine('passwd', 'keyed', '--lock');
    assert.equal(await isTaken('keyed', 'while it stands'), false);
    await machine('rm', '--force', 'keyed');
  });
