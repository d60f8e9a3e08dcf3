import { createHash, randomBytes } from 'node:crypto';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { check, systemChildren } from '../../src/host/child.ts';

export interface DebianTar {
  /** Debian's suite that the packages come from. */
  readonly suite: string;
  readonly packages: readonly string[];
  /** Paths below /usr that are left out, as patterns of dpkg's; documentation always is. */
  readonly without?: readonly string[];
}

const documentation = ['share/doc/*', 'share/man/*', 'share/locale/*', 'share/info/*'];

/**
 * A layer of packages and what they depend on, unpacked but not configured: nothing of them is run. Made once in `cache` by
 * mmdebstrap, which takes half a minute and a Debian mirror. Gives the path of the tar.
 */
export async function debianTar(
  cache: string,
  { suite, packages, without = [] }: DebianTar,
): Promise<string> {
  const recipe = createHash('sha256')
    .update(JSON.stringify([suite, packages, without, process.arch]))
    .digest('hex')
    .slice(0, 12);
  const path = join(cache, `${suite}-${recipe}.tar`);
  if (await stat(path).catch(() => undefined)) return path;
  await mkdir(cache, { recursive: true });
  const building = `${path}.${randomBytes(4).toString('hex')}~`;
  // In namespaces of its own, so that a build that is killed leaves no mount behind.
  const confined = 'setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc';
  try {
    await check(systemChildren, [
      ...confined.split(' '),
      'mmdebstrap',
      '--quiet',
      '--variant=extract',
      '--format=tar',
      '--aptopt=APT::Install-Recommends "false"',
      ...[...documentation, ...without].map(name => `--dpkgopt=path-exclude=/usr/${name}`),
      `--include=${packages.join(',')}`,
      suite,
      building,
    ]);
    await rename(building, path);
  } finally {
    await rm(building, { force: true });
  }
  return path;
}
