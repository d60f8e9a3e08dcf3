// runs in a lab: bookworm trixie +nftables
// What --dry-run shows of a command it does not do: mounts, units and files are what they were.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { basesDirectory } from '../../src/names.ts';
import { spawnlet, system } from '../app/tools.ts';
import { difference } from '../host/traces.ts';
import { base, create, machine, useBase, world } from './machines.ts';

let made: AsyncDisposable;

/** Paths with the time of their last change, and mounts; what is mounted in them is left out. */
const files =
  'find /etc/systemd /etc/nftables.conf /run/systemd/system /var/lib/spawnlet /var/lib/machines /root -xdev -path "*/compile-cache" -prune -o -printf "%p %M %U %s %C@ %l\\n" 2>/dev/null | sort';

/** All that a command could change: {@link world}, files by their times, units by their states, mounts with their options. */
async function everything(): Promise<string[]> {
  const parts = await Promise.all([
    world(),
    system('sh', '-c', `${files} || :`),
    system(
      'systemctl',
      'list-units',
      '--all',
      '--plain',
      '--no-legend',
      '--full',
      'systemd-nspawn@*',
      '*.mount',
    ),
    system('findmnt', '--noheadings', '--list', '--output=TARGET,SOURCE,OPTIONS'),
    system('machinectl', 'list', '--no-legend'),
  ]);
  return parts.flatMap(part => part.split('\n'));
}

/** As after a boot of the host: its tree is mounted nowhere. */
const unmount = (name: string) => system('systemctl', 'stop', `var-lib-machines-${name}.mount`);

before(async () => {
  made = await useBase();
  await system('sh', '-c', `cd ${basesDirectory} && mkdir -p spare/tree && cp ${base}/recipe.json spare`);
  await create('idle', '--enable');
  await machine('snapshot', 'idle', 'one');
  await create('up');
  await machine('start', 'up');
  await create('broken');
  // Its unit has failed, and goes on having failed.
  await writeFile('/var/lib/machines/broken/usr/lib/systemd/systemd', '');
  await spawnlet(['machine', 'start', 'broken']);
  await system('systemctl', 'is-failed', 'systemd-nspawn@broken');
  await system(
    'sh',
    '-c',
    'mkdir -p /var/lib/machines/.tree && cp -a /var/lib/spawnlet/base/lab/tree/. /var/lib/machines/.tree',
  );
  await machine('create', 'place', '--directory=/var/lib/machines/.tree', '--network=none');
  await create('out');
  await machine('export', 'out', '/root/out.tar');
  await machine('eject', 'out');
  await writeFile(
    '/root/idle.yaml',
    (await machine('status', '-o', 'yaml', 'idle')).replace(
      'network: none',
      'network: { interfaces: [{ kind: nat }] }',
    ),
  );
  for (const name of ['idle', 'broken']) await unmount(name);
});

after(async () => {
  await made[Symbol.asyncDispose]();
  await system(
    'rm',
    '-rf',
    '/var/lib/machines/.tree',
    '/var/lib/machines/out',
    '/root/out.tar',
    '/root/idle.yaml',
    `${basesDirectory}/spare`,
  );
});

const commands: readonly (readonly [shows: RegExp, words: string, input?: string])[] = [
  [
    /^write \/etc\/systemd\/nspawn\/new\.nspawn/m,
    `create new --from ${base} --network none --enable --start`,
  ],
  [
    /^write \d+ entries into the tree of new/m,
    'create new --from machine:idle --network none --hostname other',
  ],
  [/^copy .*\/broken\/upper to /m, 'clone broken new --start'],
  [/^copy .*\/snapshots\/one\/tree to /m, 'clone idle/one new'],
  [/^copy \/var\/lib\/machines\/\.tree to /m, 'clone place new'],
  [/^start var-lib-machines-idle\.mount\n.*entries into the tree of idle/ms, 'apply -f /root/idle.yaml'],
  [/MemoryMax=100663296/, 'set idle memory=96m'],
  [/^disable systemd-nspawn@idle\.service$/m, 'disable idle'],
  [/^enable systemd-nspawn@up\.service$/m, 'enable up'],
  [/^start systemd-nspawn@idle\.service$/m, 'start idle'],
  [/^start systemd-nspawn@broken\.service$/m, 'start broken'],
  [/^stop systemd-nspawn@up\.service$/m, 'stop up'],
  [/^stop systemd-nspawn@up\.service$/m, 'restart up'],
  [/^kill systemd-nspawn@up\.service$/m, 'kill up'],
  [/^move .*\/machine\/idle to .*\/machine\/new$/m, 'rename idle new'],
  [/^copy .* to .*\/snapshots\/two\/tree$/m, 'snapshot idle two'],
  [/^copy .*\/snapshots\/one\/tree to /m, 'restore idle one'],
  [
    /^keep .*\/idle from being started\nstart var-lib-machines-idle\.mount\npack .* into \/root\/idle\.tar$/m,
    'export idle /root/idle.tar',
  ],
  [/^unpack \/root\/out\.tar to /m, 'import /root/out.tar new'],
  [/^start var-lib-machines-idle\.mount\n.* root:\(hidden\)/ms, 'passwd --password-stdin idle', 'secret\n'],
  [/^write \d entries into the tree of up/m, 'passwd --password-stdin up', 'secret\n'],
  [/^copy \/var\/lib\/machines\/broken to \/var\/lib\/machines\/\.#broken\.flat$/m, 'eject broken'],
  [/^write .*\/machine\/out\/machine\.yaml/m, 'adopt out'],
  [/^remove .*\/snapshots\/one$/m, 'rm idle/one'],
  [/^kill systemd-nspawn@up\.service$/m, 'rm --force up'],
];

test('a dry run of a command about machines changes nothing, and says what it would change', async () => {
  const before = await everything();
  for (const [shows, words, input] of commands) {
    const { code, out, err } = await spawnlet(['machine', ...words.split(' '), '--dry-run'], {
      input: input ?? '',
    });
    assert.equal(code, 0, `${words}: ${err}`);
    assert.match(out + err, shows, words);
    assert.deepEqual(difference(before, await everything()), [], words);
  }
});

test('a dry run of a command about bases changes nothing', async () => {
  const before = await everything();
  for (const [shows, words] of [
    [/new/, 'prepare new --from dir:/var/lib/machines/.tree'],
    [/new/, 'prepare new --from machine:idle'],
    [/spare/, 'rm spare'],
    [/spare/, 'prune'],
  ] as const) {
    const { code, out, err } = await spawnlet(['base', ...words.split(' '), '--dry-run']);
    assert.equal(code, 0, `${words}: ${err}`);
    assert.match(out + err, shows, words);
    assert.deepEqual(difference(before, await everything()), [], words);
  }
});
