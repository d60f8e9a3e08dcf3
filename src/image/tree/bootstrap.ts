import type { Readable } from 'node:stream';
import { type Children, ended, programMissing } from '../../host/child.ts';
import { isErrno, messageOf, SpawnletError } from '../../host/error.ts';
import type { Files } from '../../host/files.ts';
import { hasProgram } from '../../host/program.ts';
import { dnfArgv, dnfSettings } from './fedora.ts';
import { linesOf, type Tell } from './progress.ts';
import type { Recipe } from './recipe.ts';

/** A tree of a Debian archive. */
export interface DebianTree {
  readonly suite: string;
  readonly packages: readonly string[];
  readonly components?: readonly string[];
  readonly mirror?: string;
  readonly keyring?: string;
  readonly insecure?: boolean;
  /** More flags of mmdebstrap's. */
  readonly flags?: readonly string[];
}

/** What a machine needs to boot, to be logged in to, and to have a network. */
const essentials = {
  debian: ['dbus', 'iproute2', 'libpam-systemd', 'login', 'passwd', 'systemd', 'systemd-sysv'],
  arch: ['base'],
} as const;

export function mmdebstrapArgv(tree: DebianTree, root: string): string[] {
  const { mirror, components = [], keyring } = tree;
  const line = `deb [trusted=yes] ${mirror} ${tree.suite} ${components.join(' ') || 'main'}`;
  const archive = mirror === undefined ? [] : [tree.insecure ? line : mirror];
  return [
    'mmdebstrap',
    '--variant=apt',
    '--format=directory',
    ...(tree.flags ?? []),
    ...(components.length > 0 ? [`--components=${components.join(',')}`] : []),
    ...(keyring === undefined ? [] : [`--keyring=${keyring}`]),
    `--include=${tree.packages.join(',')}`,
    tree.suite,
    root,
    ...archive,
  ];
}

export function debootstrapArgv(tree: DebianTree, root: string): string[] {
  const { components = [], keyring } = tree;
  return [
    'debootstrap',
    '--variant=minbase',
    ...(components.length > 0 ? [`--components=${components.join(',')}`] : []),
    ...(keyring === undefined ? [] : [`--keyring=${keyring}`]),
    ...(tree.insecure ? ['--no-check-gpg'] : []),
    `--include=${tree.packages.join(',')}`,
    tree.suite,
    root,
    ...(tree.mirror === undefined ? [] : [tree.mirror]),
  ];
}

/** The mirror of Arch for a machine of x86-64; those of other architectures are other distributions' and have to be named. */
const archMirror = 'https://geo.mirror.pkgbuild.com/$repo/os/$arch';

/** Where pacman's packages lie on a mirror. */
export const archServer = (mirror: string | undefined): string =>
  mirror === undefined ? archMirror : mirror.includes('$repo') ? mirror : `${mirror}/$repo/os/$arch`;

/** pacman.conf(5) for the build alone; the tree gets the one of its own package. */
function pacmanSettings({ mirror, components, keyring, insecure }: Recipe): string {
  const repositories = components.length > 0 ? components : ['core', 'extra'];
  const options = [
    '[options]',
    'Architecture = auto',
    `SigLevel = ${insecure ? 'Never' : 'Required DatabaseOptional'}`,
    'LocalFileSigLevel = Optional',
    ...(keyring === undefined ? [] : [`GPGDir = ${keyring}`]),
  ];
  const parts = repositories.map(name => `\n[${name}]\nServer = ${archServer(mirror)}`);
  return `${[...options, ...parts].join('\n')}\n`;
}

function pacstrapArgv(recipe: Recipe, root: string, settings: string): string[] {
  // Neither the host's keys, of which one is secret, nor its list of mirrors.
  return ['pacstrap', '-C', settings, '-G', '-M', root, ...essentials.arch, ...recipe.packages];
}

/** Programs that can make the tree of a recipe, the best first; empty where none is needed. */
export function buildersOf({ source }: Pick<Recipe, 'source'>): readonly string[] {
  switch (source.kind) {
    case 'debian':
    case 'ubuntu':
      return ['mmdebstrap', 'debootstrap'];
    case 'arch':
      return ['pacstrap'];
    case 'fedora':
      return ['dnf'];
    case 'tar':
    case 'oci':
    case 'directory':
    case 'machine':
    case 'base':
      return [];
  }
}

/** The settings of the program that makes the tree, where it has none on its command line. */
export function settingsOf(recipe: Recipe): string | undefined {
  const { source } = recipe;
  if (source.kind === 'arch') return pacmanSettings(recipe);
  return source.kind === 'fedora' ? dnfSettings(recipe, source.release) : undefined;
}

/** The first of these programs that is installed. Throws `ERR_PROGRAM_MISSING` for the first where none is. */
export async function findBuilder(
  { files }: { readonly files: Files },
  recipe: Pick<Recipe, 'source'>,
): Promise<string | undefined> {
  const wanted = buildersOf(recipe);
  for (const name of wanted) if (await hasProgram(files, name)) return name;
  const [best] = wanted;
  if (best !== undefined) throw programMissing(best);
  return undefined;
}

/** The command that makes the tree of a distribution in `root`; `settings` is a file with what {@link settingsOf} gives. */
export function bootstrapArgv(recipe: Recipe, builder: string, root: string, settings: string): string[] {
  const { source } = recipe;
  if (source.kind === 'arch') return pacstrapArgv(recipe, root, settings);
  if (source.kind === 'fedora') return dnfArgv(recipe, source.release, root, settings);
  if (source.kind !== 'debian' && source.kind !== 'ubuntu')
    throw new Error(`${source.kind} is not made by ${builder}`);
  const { mirror, keyring, insecure, components } = recipe;
  const tree: DebianTree = {
    suite: source.suite,
    packages: [...new Set([...essentials.debian, ...recipe.packages])].sort(),
    components,
    insecure,
    ...(mirror !== undefined && { mirror }),
    ...(keyring !== undefined && { keyring }),
  };
  return builder === 'mmdebstrap' ? mmdebstrapArgv(tree, root) : debootstrapArgv(tree, root);
}

/**
 * A command in process and mount namespaces of its own, which end with it, and it with us: a killed build leaves a
 * directory and nothing else.
 */
export const confined = (argv: readonly string[]): string[] => [
  ...'setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc'.split(' '),
  ...argv,
];

/** What is kept of what a builder says. */
const sayingMax = 16_384;

/**
 * Runs a program that makes or changes a tree, in namespaces of its own, and tells what it says. Throws what `failed` makes of its
 * exit code and its last words. unshare(1) ignores SIGTERM while it waits, so an abort is SIGKILL; the namespace's processes go with it.
 */
export async function runBuilder(
  children: Children,
  argv: readonly string[],
  failed: (code: number, said: string) => SpawnletError,
  tell: Tell,
  signal: AbortSignal,
): Promise<void> {
  const child = children.spawn(confined(argv), {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
    cwd: '/',
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    // As mmdebstrap and debootstrap mark what is no error.
    const lines = linesOf(line => tell({ says: line.replace(/^I: /, '') }));
    (stream as Readable).setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-sayingMax);
      lines(text);
    });
  }
  const closed = new Promise(resolve => child.once('close', resolve));
  const code = await ended(child).catch(async (error: unknown) => {
    if (!signal.aborted) throw error;
    // Nobody may write into the tree any more when it is removed.
    await closed;
    throw signal.reason;
  });
  if (code === 0) return;
  if (code === 127) throw programMissing(argv[0] ?? '');
  // What mmdebstrap and debootstrap have to say beside their errors.
  throw failed(code, said.replaceAll(/^I: .*\n/gm, '').trim());
}

/** The first package that apt could not find, by what the builder said. */
export const packageMissing = (said: string): string | undefined =>
  /^E: Unable to locate package (\S+)/m.exec(said)?.[1];

/** A full disk, however it was told. */
export function asFull(error: unknown): unknown {
  const isFull =
    isErrno(error, 'ENOSPC', 'EDQUOT', 'ERR_STORE_FULL') ||
    /No space left on device|Disk quota exceeded|ENOSPC/.test(messageOf(error));
  if (!isFull) return error;
  return new SpawnletError('ERR_STORE_FULL', 'there is no space left for the base; nothing of it was kept', {
    hint: 'spawnlet base prune, spawnlet image prune, or give the file system of /var/lib/spawnlet more space',
    cause: error,
  });
}
