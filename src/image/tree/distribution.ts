import { join } from 'node:path';
import { SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import { makeTree } from '../../host/subvolume.ts';
import { readInLayers } from '../lookup.ts';
import type { Places } from './bases.ts';
import {
  archServer,
  bootstrapArgv,
  findBuilder,
  packageMissing,
  runBuilder,
  settingsOf,
} from './bootstrap.ts';
import { dnfLeavings, fedoraKeys, rpmMacros, withScripts } from './fedora.ts';
import type { Tell } from './progress.ts';
import { placeInTree } from './provision.ts';
import type { Recipe } from './recipe.ts';
import { formatTreeSource } from './source.ts';

/** Makes the tree of a distribution in `places.newTree`, by the distribution's own program. Throws `ERR_TREE_BUILD`. */
export async function bootstrap(
  host: Pick<Host, 'children' | 'files'>,
  recipe: Recipe,
  places: Places,
  tell: Tell,
  signal: AbortSignal,
): Promise<void> {
  const { children, files } = host;
  const builder = (await findBuilder(host, recipe)) ?? '';
  const more = recipe.packages.length > 0 ? `, with ${recipe.packages.join(', ')}` : '';
  tell({ step: `Installing ${formatTreeSource(recipe.source)} by ${builder}${more}` });
  const settings = join(places.building, 'settings');
  await files.write(settings, settingsOf(recipe) ?? '', 0o644);
  await makeTree(host, places.newTree, 0o755, signal);
  const failed = (code: number, said: string) => {
    const missing = packageMissing(said);
    if (missing !== undefined)
      return new SpawnletError(
        'ERR_TREE_BUILD',
        `${formatTreeSource(recipe.source)} has no package ${missing}`,
        {
          hint: 'is it spelled right in --packages, and in the parts of the archive that --components names?',
        },
      );
    return new SpawnletError('ERR_TREE_BUILD', `${builder} ended with ${code}:\n${said.slice(-2000)}`, {
      hint: 'it needs a mirror within reach, and the keys of its packages: --mirror, --keyring',
    });
  };
  const argv = bootstrapArgv(recipe, builder, places.newTree, settings);
  if (recipe.source.kind === 'fedora') {
    await requireKeys(files, recipe, recipe.source.release);
    await files.write(join(places.building, '.rpmmacros'), rpmMacros, 0o644);
  }
  try {
    const words = builder === 'dnf' ? withScripts(argv, places.newTree, places.building) : argv;
    await runBuilder(children, words, failed, tell, signal);
  } catch (error) {
    // debootstrap says no more than to look there, and the tree is about to go.
    if (builder === 'debootstrap' && error instanceof SpawnletError)
      error.message += `\n${lastWords(places.newTree, '/debootstrap/debootstrap.log')}`;
    throw error;
  }
  const clean = async (path: string) => files.remove(await placeInTree(children, places.newTree, path));
  if (builder === 'pacstrap') {
    await clean('/var/cache/pacman/pkg');
    const list = await placeInTree(children, places.newTree, '/etc/pacman.d/mirrorlist');
    await files.write(list, `Server = ${archServer(recipe.mirror)}\n`, 0o644);
  } else if (builder === 'dnf') {
    for (const path of dnfLeavings) await clean(path);
  } else {
    // Copies of this host's own.
    await clean('/etc/hostname');
    await clean('/etc/resolv.conf');
  }
}

/** Keys that tell whose packages these are. Throws `ERR_TREE_UNVERIFIED`. */
async function requireKeys(files: Host['files'], recipe: Recipe, release: string): Promise<void> {
  const keys = fedoraKeys(recipe, release);
  if (recipe.insecure || (await files.look(keys))) return;
  throw new SpawnletError('ERR_TREE_UNVERIFIED', `the keys of Fedora's packages are not there: ${keys}`, {
    hint: '--keyring FILE, such as https://fedoraproject.org/fedora.gpg; --insecure takes whatever comes',
  });
}

/** The end of a log of the tree; empty if it has none. */
function lastWords(root: string, path: string): string {
  const text = readInLayers([{ directory: root, opaque: new Set() }], path)?.toString() ?? '';
  return text.trimEnd().split('\n').slice(-5).join('\n');
}
