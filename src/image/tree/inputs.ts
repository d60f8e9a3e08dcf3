import { resolve } from 'node:path';
import { SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import type { ImageStep } from '../executors.ts';
import { Bases } from './bases.ts';
import { checkRecipe, type TreeStep } from './executors.ts';
import { sha256Of } from './fetch.ts';
import { contentDigest } from './provision.ts';
import { isOf, type Recipe, type RecipeOptions, recipeDigest, recipeOf } from './recipe.ts';
import { isUrl, type TreeSource } from './source.ts';

/** What `base prepare` is given beside a source, as it was written. */
export interface RecipeWords extends Omit<RecipeOptions, 'copy' | 'run' | 'origin'> {
  /** `SRC:DST`. */
  readonly copy?: readonly string[];
  readonly run?: readonly string[];
}

/**
 * The recipe of a source with all that can be known of it now: the checksums of the files of this host that go into it,
 * and the recipe of the base that it begins with. Throws what {@link recipeOf} throws, and `ERR_TREE_SOURCE` for files
 * that are not there.
 */
export async function readRecipe(
  host: Pick<Host, 'files' | 'children'>,
  source: TreeSource,
  words: RecipeWords,
  signal: AbortSignal,
): Promise<Recipe> {
  const { copy = [], run = [], ...options } = words;
  const copied = copy.map(text => {
    const [, from = '', target = ''] = /^(.+?):(\/.*)$/.exec(text) ?? [];
    if (from !== '') return { source: resolve(from), target };
    throw new SpawnletError('ERR_FLAG_VALUE', `--copy does not take ${JSON.stringify(text)}`, {
      hint: 'SRC:DST, where DST is an absolute path of the tree: --copy ./motd:/etc/motd',
    });
  });
  const origin =
    source.kind === 'base' ? recipeDigest((await new Bases(host.files).get(source.name)).recipe) : undefined;
  return recipeOf(await known(source, signal), {
    ...options,
    ...(options.keyring !== undefined && { keyring: resolve(options.keyring) }),
    ...(options.signature !== undefined && {
      signature: /^https?:/.test(options.signature) ? options.signature : resolve(options.signature),
    }),
    ...(origin !== undefined && { origin }),
    copy: await Promise.all(
      copied.map(async file => ({
        ...file,
        sha256: await contentDigest(host.children, file.source, signal),
      })),
    ),
    run: await Promise.all(
      run.map(async path => ({ path: resolve(path), sha256: await sha256Of(resolve(path), signal) })),
    ),
  });
}

/** A file with its checksum. One that it was given is checked when the tree is built. */
async function known(source: TreeSource, signal: AbortSignal): Promise<TreeSource> {
  if (source.kind !== 'tar' || source.sha256 !== undefined || isUrl(source.location)) return source;
  return { ...source, sha256: await sha256Of(source.location, signal) };
}

/**
 * The steps that make a base of a recipe: none if it is there. Throws `ERR_BASE_CHANGED` if one of another recipe is.
 * `rebuild` is when a new one was asked for, in milliseconds since 1970.
 */
export async function baseSteps(
  bases: Bases,
  name: string,
  recipe: Recipe,
  rebuild?: number,
): Promise<(ImageStep | TreeStep)[]> {
  const there = await bases.find(name);
  checkRecipe(there, recipe, rebuild);
  if (rebuild === undefined && there && isOf(there, recipe)) return [];
  const { source } = recipe;
  const when = rebuild === undefined ? 'missing' : 'always';
  return [
    ...(source.kind === 'oci' ? [{ do: 'pull-image', reference: source.image, when } as const] : []),
    { do: 'build-base', name, recipe, ...(rebuild !== undefined && { rebuild }) },
  ];
}
