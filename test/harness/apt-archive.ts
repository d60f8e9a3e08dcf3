/** A small archive of Debian packages, signed, for labs that have no way out: the real packages, fetched once by apt. */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { check, systemChildren } from '../../src/host/child.ts';

export interface AptArchiveOptions {
  /** Whose packages these are: `bookworm`. */
  readonly suite: string;
  /** Beside all that are essential or required; what they depend on comes too. */
  readonly packages: readonly string[];
  /** Names that the archive has for the suite, for distributions whose mirrors cannot be reached. */
  readonly alias?: readonly string[];
}

export interface AptArchive {
  /** `dists/` and `pool/` lie in it: what a mirror's URL names. */
  readonly directory: string;
  /** The public key that signed it, in it too. */
  readonly keyring: string;
}

const cache = '/var/cache/spawnlet-test/apt';

/** What every tree of Debian begins with. */
const important = (text: string) =>
  text
    .split('\n\n')
    .filter(each => /^(Essential: yes|Priority: required)$/m.test(each))
    .map(each => /^Package: (.*)$/m.exec(each)?.[1] ?? '');

/** Makes it, or gives the one that was made before: fetching takes half a minute. */
export async function aptArchive({ suite, packages, alias = [] }: AptArchiveOptions): Promise<AptArchive> {
  const wanted = JSON.stringify([6, suite, packages, alias, process.arch]);
  const directory = join(cache, createHash('sha256').update(wanted).digest('hex').slice(0, 12));
  const archive = { directory, keyring: join(directory, 'archive.gpg') };
  if (await stat(directory).catch(() => undefined)) return archive;
  const work = `${directory}.${process.pid}`;
  await rm(work, { recursive: true, force: true });
  await fetch(work, suite, packages);
  await describe(work, [suite, ...alias]);
  for (const name of ['state', 'cache', 'etc', 'gnupg'])
    await rm(join(work, name), { recursive: true, force: true });
  // Two test files may have made it at once: either will do.
  await rename(work, directory).catch(() => rm(work, { recursive: true }));
  return archive;
}

async function fetch(work: string, suite: string, packages: readonly string[]): Promise<void> {
  for (const name of ['state/lists/partial', 'cache/archives/partial', 'etc', 'pool'])
    await mkdir(join(work, name), { recursive: true });
  await writeFile(join(work, 'state/status'), '');
  const keys = '/usr/share/keyrings/debian-archive-keyring.gpg';
  await writeFile(
    join(work, 'etc/sources.list'),
    `deb [signed-by=${keys}] http://deb.debian.org/debian ${suite} main\n`,
  );
  const settings = {
    'Dir::State': join(work, 'state'),
    'Dir::State::status': join(work, 'state/status'),
    'Dir::Cache': join(work, 'cache'),
    'Dir::Etc::sourcelist': join(work, 'etc/sources.list'),
    'Dir::Etc::sourceparts': '-',
    'APT::Install-Recommends': 'false',
    'APT::Sandbox::User': 'root',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  await check(systemChildren, ['apt-get', ...options, '--quiet', 'update']);
  const available = await check(systemChildren, ['apt-cache', ...options, 'dumpavail']);
  const all = [...new Set([...important(available.toString()), 'apt', ...packages])];
  await check(systemChildren, [
    'apt-get',
    ...options,
    '--quiet',
    '--yes',
    '--download-only',
    'install',
    ...all,
  ]);
  // apt takes usrmerge instead, debootstrap wants this one; they exclude each other.
  await check(systemChildren, ['apt-get', ...options, '--quiet', 'download', 'usr-is-merged'], {
    cwd: join(work, 'cache/archives'),
  });
  const archives = join(work, 'cache/archives');
  // apt writes the colon of a version as %3a, which a server would take for a colon.
  for (const name of await readdir(archives))
    if (name.endsWith('.deb'))
      await copyFile(join(archives, name), join(work, 'pool', name.replaceAll('%3a', '.')));
}

const hash = (algorithm: string, bytes: Buffer) => createHash(algorithm).update(bytes).digest('hex');

/** Writes the indexes of the pool, and signs them with a key that exists for this archive alone. */
async function describe(work: string, suites: readonly string[]): Promise<void> {
  const entries: string[] = [];
  for (const name of (await readdir(join(work, 'pool'))).sort()) {
    const path = join(work, 'pool', name);
    const bytes = await readFile(path);
    const fields = (await check(systemChildren, ['dpkg-deb', '--field', path])).toString().trimEnd();
    const sums = `MD5sum: ${hash('md5', bytes)}\nSHA256: ${hash('sha256', bytes)}\n`;
    entries.push(`${fields}\nFilename: pool/${name}\nSize: ${bytes.length}\n${sums}`);
  }
  const index = Buffer.from(entries.map(entry => `${entry}\n`).join(''));
  const architecture = (await check(systemChildren, ['dpkg', '--print-architecture'])).toString().trim();
  const gpg = ['gpg', '--homedir', join(work, 'gnupg'), '--batch', '--quiet', '--yes'];
  await mkdir(join(work, 'gnupg'), { mode: 0o700 });
  const key = ['--passphrase', '', '--quick-gen-key', 'archive of tests', 'ed25519', 'sign', 'never'];
  await check(systemChildren, [...gpg, '--pinentry-mode', 'loopback', ...key]);
  await check(systemChildren, [...gpg, '--output', join(work, 'archive.gpg'), '--export']);
  for (const suite of suites) {
    const dist = join(work, 'dists', suite);
    const path = `main/binary-${architecture}/Packages`;
    await mkdir(join(dist, path, '..'), { recursive: true });
    // debootstrap takes a compressed index only.
    const parts = { [path]: index, [`${path}.gz`]: gzipSync(index) };
    for (const [name, bytes] of Object.entries(parts)) await writeFile(join(dist, name), bytes);
    const release = [
      'Origin: tests',
      `Suite: ${suite}`,
      `Codename: ${suite}`,
      'Date: Sat, 01 Jan 2022 00:00:00 UTC',
      `Architectures: ${architecture}`,
      'Components: main',
      'SHA256:',
      ...Object.entries(parts).map(([name, bytes]) => ` ${hash('sha256', bytes)} ${bytes.length} ${name}`),
    ];
    await writeFile(join(dist, 'Release'), `${release.join('\n')}\n`);
    const sign = (how: string, to: string) =>
      check(systemChildren, [...gpg, '--output', join(dist, to), how, join(dist, 'Release')]);
    await sign('--clearsign', 'InRelease');
    await sign('--detach-sign', 'Release.gpg');
  }
  await check(systemChildren, ['gpgconf', '--homedir', join(work, 'gnupg'), '--kill', 'all']);
}
