import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { SpawnletError } from '../host/error.ts';
import type { MachineDependencies } from './change.ts';
import type { Made } from './observe.ts';
import { placesOf } from './places.ts';
import type { MachineStep } from './step.ts';

/** What a tree is to be read from. */
export interface ReadableTree {
  /** Directories that lie over each other, lowest first; one that is all of it. */
  readonly layers: readonly string[];
  /** Where systemd mounts them; undefined if it does not. */
  readonly mount?: string;
}

/** A tree where it can be read. */
export interface TreeView extends Disposable {
  /** Good until it is disposed of, in this process. */
  readonly path: string;
}

const plain = (path: string): TreeView => ({ path, [Symbol.dispose]() {} });

/** Whether another file system begins there than the directory above is on. */
function isMountPoint(path: string): boolean {
  const root = statSync(path, { throwIfNoEntry: false });
  return root !== undefined && root.dev !== statSync(dirname(path)).dev;
}

/**
 * A tree to be read, and nothing on the host is other for it: an overlay that is not mounted is put together for this process
 * alone. Throws `ERR_MACHINE_TREE` if that cannot be.
 */
export async function viewTree({ layers, mount }: ReadableTree): Promise<TreeView> {
  if (mount !== undefined && isMountPoint(mount)) return plain(mount);
  const [only, ...more] = layers;
  if (only !== undefined && more.length === 0) return plain(only);
  const { viewOverlay } = await import('../host/overlay-view.ts');
  try {
    return await viewOverlay(layers);
  } catch (cause) {
    throw new SpawnletError('ERR_MACHINE_TREE', `the tree of ${layers.join(', ')} cannot be read`, {
      cause,
      hint: 'the layers have to be there, and the kernel has to have overlay: grep overlay /proc/filesystems',
    });
  }
}

/** What the tree of a machine is read from. */
export function treeOfMachine({ layers, tree, spec }: Made): ReadableTree {
  const mount = placesOf(spec.name).tree;
  if (layers) return { layers: [...layers.lower, layers.upper], mount };
  return { layers: [tree.kind === 'link' ? tree.path : mount] };
}

/** What has a machine's tree at its place, for steps that need it there; it then stays so. */
export function mountStep({ layers, spec }: Pick<Made, 'layers' | 'spec'>): MachineStep[] {
  return layers ? [{ do: 'start-unit', name: placesOf(spec.name).mountUnit }] : [];
}

/** {@link mountStep} at once, for commands that make no plan. */
export async function mountTree(deps: MachineDependencies, made: Made, signal: AbortSignal): Promise<void> {
  if (made.layers)
    await (await deps.systemd()).startUnit(placesOf(made.spec.name).mountUnit, 'replace', signal);
}
