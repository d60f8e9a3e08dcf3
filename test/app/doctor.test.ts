// runs in a lab: bookworm trixie
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, renameSync } from 'node:fs';
import { afterEach, test } from 'node:test';
import type { Diagnosis } from '../../src/app/doctor/diagnosis.ts';
import { type Ran, spawnlet, system, words } from './tools.ts';

const away: string[] = [];

/** Takes a file away until the test has ended. */
function hide(path: string): void {
  renameSync(path, `${path}.away`);
  away.push(path);
}

afterEach(() => {
  for (const path of away.splice(0)) renameSync(`${path}.away`, path);
});

const rowsOf = ({ out }: Ran) => new Map((JSON.parse(out) as Diagnosis[]).map(row => [row.name, row]));

test('nothing is missing in a lab, and the doctor leaves nothing there', async () => {
  const entries = () => ['/var/lib', '/var/lib/spawnlet', '/run/spawnlet'].map(list);
  const before = entries();
  const ran = await spawnlet(['doctor', '-o', 'json']);
  const bad = [...rowsOf(ran).values()].filter(row => row.verdict === 'missing');
  assert.deepEqual(bad, []);
  assert.equal(ran.code, 0);
  assert.deepEqual(entries().slice(0, 2), before.slice(0, 2));
  assert.deepEqual(
    // Where locks and the files of running containers lie.
    entries()[2]?.filter(name => name !== 'lock' && name !== 'app'),
    [],
  );
  assert.deepEqual(list('/run/spawnlet/app'), []);
  assert.equal(
    await system(
      'systemctl',
      'list-units',
      '--all',
      '--plain',
      '--no-legend',
      'run-u*',
      'run-r*',
      '*doctor*',
    ),
    '',
  );
});

const list = (path: string) => (existsSync(path) ? readdirSync(path) : []);

test('without crun, its package is named, and no container runs', async () => {
  hide('/usr/bin/crun');
  const ran = await spawnlet(['doctor', '-o', 'json']);
  const rows = rowsOf(ran);
  assert.equal(rows.get('crun')?.verdict, 'missing');
  assert.equal(rows.get('crun')?.fix, 'apt-get install crun');
  assert.equal(rows.get('container')?.verdict, 'missing');
  assert.equal(rows.get('--engine nspawn')?.verdict, 'ok');
  assert.equal(ran.code, 1);
});

test('without conmon, its package is named', async () => {
  hide('/usr/bin/conmon');
  const rows = rowsOf(await spawnlet(['doctor', '-o', 'json']));
  assert.equal(rows.get('conmon')?.fix, 'apt-get install conmon');
  assert.equal(rows.get('container')?.verdict, 'missing');
});

test('without the seccomp profile, its package is named', async () => {
  hide('/usr/share/containers/seccomp.json');
  const ran = await spawnlet(['doctor', '-o', 'json']);
  assert.equal(rowsOf(ran).get('seccomp')?.fix, 'apt-get install golang-github-containers-common');
  assert.equal(ran.code, 1);
});

test('without systemd-nspawn, containers run all the same', async () => {
  hide('/usr/bin/systemd-nspawn');
  const ran = await spawnlet(['doctor', '-o', 'json']);
  assert.equal(rowsOf(ran).get('systemd-nspawn')?.verdict, 'note');
  assert.equal(rowsOf(ran).get('--engine nspawn')?.verdict, 'note');
  assert.equal(ran.code, 0);
});

/** Runs the doctor in a mount namespace that a script has prepared. */
function elsewhere(prepare: string): Ran {
  const argv = ['--mount', 'sh', '-euc', `${prepare}\nexec "$@"`, 'sh', ...words('doctor', '-o', 'json')];
  try {
    const out = execFileSync('unshare', argv, { encoding: 'utf8' });
    return { code: 0, out, err: '', bytes: Buffer.from(out) };
  } catch (error) {
    const { status, stdout } = error as { status: number; stdout: string };
    return { code: status, out: stdout, err: '', bytes: Buffer.from(stdout) };
  }
}

test('a store that is on an overlay itself is found, and what to do', () => {
  const rows = rowsOf(
    elsewhere(`mount -t tmpfs tmpfs /mnt
      mkdir /mnt/lower /mnt/upper /mnt/work
      mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /var/lib/spawnlet`),
  );
  assert.equal(rows.get('overlay')?.verdict, 'missing');
  assert.equal(rows.get('overlay')?.fix, 'bind a directory of a real file system at /var/lib/spawnlet');
});

test('without systemd, a lab is named, and what needs systemd is not looked at', () => {
  const rows = rowsOf(elsewhere('mount -t tmpfs tmpfs /run/systemd\nmount -t tmpfs tmpfs /run/dbus'));
  assert.equal(rows.get('systemd')?.verdict, 'missing');
  assert.match(rows.get('systemd')?.fix ?? '', /spawnlet lab up/);
  assert.equal(rows.get('limits')?.verdict, 'note');
});

test('a user who is not root is told so', async () => {
  // The checkout may lie where only root may look: the capability to read stays.
  const ids = [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    '--inh-caps=+dac_read_search',
    '--ambient-caps=+dac_read_search',
  ];
  const argv = ['setpriv', ...ids, ...words('doctor', '-o', 'json')];
  const out = execFileSync('sh', ['-c', '"$@"; test $? = 1', 'sh', ...argv], { encoding: 'utf8' });
  const rows = new Map((JSON.parse(out) as Diagnosis[]).map(row => [row.name, row]));
  assert.equal(rows.get('root')?.fix, 'sudo spawnlet doctor');
  assert.equal(rows.get('overlay')?.finding, 'not looked at: needs root');
  assert.equal(rows.get('systemd')?.verdict, 'ok');
});
