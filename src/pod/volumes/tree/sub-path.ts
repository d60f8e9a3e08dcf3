/** Parts of volumes: how a container is given one without being led out of the volume. docs/decisions has why it is so. */
import {
  closeSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { type Children, ended } from '../../../host/child.ts';
import { isErrno, SpawnletError } from '../../../host/error.ts';
import { handlePath, mountOf, pathOnly } from '../../../host/handle.ts';
import { unmountBelow } from '../../../host/unmount.ts';
import { type Spot, walk } from '../../../host/walk.ts';
import type { BindSubPath } from '../step.ts';

/** A handle that is closed when it is disposed of. */
class Held implements Disposable {
  readonly handle: number;

  constructor(path: string) {
    this.handle = openSync(path, pathOnly);
  }

  [Symbol.dispose](): void {
    closeSync(this.handle);
  }
}

/** Undefined if nothing is there. */
function open(path: string): Held | undefined {
  try {
    return new Held(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/**
 * Binds what lies at the path in the volume at its place. What is bound is what was found: the kernel is given a handle, and
 * no path to follow once more.
 * @throws ERR_SUBPATH if it leads out of the volume, or nowhere.
 */
export async function bindSubPath(step: BindSubPath, children: Children, signal: AbortSignal): Promise<void> {
  using root = open(step.root);
  if (!root) throw blocked(step, 'the volume is not there');
  using spot = find(root.handle, step, step.make);
  if (spot?.found === undefined) throw blocked(step, 'there is nothing at that path');
  await unmountBelow(step.path, children, signal);
  makePlace(step.path, fstatSync(spot.found).isDirectory());
  await bind(spot.found, step, children);
}

/** Whether what the path leads to is bound at its place already. */
export function isBound(step: BindSubPath): boolean {
  using root = open(step.root);
  using place = open(step.path);
  if (!root || !place) return false;
  using spot = find(root.handle, step, false);
  if (spot?.found === undefined) return false;
  using above = new Held(dirname(step.path));
  return mountOf(place.handle) !== mountOf(above.handle) && isSame(spot.found, place.handle);
}

/** Takes back what {@link bindSubPath} did. */
export async function unbindSubPath(path: string, children: Children, signal: AbortSignal): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return;
  await unmountBelow(path, children, signal);
  removePlace(path);
}

function find(root: number, step: BindSubPath, make: boolean): Spot | undefined {
  const follow = (wanted: boolean) =>
    walk(root, step.subPath, {
      last: 'follow',
      outside: 'refused',
      blocked: why => blocked(step, why),
      // As the volume itself: who may write there may write here.
      ...(wanted && { make: 'all', mode: fstatSync(root).mode & 0o7777 }),
    });
  const spot = follow(false);
  if (spot?.found !== undefined || !make) return spot;
  spot?.[Symbol.dispose]();
  return follow(true);
}

function isSame(one: number, other: number): boolean {
  const [a, b] = [one, other].map(handle => fstatSync(handle, { bigint: true }));
  return a?.dev === b?.dev && a?.ino === b?.ino;
}

/** Something of the same kind, for a mount to lie on. */
function makePlace(path: string, isDirectory: boolean): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there && there.isDirectory() !== isDirectory) removePlace(path);
  if (isDirectory) mkdirSync(path, { recursive: true });
  else writeFileSync(path, '', { mode: 0o600 });
}

function removePlace(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    if (!isErrno(error, 'EISDIR', 'EPERM')) throw error;
    rmdirSync(path);
  }
}

async function bind(found: number, step: BindSubPath, children: Children): Promise<void> {
  const child = children.spawn(['mount', '--no-canonicalize', '--bind', handlePath, step.path], {
    stdio: ['ignore', 'ignore', 'pipe', found],
  });
  const [code, said] = await Promise.all([ended(child), buffer(child.stderr as NodeJS.ReadableStream)]);
  if (code !== 0) throw blocked(step, `mount says: ${said.toString().trim()}`);
  using place = new Held(step.path);
  if (!isSame(found, place.handle)) throw new Error(`mount has bound something else at ${step.path}`);
}

function blocked({ volume, subPath }: BindSubPath, why: string): SpawnletError {
  const path = JSON.stringify(subPath);
  return new SpawnletError(
    'ERR_SUBPATH',
    `the subPath ${path} of volume "${volume}" cannot be used: ${why}`,
    {
      hint: 'a subPath is that of something in the volume; a link in it may not lead out',
    },
  );
}
