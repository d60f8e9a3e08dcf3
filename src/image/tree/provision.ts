import { createHash } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { type Children, check, ended } from '../../host/child.ts';
import { SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import { canSnapshot, makeTree, snapshotWords, withoutMounts } from '../../host/subvolume.ts';
import { resolveInLayers } from '../lookup.ts';
import { runBuilder } from './bootstrap.ts';
import type { Tell } from './progress.ts';
import type { CopiedFile, Recipe, Script } from './recipe.ts';

/** What changes a tree that is there: packages by its own package manager, files of the host, scripts. */

/** SHA-256 in hex of a file or directory, its names, modes and contents; whose it is and when it was written is left out. */
export async function contentDigest(children: Children, path: string, signal: AbortSignal): Promise<string> {
  if (!(await lstat(path).catch(() => undefined)))
    throw new SpawnletError('ERR_TREE_SOURCE', `${path} is not there`, {
      hint: 'check the path; a relative one begins at the working directory',
    });
  const argv = ['tar', '--create', '--file=-', '--sort=name', '--format=gnu', '--mtime=@0', '--owner=0'];
  argv.push('--group=0', '--numeric-owner', `--directory=${posix.dirname(path)}`);
  // The file's own name says nothing; targets of links do.
  argv.push('--transform=flags=r;s,^\\./[^/]*,content,', '--', `./${posix.basename(path)}`);
  const child = children.spawn(argv, { stdio: ['ignore', 'pipe', 'pipe'], signal });
  const end = ended(child);
  end.catch(() => undefined);
  child.stderr?.resume();
  const hash = createHash('sha256');
  for await (const chunk of child.stdout as Readable) hash.update(chunk as Buffer);
  if ((await end) !== 0)
    throw new SpawnletError('ERR_TREE_SOURCE', `${path} cannot be read`, { hint: `ls -lR '${path}'` });
  return hash.digest('hex');
}

/**
 * A path of the host for a path of the tree, whose links are resolved inside of the tree: those of a hostile tree lead
 * nowhere else. Directories that lead there are made. Nothing of the tree may run meanwhile.
 */
export async function placeInTree(children: Children, root: string, path: string): Promise<string> {
  const view = [{ directory: root, opaque: new Set<string>() }];
  const parts = posix.normalize(path).split('/').filter(Boolean);
  const name = parts.pop();
  if (name === undefined || parts.includes('..') || name === '..') throw unplaced(path);
  for (let length = parts.length; length >= 0; length--) {
    const found = resolveInLayers(view, `/${parts.slice(0, length).join('/')}`);
    if (!found) {
      // A link to nothing is in the way of a directory.
      if (resolveInLayers(view, `/${parts.slice(0, length).join('/')}`, 'keep')) throw unplaced(path);
      continue;
    }
    if (found.kind !== 'directory') throw unplaced(path);
    const real = found.real.toString().replace(/\/+$/, '');
    const rest = parts.slice(length);
    if (rest.length > 0) await check(children, ['mkdir', '--parents', '--', [real, ...rest].join('/')]);
    return [real, ...rest, name].join('/');
  }
  throw unplaced(path);
}

const unplaced = (path: string) =>
  new SpawnletError('ERR_TREE_PATH', `${path} cannot be made in the tree: something else is in the way`, {
    hint: 'another path for --copy',
  });

/** Brings a file or directory of the host into the tree, owned by root. What is there is replaced; directories are merged. */
export async function copyInto(children: Children, root: string, file: CopiedFile, signal: AbortSignal) {
  const into = file.target.endsWith('/') ? `${file.target}${posix.basename(file.source)}` : file.target;
  if ((await contentDigest(children, file.source, signal)) !== file.sha256) throw changed(file.source);
  const target = await placeInTree(children, root, into);
  const argv = ['cp', '--recursive', '--no-dereference', '--preserve=mode,timestamps,links,xattr'];
  await check(children, [...argv, '--remove-destination', '-T', '--', file.source, target], { signal });
}

const copy = ['cp', '--archive', '--reflink=auto', '-T'];

type Hands = Pick<Host, 'children' | 'files'>;

/** Copies a whole tree as it is, with owners and attributes; shared blocks where the file system has them. */
export async function copyTree(host: Hands, from: string, to: string, signal: AbortSignal): Promise<void> {
  await makeTree(host, to, 0o755, signal);
  await check(host.children, [...copy, '--one-file-system', '--', from, to], { signal });
}

/** The same of a tree of spawnlet's own, with the subvolumes in it; a snapshot where there can be one. */
export async function cloneTree(host: Hands, from: string, to: string, signal: AbortSignal): Promise<void> {
  if (await canSnapshot(host.files, from, to)) {
    await check(host.children, snapshotWords(from, to), { signal });
    return;
  }
  await makeTree(host, to, 0o755, signal);
  await check(host.children, withoutMounts(from, [...copy, '--', from, to]), { signal });
}

/** Runs a command in the tree. It has the host's network, or none; its `/run` and `/dev` do not stay. */
async function runInside(
  children: Children,
  root: string,
  network: Recipe['network'],
  words: { readonly binds: readonly string[]; readonly command: readonly string[] },
  what: string,
  tell: Tell,
  signal: AbortSignal,
): Promise<void> {
  const argv = [
    'systemd-nspawn',
    '--quiet',
    '--register=no',
    '--keep-unit',
    '--as-pid2',
    '--console=pipe',
    '--link-journal=no',
    '--timezone=off',
    `--directory=${root}`,
    ...(network === 'none' ? ['--private-network', '--resolv-conf=off'] : ['--resolv-conf=bind-host']),
    ...words.binds,
    ...words.command,
  ];
  const failed = (code: number, said: string) =>
    new SpawnletError('ERR_TREE_BUILD', `${what} ended with ${code}:\n${said.slice(-2000)}`, {
      hint: network === 'none' ? 'does it need a network? --network host' : 'its words are above',
    });
  await runBuilder(children, argv, failed, tell, signal);
}

/**
 * Runs a script of the host in the tree: by what its first line names, else by /bin/sh. What runs is a copy at `copy`, so
 * that it is what the recipe says and can be executed.
 */
export async function runScript(
  children: Children,
  root: string,
  { path, sha256 }: Script,
  options: { readonly network: Recipe['network']; readonly copy: string; readonly tell: Tell },
  signal: AbortSignal,
): Promise<void> {
  options.tell({ step: `Running ${path}` });
  const inside = '/run/spawnlet-script';
  const { readFile, writeFile } = await import('node:fs/promises');
  const content = await readFile(path);
  if (createHash('sha256').update(content).digest('hex') !== sha256) throw changed(path);
  await writeFile(options.copy, content, { mode: 0o755 });
  const words = {
    binds: [`--bind-ro=${options.copy}:${inside}`],
    command: content.toString('latin1', 0, 2) === '#!' ? [inside] : ['/bin/sh', '-e', inside],
  };
  await runInside(children, root, options.network, words, `--run ${path}`, options.tell, signal);
}

const changed = (path: string) =>
  new SpawnletError('ERR_TREE_CHECKSUM', `${path} has changed since the build was asked for`, {
    hint: 'the same command again',
  });

const install = `set -e
if command -v apt-get; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get --quiet update
  apt-get --quiet --yes --no-install-recommends install "$@"
  apt-get clean
elif command -v pacman; then pacman --sync --refresh --noconfirm --needed "$@"
elif command -v dnf; then dnf --assumeyes install "$@"
elif command -v zypper; then zypper --non-interactive install "$@"
elif command -v apk; then apk add "$@"
else echo 'the tree has no package manager that is known' >&2; exit 1
fi >/dev/null
`;

/** Adds packages to a tree that was not made of packages, by its own package manager, from its own archives. */
export async function installPackages(
  children: Children,
  root: string,
  packages: readonly string[],
  tell: Tell,
  signal: AbortSignal,
): Promise<void> {
  tell({ step: `Installing ${packages.join(', ')} by the tree's own package manager` });
  const words = { binds: [], command: ['/bin/sh', '-c', install, 'sh', ...packages] };
  await runInside(children, root, 'host', words, `--packages ${packages.join()}`, tell, signal);
}
