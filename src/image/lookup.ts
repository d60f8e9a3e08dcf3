import { closeSync, constants, fstatSync, lstatSync, openSync, readlinkSync, readSync } from 'node:fs';
import { isErrno, SpawnletError } from '../host/error.ts';

/** An unpacked layer, as overlayfs sees it. */
export interface LayerView {
  /** Absolute path of its directory. */
  readonly directory: string;
  /** Directories that hide those of lower layers, as byte strings (latin1), relative; the root is `''`. */
  readonly opaque: ReadonlySet<string>;
}

/** What is at a path of the merged view. */
export interface Found {
  readonly kind: 'file' | 'directory' | 'other';
  /** Where it lies on the host. No part of it below the layer's directory is a symbolic link. */
  readonly real: Buffer;
  /** Where it lies in the image, links resolved; a byte string, relative. */
  readonly path: string;
  /** Index of the topmost layer that has it. */
  readonly layer: number;
}

/** Linux's own limit on symbolic links in one path. */
const linkMax = 40;

/** Enough for every passwd, group and os-release there is. */
const readMax = 2 ** 20;

/** One directory of the merged view: the layers that have a part in it, topmost first. */
interface Merged {
  readonly path: string;
  readonly parts: readonly number[];
}

/**
 * Looks a path up in the merged view of layers (lowest first), inside their root: `..` stops there, and links, also
 * absolute ones, start there. Undefined if nothing is there. Throws `ERR_IMAGE_PATH` on a loop of links.
 *
 * The layers are 0700 and change no more once they are in the store, so nobody can move anything in between.
 */
export function resolveInLayers(
  layers: readonly LayerView[],
  path: string,
  last: 'follow' | 'keep' = 'follow',
): Found | undefined {
  const root: Merged = { path: '', parts: rootParts(layers) };
  const chain: Merged[] = [root];
  const todo = split(Buffer.from(path).toString('latin1')).toReversed();
  let links = 0;
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (name === '..') {
      if (chain.length > 1) chain.pop();
      continue;
    }
    const step = enter(layers, chain.at(-1) ?? root, name);
    if (step === undefined) return undefined;
    if ('parts' in step) {
      chain.push(step);
      continue;
    }
    const isLast = todo.length === 0;
    if (step.kind === 'link' && !(isLast && last === 'keep')) {
      if (++links > linkMax)
        throw new SpawnletError(
          'ERR_IMAGE_PATH',
          `${path} leads through too many symbolic links in the image`,
        );
      const target = readlinkSync(step.real, 'latin1');
      if (target.startsWith('/')) chain.length = 1;
      todo.push(...split(target).toReversed());
      continue;
    }
    if (!isLast) return undefined;
    return {
      kind: step.kind === 'file' ? 'file' : 'other',
      real: step.real,
      path: step.path,
      layer: step.layer,
    };
  }
  const { path: found, parts } = chain.at(-1) ?? root;
  const layer = parts[0];
  if (layer === undefined) return undefined;
  return { kind: 'directory', real: realPath(layers, layer, found), path: found, layer };
}

/**
 * The bytes of a regular file of the merged view; undefined if there is none. Throws `ERR_IMAGE_PATH` if something
 * else is there (a FIFO, a device, a directory), or a file of more than 1 MiB.
 */
export function readInLayers(layers: readonly LayerView[], path: string): Buffer | undefined {
  const found = resolveInLayers(layers, path);
  if (!found) return undefined;
  if (found.kind !== 'file')
    throw new SpawnletError('ERR_IMAGE_PATH', `${path} of the image is not a regular file`);
  // The kind was looked at before; the flags keep a mistake there from hanging on a FIFO or following a link.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
  const file = openSync(found.real, flags);
  try {
    const stat = fstatSync(file);
    if (!stat.isFile())
      throw new SpawnletError('ERR_IMAGE_PATH', `${path} of the image is not a regular file`);
    if (stat.size > readMax)
      throw new SpawnletError('ERR_IMAGE_PATH', `${path} of the image is larger than 1 MiB`);
    const bytes = Buffer.alloc(stat.size);
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(file);
  }
}

const split = (path: string) => path.split('/').filter(part => part !== '' && part !== '.');

/** Topmost first, down to the first whose root is opaque. */
function rootParts(layers: readonly LayerView[]): number[] {
  const base = layers.findLastIndex(layer => layer.opaque.has(''));
  return layers
    .map((_layer, index) => index)
    .slice(Math.max(base, 0))
    .toReversed();
}

type Step = Merged | { kind: 'file' | 'link' | 'other'; real: Buffer; path: string; layer: number };

/** One component down, by overlayfs' rules. */
function enter(layers: readonly LayerView[], parent: Merged, name: string): Step | undefined {
  const path = parent.path === '' ? name : `${parent.path}/${name}`;
  const parts: number[] = [];
  for (const layer of parent.parts) {
    const real = realPath(layers, layer, path);
    const stat = look(real);
    if (!stat) continue;
    if (stat.isDirectory()) {
      parts.push(layer);
      if (layers[layer]?.opaque.has(path)) break;
      continue;
    }
    // Whatever is below a whiteout or a file is hidden by it.
    if (parts.length > 0 || (stat.isCharacterDevice() && stat.rdev === 0)) break;
    const kind = stat.isFile() ? 'file' : stat.isSymbolicLink() ? 'link' : 'other';
    return { kind, real, path, layer };
  }
  return parts.length > 0 ? { path, parts } : undefined;
}

function look(real: Buffer) {
  try {
    return lstatSync(real, { throwIfNoEntry: false });
  } catch (error) {
    if (isErrno(error, 'ENOTDIR', 'ENAMETOOLONG')) return undefined;
    throw error;
  }
}

function realPath(layers: readonly LayerView[], layer: number, path: string): Buffer {
  const directory = layers[layer]?.directory ?? '';
  return Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(path, 'latin1')]);
}
