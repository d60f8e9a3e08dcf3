// runs in a lab: bookworm trixie
// What container engines need of a host, tried from inside.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

const at = '/var/lib/spawnlet/engines';
const root = `${at}/lower`;
const run = (...argv: [string, ...string[]]) => execFileSync(argv[0], argv.slice(1), { encoding: 'utf8' });
const unit = (properties: readonly string[], ...argv: string[]) =>
  run('systemd-run', '--wait', '--pipe', '--quiet', ...properties.map(text => `--property=${text}`), ...argv);

before(() => {
  for (const name of ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp', 'run', 'usr'])
    mkdirSync(`${root}/${name}`, { recursive: true });
  for (const name of ['upper', 'work', 'bundle/rootfs']) mkdirSync(`${at}/${name}`, { recursive: true });
  const libraries = run(
    'sh',
    '-c',
    '(echo /bin/sh; echo /bin/cat; ldd /bin/sh /bin/cat) | grep -o "/[^ :]*" | sort -u',
  )
    .trim()
    .split('\n');
  run('cp', '--parents', '--dereference', '--target-directory', root, ...libraries);
});

after(() => rmSync(at, { recursive: true }));

test('systemd is PID 1, and no unit has failed', () => {
  assert.equal(readFileSync('/proc/1/comm', 'utf8'), 'systemd\n');
  assert.equal(run('systemctl', 'is-system-running'), 'running\n');
});

test('crun runs on an overlay in a unit with closed devices', () => {
  run('sh', '-c', `cd ${at}/bundle && rm -f config.json && crun spec`);
  const config = JSON.parse(readFileSync(`${at}/bundle/config.json`, 'utf8'));
  config.process.terminal = false;
  config.process.args = ['sh', '-c', 'echo $$ in crun; exit 7'];
  writeFileSync(`${at}/bundle/config.json`, JSON.stringify(config));
  const script = `mount -t overlay overlay -o lowerdir=${root},upperdir=${at}/upper,workdir=${at}/work ${at}/bundle/rootfs &&
    exec crun --cgroup-manager=disabled run --bundle ${at}/bundle engines-test`;
  const properties = ['PrivateMounts=yes', 'Delegate=yes', 'DevicePolicy=closed'].map(
    text => `--property=${text}`,
  );
  const ran = spawnSync('systemd-run', ['--wait', '--pipe', '--quiet', ...properties, 'sh', '-c', script], {
    encoding: 'utf8',
  });
  assert.equal(ran.stdout, '1 in crun\n', ran.stderr);
  assert.equal(ran.status, 7);
});

test('nspawn runs in a lab', () => {
  const argv = ['--quiet', '--register=no', '--keep-unit', '--pipe', `--directory=${root}`];
  assert.equal(
    unit(['Delegate=yes'], 'systemd-nspawn', ...argv, '/bin/sh', '-c', 'echo $$$$ in nspawn'),
    '1 in nspawn\n',
  );
});

test('a unit’s closed devices are closed, and the lab’s are there', () => {
  for (const name of ['fuse', 'kmsg', 'net/tun']) run('test', '-c', `/dev/${name}`);
  const probe = 'cat </dev/kmsg >/dev/null 2>&1 && echo open || echo closed';
  assert.equal(unit(['DevicePolicy=closed'], 'sh', '-c', probe), 'closed\n');
});

test('a unit logs into a journal namespace', () => {
  // A unit that is very short may end before its line has started the namespace's journal, and take the socket with it.
  run('systemctl', 'start', 'systemd-journald@engines.service');
  run('systemd-run', '--wait', '--quiet', '--property=LogNamespace=engines', 'echo', 'into the namespace');
  run('journalctl', '--namespace=engines', '--sync');
  assert.match(run('journalctl', '--namespace=engines', '--output=cat'), /^into the namespace$/m);
  assert.doesNotMatch(run('journalctl', '--output=cat'), /^into the namespace$/m);
});
