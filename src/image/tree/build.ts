import { join } from 'node:path';
import { check } from '../../host/child.ts';
import { isErrno, SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import { makeTree, removeTree } from '../../host/subvolume.ts';
import { layersDirectory, machinesDirectory, persistentUnits } from '../../names.ts';
import { escapePath } from '../../systemd/escape.ts';
import { lockTree } from '../../systemd/tree-lock.ts';
import { resolveInLayers } from '../lookup.ts';
import { formatReference, parseReference } from '../reference.ts';
import type { Store } from '../store.ts';
import { baseTree, type Places } from './bases.ts';
import { asFull, buildersOf, runBuilder } from './bootstrap.ts';
import { bootstrap } from './distribution.ts';
import { localFile, sha256Of } from './fetch.ts';
import type { Tell } from './progress.ts';
import { cloneTree, copyInto, copyTree, installPackages, runScript } from './provision.ts';
import type { Recipe } from './recipe.ts';
import { unpackRootfs } from './rootfs.ts';
import { formatTreeSource, isUrl } from './source.ts';

export interface BuildDependencies {
  readonly host: Pick<Host, 'children' | 'files' | 'clock'>;
  readonly store: () => Promise<Store>;
  readonly env: NodeJS.ProcessEnv;
  /** Who is told what it does. */
  readonly tell: Tell;
}

/** What a build gives: bytes on the disk. */
export interface Built {
  readonly size: number;
}

/**
 * Makes the tree of a recipe in `places.building`, which holds nothing of a tree yet. It runs in a unit of its own, whose
 * end is also that of all its children. Throws a {@link SpawnletError} that says what is wrong; what is there then is
 * for the caller to remove.
 */
export async function buildTree(
  dependencies: BuildDependencies,
  recipe: Recipe,
  places: Places,
  signal: AbortSignal,
): Promise<Built> {
  const { tell, host } = dependencies;
  const { children } = host;
  try {
    await begin(dependencies, recipe, places, signal);
    if (buildersOf(recipe).length === 0 && recipe.packages.length > 0)
      await installPackages(children, places.newTree, recipe.packages, tell, signal);
    for (const file of recipe.copy) {
      tell({ step: `Copying ${file.source} to ${file.target}` });
      await copyInto(children, places.newTree, file, signal);
    }
    const options = { network: recipe.network, copy: join(places.building, 'script'), tell };
    for (const script of recipe.run) await runScript(children, places.newTree, script, options, signal);
    requireSystem(places.newTree, recipe);
    const argv = ['du', '--summarize', '--block-size=1', '--one-file-system', places.newTree];
    return { size: Number.parseInt((await check(children, argv)).toString(), 10) };
  } catch (error) {
    signal.throwIfAborted();
    throw asFull(error);
  }
}

async function begin(
  dependencies: BuildDependencies,
  recipe: Recipe,
  places: Places,
  signal: AbortSignal,
): Promise<void> {
  const { host, env, tell } = dependencies;
  const { children, files } = host;
  const { source } = recipe;
  const tree = places.newTree;
  switch (source.kind) {
    case 'debian':
    case 'ubuntu':
    case 'arch':
    case 'fedora':
      return bootstrap(host, recipe, places, tell, signal);
    case 'tar': {
      if (isUrl(source.location)) tell({ step: `Fetching ${source.location}` });
      const path = await localFile(source.location, join(places.building, 'download'), env, signal);
      await verify(dependencies, recipe, path, places, signal);
      tell({ step: `Unpacking ${source.location}` });
      const jail = join(places.building, 'jail');
      await files.makeDirectory(jail, 0o755);
      await makeTree(host, tree, 0o755, signal);
      await unpackRootfs(children, path, { root: tree, jail }, signal);
      await files.remove(join(places.building, 'download'));
      await unwrap(host, places, signal);
      return;
    }
    case 'oci':
      tell({ step: `Merging the layers of ${source.image}` });
      return copyImage(dependencies, source.image, places, signal);
    case 'directory':
      requireSystem(source.path, recipe);
      tell({ step: `Copying ${source.path}` });
      return copyTree(host, source.path, tree, signal);
    case 'base':
      tell({ step: `Copying base ${source.name}` });
      return cloneTree(host, baseTree(source.name), tree, signal);
    case 'machine': {
      const path = await stoppedMachine(host, source.name);
      using lock = await lockTree(path);
      if (!lock) throw runs(source.name);
      tell({ step: `Copying machine ${source.name}` });
      return await cloneTree(host, path, tree, signal);
    }
  }
}

/** The file is what its checksum and its signature say. */
async function verify(
  { host, env }: BuildDependencies,
  { source, signature, keyring }: Recipe,
  path: string,
  places: Places,
  signal: AbortSignal,
): Promise<void> {
  if (source.kind !== 'tar') return;
  const digest = source.sha256 === undefined ? undefined : await sha256Of(path, signal);
  if (digest !== source.sha256)
    throw new SpawnletError(
      'ERR_TREE_CHECKSUM',
      `${source.location} has sha256 ${digest}, not ${source.sha256}`,
      { hint: 'it is another file than the one whose checksum this is, or was damaged on its way' },
    );
  if (signature === undefined || keyring === undefined) return;
  const proof = await localFile(signature, join(places.building, 'signature'), env, signal);
  const { code, stderr } = await host.children.capture(['gpgv', '--keyring', keyring, proof, path], {
    signal,
  });
  if (code !== 0)
    throw new SpawnletError(
      'ERR_TREE_CHECKSUM',
      `${source.location} has no good signature: ${stderr.trim()}`,
      {
        hint: `gpgv --keyring ${keyring} SIGNATURE FILE`,
      },
    );
}

/** Images of LXD and incus have the root file system in `rootfs/`, beside what describes it. */
async function unwrap(
  host: Pick<Host, 'files' | 'children'>,
  { newTree, building }: Places,
  signal: AbortSignal,
): Promise<void> {
  const { files } = host;
  const inner = join(newTree, 'rootfs');
  if ((await files.look(join(newTree, 'usr'))) || (await files.look(inner))?.kind !== 'directory') return;
  const whole = join(building, 'whole');
  await files.move(newTree, whole);
  try {
    await files.move(join(whole, 'rootfs'), newTree);
  } catch (error) {
    // Out of a subvolume nothing is moved but subvolumes.
    if (!isErrno(error, 'EXDEV')) throw error;
    await copyTree(host, join(whole, 'rootfs'), newTree, signal);
  }
  await removeTree(host, whole);
}

/** systemd-nspawn starts nothing without /usr. */
function requireSystem(root: string, { source }: Recipe): void {
  if (hasUsr(root)) return;
  throw new SpawnletError(
    'ERR_TREE_EMPTY',
    `${formatTreeSource(source)} holds no operating system: /usr is missing`,
    { hint: 'the root file system of a distribution is needed' },
  );
}

function hasUsr(root: string): boolean {
  try {
    return resolveInLayers([{ directory: root, opaque: new Set() }], '/usr')?.kind === 'directory';
  } catch (error) {
    // A link that goes in circles.
    if (error instanceof SpawnletError && error.code === 'ERR_IMAGE_PATH') return false;
    throw error;
  }
}

const merge = `set -e
cd "$1"
mount -t overlay -o "ro,lowerdir=$2" overlay "$3"
exec cp --archive -T "$3" "$4"
`;

/** The layers of an image as one tree. They are kept from a prune until they are copied. */
async function copyImage(
  dependencies: BuildDependencies,
  reference: string,
  places: Places,
  signal: AbortSignal,
): Promise<void> {
  const { host, store } = dependencies;
  const images = await store();
  const image = await images.get(await imageName(dependencies, reference, signal));
  await using _lease = await images.lease(
    image.layers.map(layer => layer.key),
    signal,
  );
  const [mountPoint, empty] = ['merged', 'empty'].map(name => join(places.building, name)) as [
    string,
    string,
  ];
  for (const path of [mountPoint, empty]) await host.files.makeDirectory(path, 0o755);
  await makeTree(host, places.newTree, 0o755, signal);
  // overlayfs wants two lower directories at least; the root's mode and owner are those of the topmost.
  const lower = [...images.overlay(image).toReversed(), empty].join(':');
  const argv = ['sh', '-c', merge, 'sh', layersDirectory, lower, mountPoint, places.newTree];
  const failed = (code: number, said: string) =>
    new SpawnletError('ERR_TREE_BUILD', `the layers could not be merged (${code}): ${said}`, {
      hint: 'spawnlet doctor tells whether overlays work here',
    });
  await runBuilder(host.children, argv, failed, dependencies.tell, signal);
}

/** What the store calls an image: a layout or an archive says it itself. */
async function imageName(
  { host, env }: BuildDependencies,
  text: string,
  signal: AbortSignal,
): Promise<string> {
  const reference = parseReference(text);
  if (reference.transport === 'docker') return formatReference(reference);
  const { openSource } = await import('../source-of.ts');
  await using source = await openSource(reference, { host, env }, signal);
  return source.name;
}

/** The tree of a machine, mounted if it is a clone. Throws `ERR_TREE_SOURCE` if it runs or is not there. */
export async function stoppedMachine(
  { children, files }: Pick<Host, 'children' | 'files'>,
  name: string,
): Promise<string> {
  const path = join(machinesDirectory, name);
  const mount = `${escapePath(path)}.mount`;
  if (await files.look(join(persistentUnits, mount))) await check(children, ['systemctl', 'start', mount]);
  else if (!(await files.look(path)))
    throw new SpawnletError('ERR_TREE_SOURCE', `there is no machine ${name}`, {
      hint: 'machinectl list-images',
    });
  const { stdout } = await children.capture(['systemctl', 'is-active', `systemd-nspawn@${name}.service`]);
  // Also while it starts or stops: `activating`, `deactivating`, `reloading`.
  if (/activ|load/.test(stdout.toString().replace('inactive', ''))) throw runs(name);
  return path;
}

const runs = (name: string) =>
  new SpawnletError('ERR_TREE_SOURCE', `machine ${name} runs, so its tree may change while it is copied`, {
    hint: `machinectl poweroff ${name}`,
  });
