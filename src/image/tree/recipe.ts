import { sha256 } from '../../host/digest.ts';
import { SpawnletError } from '../../host/error.ts';
import { isUrl, labelOf, type TreeBuild, type TreeSource } from './source.ts';

/** A file or directory of the host that comes into a tree. */
export interface CopiedFile {
  readonly source: string;
  readonly target: string;
  /** Of what is copied. */
  readonly sha256: string;
}

export interface Script {
  readonly path: string;
  readonly sha256: string;
}

/** Everything that the tree of a base follows from, as far as it can be known before. */
export interface Recipe extends TreeBuild {
  readonly source: TreeSource;
  /** Of what {@link source} names, where that is known: the digest of the base that this one is made from. */
  readonly origin?: string;
  /** Of the tarball: a path or a URL. */
  readonly signature?: string;
  readonly copy: readonly CopiedFile[];
  /** Scripts of the host that run in the tree, in order. */
  readonly run: readonly Script[];
  /** What scripts can reach. */
  readonly network: 'none' | 'host';
}

export type RecipeOptions = Partial<Omit<Recipe, 'source'>>;

/** Of Debian, Arch and Fedora; `=` and a version may follow. None begins with a dash, so none is taken for a flag. */
const packagePattern = /^[A-Za-z0-9@][A-Za-z0-9@._+:~=-]{0,200}$/;

const bad = (flag: string, value: string, hint: string) =>
  new SpawnletError('ERR_FLAG_VALUE', `${flag} does not take ${JSON.stringify(value)}`, { hint });

/** The recipe of a source and how it is to be built, validated. Throws `ERR_FLAG_VALUE` and `ERR_TREE_UNVERIFIED`. */
export function recipeOf(source: TreeSource, options: RecipeOptions = {}): Recipe {
  const { mirror, keyring, signature, origin } = options;
  const recipe: Recipe = {
    source,
    packages: [...new Set(options.packages ?? [])].sort(),
    components: options.components ?? [],
    insecure: options.insecure ?? false,
    copy: options.copy ?? [],
    run: options.run ?? [],
    network: options.network ?? 'none',
    ...(mirror !== undefined && { mirror }),
    ...(keyring !== undefined && { keyring }),
    ...(signature !== undefined && { signature }),
    ...(origin !== undefined && { origin }),
  };
  for (const name of recipe.packages)
    if (!packagePattern.test(name)) throw bad('--packages', name, 'names of packages: --packages curl,vim');
  for (const name of recipe.components)
    if (!/^[a-z0-9][a-z0-9-]{0,40}$/.test(name))
      throw bad('--components', name, '--components main,universe');
  if (mirror !== undefined && !/^(https?|file|copy):\/[^\s\p{Cc}"'[\]]+$/u.test(mirror))
    throw bad('--mirror', mirror, '--mirror https://deb.debian.org/debian');
  if (keyring !== undefined && !/^\/[^\s\p{Cc}"'[\]]+$/u.test(keyring))
    throw bad('--keyring', keyring, '--keyring /usr/share/keyrings/debian-archive-keyring.gpg');
  if (signature !== undefined && keyring === undefined)
    throw bad('--signature', signature, 'with --keyring FILE, the keys that may have made it');
  for (const { target } of recipe.copy)
    if (!target.startsWith('/') || target.split('/').includes('..'))
      throw bad('--copy', target, 'SRC:DST, where DST is an absolute path of the tree');
  refuseUnfit(recipe);
  refuseUnverified(recipe);
  return recipe;
}

/** What a source does not know is refused by name. */
function refuseUnfit({ source, mirror, components, keyring, signature }: Recipe): void {
  const archives = ['debian', 'ubuntu', 'arch', 'fedora'];
  const refuse = (flag: string, value: string) => {
    throw bad(flag, value, `${flag} is not for --from ${source.kind}: leave it out`);
  };
  if (mirror !== undefined && !archives.includes(source.kind)) refuse('--mirror', mirror);
  if (components.length > 0 && !['debian', 'ubuntu', 'arch'].includes(source.kind))
    refuse('--components', components.join());
  if (keyring !== undefined && ![...archives, 'tar'].includes(source.kind)) refuse('--keyring', keyring);
  if (signature !== undefined && source.kind !== 'tar') refuse('--signature', signature);
}

function refuseUnverified({ source, signature, insecure }: Recipe): void {
  if (source.kind !== 'tar' || !isUrl(source.location) || insecure) return;
  if (source.sha256 !== undefined || signature !== undefined) return;
  throw new SpawnletError(
    'ERR_TREE_UNVERIFIED',
    `nothing tells whether ${source.location} is what it should be`,
    {
      hint: 'add --sha256 DIGEST, or --signature URL --keyring FILE; --insecure takes whatever comes',
    },
  );
}

/** What the tree follows from: where a file lies says nothing where its content is known. */
function identity(recipe: Recipe): Readonly<Record<string, unknown>> {
  const { source, copy, run, ...rest } = recipe;
  const known = source.kind === 'tar' && source.sha256 !== undefined;
  return {
    ...rest,
    source: known ? { kind: source.kind, sha256: source.sha256 } : source,
    copy: copy.map(({ target, sha256 }) => [target, sha256]),
    run: run.map(({ sha256 }) => sha256),
  };
}

/** JSON with its keys in order: what was read from a file gives the same text. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    part !== null && typeof part === 'object' && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

/** SHA-256 in hex of what the tree follows from. */
export function recipeDigest(recipe: Recipe): string {
  return sha256(canonical(identity(recipe))).toString('hex');
}

/** Whether a tree follows from a recipe. */
export const isOf = ({ recipe }: { readonly recipe: Recipe }, wanted: Recipe): boolean =>
  recipeDigest(recipe) === recipeDigest(wanted);

/** The name of a base that stands for a source, where nobody gave it one: `debian-bookworm-1a2b3c4d`. */
export function baseNameOf(recipe: Recipe): string {
  return `${labelOf(recipe.source)}-${recipeDigest(recipe).slice(0, 8)}`;
}

/** The parts in which two recipes differ: `packages`, `run`. */
export function differences(a: Recipe, b: Recipe): string[] {
  const [one, other] = [identity(a), identity(b)];
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...keys].filter(key => canonical(one[key] ?? null) !== canonical(other[key] ?? null)).sort();
}
