/** The group of a volume: a pod's fsGroup. */
import {
  chmodSync,
  chownSync,
  closeSync,
  fstatSync,
  lchownSync,
  openSync,
  readdirSync,
  type Stats,
} from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { isErrno } from '../../../host/error.ts';
import { at, enter, mountOf, pathOf, pathOnly } from '../../../host/handle.ts';

/** What the group may do: read and write, and search directories, in which what is made is the group's. */
const ofGroup = { file: 0o660, directory: 0o2770 };

/** Entries that are looked at before others in this process have their turn. */
const breath = 256;

const wantedMode = (stat: Stats) =>
  (stat.mode & 0o7777) | (stat.isDirectory() ? ofGroup.directory : ofGroup.file);

/** Whether a volume looks as if it had been given to the group: its directory is changed last. */
export function isOwned(path: string, group: number): boolean {
  const root = openSync(path, pathOnly);
  try {
    const stat = fstatSync(root);
    return stat.gid === group && (stat.mode & ofGroup.directory) === ofGroup.directory;
  } finally {
    closeSync(root);
  }
}

interface Owning {
  readonly group: number;
  readonly mount: string;
  readonly signal: AbortSignal;
  count: number;
}

/**
 * Gives what is in a directory to a group, then the directory itself. Each entry is changed by a handle, so that none is
 * changed but those that are in it, whatever a container makes of the names meanwhile; other mounts are not entered.
 */
export async function giveToGroup(path: string, group: number, signal: AbortSignal): Promise<void> {
  const root = openSync(path, pathOnly);
  try {
    const owning: Owning = { group, mount: mountOf(root), signal, count: 0 };
    await giveInside(root, owning);
    give(root, group);
  } finally {
    closeSync(root);
  }
}

async function giveInside(directory: number, owning: Owning): Promise<void> {
  for (const name of readdirSync(pathOf(directory), 'latin1')) {
    if (++owning.count % breath === 0) await setImmediate();
    owning.signal.throwIfAborted();
    const entry = enter(directory, name);
    if (entry === undefined) continue;
    try {
      const stat = fstatSync(entry);
      // A link has no mode, and its owner is of no use to anybody; but tools show it.
      if (stat.isSymbolicLink()) giveLink(at(directory, name), stat.uid, owning.group);
      else if (!stat.isDirectory()) give(entry, owning.group);
      else if (mountOf(entry) === owning.mount) {
        await giveInside(entry, owning);
        give(entry, owning.group);
      }
    } finally {
      closeSync(entry);
    }
  }
}

/** A link has no handle to be changed by; a container may have taken it away meanwhile. */
function giveLink(path: string | Buffer, uid: number, group: number): void {
  try {
    lchownSync(path, uid, group);
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
}

/** The owner first: a change of owner takes set-id bits away. What is as it should be is not touched. */
function give(handle: number, group: number): void {
  const stat = fstatSync(handle);
  const mode = wantedMode(stat);
  if (stat.gid !== group) chownSync(pathOf(handle), stat.uid, group);
  if (stat.gid !== group || (stat.mode & 0o7777) !== mode) chmodSync(pathOf(handle), mode);
}
