// runs in a lab: bookworm trixie
// The unit of a container is a unit like any other: it works without spawnlet, and rm takes all of it away.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startFakeRegistry } from '../harness/fake-registry.ts';
import { debianImage, done, eventually, type Fixture, spawnlet, system, useImages } from './tools.ts';

let images: Fixture;
let image: string;

before(async () => {
  images = await useImages({
    deb: debianImage(),
    hostile: debianImage({
      Cmd: ['sh', '-c', 'echo "$EVIL"; exit 3', '$(touch /tmp/pwned)', '%n\n[Service]', '`id`', "'"],
      Env: ['EVIL=a\n[Service]\nExecStartPost=/bin/touch /tmp/pwned', 'A=$(touch /tmp/pwned)'],
      WorkingDir: "/it's $(touch x) %n",
      Volumes: { '/vol $(touch /tmp/pwned) \'"%n': {} },
      Labels: { x: 'y\nExecStartPost=/bin/touch /tmp/pwned' },
    }),
  });
  image = images.ref('deb');
});

after(() => images[Symbol.asyncDispose]());

/** Everything that a container may leave: files, units that are loaded, mounts, processes. */
const world = async () =>
  [
    await system(
      'sh',
      '-c',
      'find /etc/systemd /run/systemd/system /run/spawnlet /var/lib/spawnlet /var/lib/systemd | grep -v "/lock/\\|/compile-cache\\|/timers\\|/seccomp/" | sort',
    ),
    await system(
      'systemctl',
      'list-units',
      '--all',
      '--plain',
      '--no-legend',
      '--type=service,mount',
      '--state=failed,running,exited',
    ),
    await system('findmnt', '--noheadings', '--list', '--output=TARGET'),
  ].join('\n---\n');

/** Runs a container of `--rm` and waits until systemd has forgotten its unit, which is after its files are gone. */
async function runOnce(...argv: readonly string[]): Promise<void> {
  await spawnlet(['run', '--rm', '--network=host', '--name=once', image, ...argv]);
  const isForgotten = async () => (await system('systemctl', 'list-units', '--all', '-q', 'once.*')) === '';
  await eventually(isForgotten, 'the unit is forgotten');
}

const verify = (name: string) =>
  system(
    'sh',
    '-c',
    `systemd-analyze verify --man=no /etc/systemd/system/${name}.service 2>&1 | grep -F "${name}.service:" || :`,
  );

test('rm takes away exactly what run made, the bridge of the last container with it', async () => {
  await runOnce('true');
  const before = await world();
  await done([
    'run',
    '-d',
    '--name=whole',
    '-p8080:80',
    '--enable',
    '-v/own',
    '--restart=always',
    image,
    'sleep',
    'infinity',
  ]);
  assert.equal(await verify('whole'), '');
  assert.match(await system('systemctl', 'is-enabled', 'whole'), /^enabled$/m);
  assert.notEqual(await world(), before);
  await done(['rm', '-f', 'whole']);
  assert.equal(await world(), before);
  await runOnce('sh', '-c', 'exit 3');
  assert.equal(await world(), before);
});

test('a name that is taken is refused, by a container and by any other unit', async () => {
  await done(['run', '-d', '--name=taken', image, 'sleep', 'infinity']);
  for (const name of ['taken', 'dbus', 'systemd-journald', 'rc-local']) {
    const { code, err } = await spawnlet(['run', '-d', `--name=${name}`, image, 'true']);
    assert.equal(code, 125, name);
    assert.match(err, /ERR_NAME_TAKEN/);
  }
  assert.match(await system('systemctl', 'is-active', 'taken', 'dbus'), /^active\nactive$/m);
});

/** When systemd last read all unit files. */
const loadedAt = () => system('systemctl', 'show', '-P', 'UnitsLoadTimestampMonotonic');

test('a name that was removed runs the new unit, though systemd had kept the old one for others that want it', async () => {
  const dependant = '/etc/systemd/system/dependant.service';
  await writeFile(
    dependant,
    '[Unit]\nWants=kept.service\nAfter=kept.service\n[Service]\nExecStart=sleep 9999\n',
  );
  const make = (...flags: readonly string[]) =>
    done(['run', '-d', '--network=none', '--name=kept', '--enable', ...flags, image, 'sleep', 'infinity']);
  const before = await loadedAt();
  await make('-m50m');
  assert.equal(await loadedAt(), before, 'a new unit costs no reload');
  await system('systemctl', 'daemon-reload');
  await system('systemctl', 'start', 'dependant');
  await done(['rm', '-f', 'kept']);
  assert.equal(await system('systemctl', 'show', '-P', 'LoadState', 'kept'), 'not-found\n');
  await make('-m200m', '--restart=always');
  const shown = await system('systemctl', 'show', '-pMemoryMax', '-pRestart', 'kept');
  assert.deepEqual(shown.trim().split('\n').sort(), [`MemoryMax=${200 << 20}`, 'Restart=always']);
  await done(['rm', '-f', 'kept']);
  await system('systemctl', 'stop', 'dependant');
  await rm(dependant);
  await system('systemctl', 'daemon-reload');
});

test('rm of a container that nothing else wants reads no unit files again', async () => {
  await done(['run', '-d', '--network=none', '--name=plain', image, 'sleep', 'infinity']);
  const before = await loadedAt();
  await done(['rm', '-f', 'plain']);
  assert.equal(await loadedAt(), before);
});

test('a drop-in is honoured, and stays', async () => {
  await mkdir('/etc/systemd/system/tuned.service.d');
  await writeFile('/etc/systemd/system/tuned.service.d/mine.conf', '[Service]\nMemoryMax=123M\n');
  await done(['run', '-d', '--name=tuned', '-m64m', image, 'sleep', 'infinity']);
  assert.equal(await system('systemctl', 'show', '-P', 'MemoryMax', 'tuned'), `${123 << 20}\n`);
  await done(['rm', '-f', 'tuned']);
  assert.match(await readFile('/etc/systemd/system/tuned.service.d/mine.conf', 'utf8'), /123M/);
  await rm('/etc/systemd/system/tuned.service.d', { recursive: true });
});

test('nothing of an image reaches the unit or is run by its scripts', async () => {
  await done(['run', '-d', '--name=evil', images.ref('hostile')]);
  assert.equal(await done(['wait', 'evil']), '3\n');
  assert.equal(await done(['logs', 'evil']), 'a\n[Service]\nExecStartPost=/bin/touch /tmp/pwned\n');
  const unit = await readFile('/etc/systemd/system/evil.service', 'utf8');
  assert.doesNotMatch(unit, /pwned|EVIL|touch/);
  assert.equal(await verify('evil'), '');
  assert.equal(
    await system(
      'sh',
      '-c',
      'ls /tmp/pwned /var/lib/spawnlet/app/evil/x 2>/dev/null; ls /var/lib/spawnlet/app/evil | grep pwned; :',
    ),
    '',
  );
  assert.doesNotMatch(await system('find', '/var/lib/spawnlet/app/evil', '-name', 'pwned'), /./);
});

test('with --pull always it fetches its image before each start, and starts without a registry too', async () => {
  const made = { 'app/web:1': debianImage({ Cmd: ['echo', 'first'] }) };
  const registry = await startFakeRegistry({ images: made });
  const name = `${registry.host}/app/web:1`;
  await done(['run', '-d', '--name=pulls', '--pull=always', '--tls-verify=false', '-m32m', name]);
  assert.equal(await done(['wait', 'pulls']), '0\n');
  assert.equal(await verify('pulls'), '');
  const start = async () => {
    await system('systemctl', 'start', 'pulls');
    await done(['wait', 'pulls']);
    return done(['logs', '--last-run', 'pulls']);
  };
  assert.equal(await start(), 'first\n');
  made['app/web:1'] = debianImage({ Cmd: ['echo', 'second'] });
  assert.equal(await start(), 'second\n');
  await registry[Symbol.asyncDispose]();
  assert.equal(await start(), 'second\n');
});

/** Processes that fetch the image of a container. */
const fetchers = (name: string) =>
  system(
    'sh',
    '-c',
    `cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'refres[h] ${name}' || :`,
  );

test('a fetch before a start ends with the unit, and renews no container that runs or is another', async () => {
  const marking = (word: string) =>
    debianImage({ Cmd: ['sh', '-c', `echo ${word} > /mark; exec sleep infinity`] });
  const made = { 'app/slow:1': marking('first') };
  let held:
    | { readonly asked: PromiseWithResolvers<void>; readonly go: PromiseWithResolvers<void> }
    | undefined;
  await using registry = await startFakeRegistry({
    images: made,
    script: async () => {
      held?.asked.resolve();
      await held?.go.promise;
      return false;
    },
  });
  const begin = async () => {
    const [asked, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    held = { asked, go };
    await system('systemctl', 'start', '--no-block', 'slow');
    await asked.promise;
    return go;
  };
  const mark = () => done(['exec', 'slow', 'cat', '/mark']);
  const started = async () => (await spawnlet(['exec', 'slow', 'cat', '/mark'])).out !== '' || undefined;
  await done([
    'run',
    '-d',
    '--name=slow',
    '--network=none',
    '--pull=always',
    '--stop-timeout=0',
    '--tls-verify=false',
    `${registry.host}/app/slow:1`,
  ]);
  await done(['stop', 'slow']);
  made['app/slow:1'] = marking('second');

  const late = await begin();
  await system('systemctl', 'kill', '--kill-whom=control', '--signal=KILL', 'slow');
  await eventually(started, 'it starts without the fetch');
  late.resolve();
  await eventually(async () => (await fetchers('slow')) === '0\n', 'the fetch has ended');
  assert.equal(await readFile('/var/lib/spawnlet/app/slow/upper/mark', 'utf8'), 'first\n');
  await done(['stop', 'slow']);

  const never = await begin();
  await done(['rm', '-f', 'slow']);
  await eventually(async () => (await fetchers('slow')) === '0\n', 'the fetch has ended with the unit');
  never.resolve();
  await done([
    'run',
    '-d',
    '--name=slow',
    '--network=none',
    image,
    'sh',
    '-c',
    'echo other > /mark; sleep 999',
  ]);
  assert.equal(await mark(), 'other\n');
});

test('with --pull always it fetches its image with the credentials that it was made with, whose file alone is noted', async () => {
  const made = { 'app/private:1': debianImage({ Cmd: ['echo', 'first'] }) };
  const auth = Buffer.from('me:a-password').toString('base64');
  await using registry = await startFakeRegistry({
    images: made,
    script: ({ authorization }, response) => {
      if (authorization === `Basic ${auth}`) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="private"' }).end();
      return true;
    },
  });
  const name = `${registry.host}/app/private:1`;
  await writeFile(
    join(images.directory, 'auth.json'),
    JSON.stringify({ auths: { [registry.host]: { auth } } }),
  );
  const flags = ['--pull=always', '--tls-verify=false', name];
  const given = [
    { title: 'flag', words: ['--authfile=auth.json'], env: process.env },
    { title: 'variable', words: [], env: { ...process.env, REGISTRY_AUTH_FILE: 'auth.json' } },
  ];
  for (const { title, words, env } of given)
    await done(['run', '-d', `--name=${title}`, ...words, ...flags], { env, cwd: images.directory });
  made['app/private:1'] = debianImage({ Cmd: ['echo', 'second'] });
  for (const { title } of given) {
    await done(['wait', title]);
    await system('systemctl', 'start', title);
    await done(['wait', title]);
    assert.equal(await done(['logs', '--last-run', title]), 'second\n');
    const files = ['config.json', 'start'].map(file => `/var/lib/spawnlet/app/${title}/${file}`);
    const text = await system('cat', ...files, `/etc/systemd/system/${title}.service`);
    assert.match(text, /auth\.json/);
    assert.ok(!text.includes('a-password') && !text.includes(auth));
  }
});

test('works on when spawnlet is gone', async () => {
  await done(['run', '-d', '--name=alone', '--pull=missing', '--stop-timeout=1', image, 'sleep', 'infinity']);
  const unit = await readFile('/etc/systemd/system/alone.service', 'utf8');
  const scripts = await system(
    'cat',
    '/var/lib/spawnlet/app/alone/start',
    '/var/lib/spawnlet/app/alone/stopped',
  );
  assert.doesNotMatch(`${unit}${scripts}`, /dist\/spawnlet|bin\/spawnlet|\bnode\b/);
  await system('systemctl', 'restart', 'alone');
  assert.match(await system('systemctl', 'is-active', 'alone'), /^active$/m);
  await system('systemctl', 'stop', 'alone');
  assert.match(await readFile('/var/lib/spawnlet/app/alone/record', 'utf8'), /"version":1/);
  await rm(join(images.directory, 'images'), { recursive: true });
  await system('systemctl', 'start', 'alone');
  assert.match(await system('systemctl', 'is-active', 'alone'), /^active$/m);
});
