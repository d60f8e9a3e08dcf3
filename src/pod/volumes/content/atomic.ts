/**
 * Files of a volume, changed all at once, as the kubelet does it and as programs that watch such files expect it:
 *
 *     ..2026_11_28_08_15_00.x7Kq2a/      the files
 *     ..data -> ..2026_11_28_08_15_00.x7Kq2a
 *     app.conf -> ..data/app.conf
 *
 * A change writes a new directory and renames a new `..data` over the old one.
 */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { isErrno, SpawnletError } from '../../../host/error.ts';
import type { Payload, PayloadFile } from './payload.ts';

const current = '..data';
const next = '..data_tmp';

/** Of directories, which a volume's group may search. */
const directoryMode = 0o755;
const ofGroup = { file: 0o440, directory: 0o2550 };

/**
 * Makes a directory hold these files and no others. True if they were not the same before. What a call that was killed has
 * left is put in order. `now` is in milliseconds since 1970, `group` may read all of it.
 */
export function writeAtomically(
  directory: string,
  payload: Payload,
  { group, now }: { readonly group: number | undefined; readonly now: number },
): boolean {
  makeDirectory(directory, group);
  const { mode, gid } = statSync(directory);
  // A call that was killed may have made it, and no more.
  if (gid !== (group ?? 0) || (mode & 0o7777) !== ownMode(group)) own(directory, 0, group, ownMode(group));
  const before = targetOf(directory, current);
  const changed = before === undefined || !isSame(join(directory, before), payload, group);
  sweep(directory, before);
  if (changed) {
    const fresh = writeFiles(directory, payload, group, now);
    symlinkSync(fresh, join(directory, next));
    renameSync(join(directory, next), join(directory, current));
  }
  link(directory, payload);
  if (changed) sweep(directory, targetOf(directory, current));
  return changed;
}

/** Whether a directory holds these files, and nobody is half-way through a change. */
export function holds(directory: string, payload: Payload, group: number | undefined): boolean {
  const now = targetOf(directory, current);
  if (now === undefined || !isSame(join(directory, now), payload, group)) return false;
  const visible = firstNames(payload);
  const there = readdirSync(directory);
  return (
    [...visible].every(name => targetOf(directory, name) === `${current}/${name}`) &&
    there.every(name => name === current || name === now || visible.has(name) || !isOurs(directory, name))
  );
}

/** The link's target; undefined for what is no link. */
function targetOf(directory: string, name: string): string | undefined {
  try {
    return readlinkSync(join(directory, name));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EINVAL', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/** What this file makes beside `..data`: directories of files, and links into the current one. */
const isOurs = (directory: string, name: string): boolean =>
  name.startsWith('..') || (targetOf(directory, name)?.startsWith(`${current}/`) ?? false);

const firstNames = (payload: Payload) =>
  new Set([...payload.keys()].map(path => path.split('/', 1)[0] ?? ''));

/** Of directories. */
const ownMode = (group: number | undefined) => directoryMode | (group === undefined ? 0 : ofGroup.directory);

const modeOf = ({ mode }: PayloadFile, group: number | undefined) =>
  group === undefined ? mode : mode | ofGroup.file;

function isSame(files: string, payload: Payload, group: number | undefined): boolean {
  const stat = statSync(files, { throwIfNoEntry: false });
  if (!stat?.isDirectory() || stat.gid !== (group ?? 0)) return false;
  const there = readdirSync(files, { recursive: true, withFileTypes: true })
    .filter(entry => !entry.isDirectory())
    .map(entry => join(entry.parentPath, entry.name).slice(files.length + 1));
  return (
    there.length === payload.size &&
    there.every(path => {
      const wanted = payload.get(path);
      if (!wanted) return false;
      const { mode, uid, gid, size } = lstatSync(join(files, path));
      return (
        (mode & 0o7777) === modeOf(wanted, group) &&
        uid === wanted.uid &&
        gid === (group ?? 0) &&
        size === wanted.content.length &&
        readFileSync(join(files, path)).equals(wanted.content)
      );
    })
  );
}

/** The files in a directory of their own; its name. */
function writeFiles(directory: string, payload: Payload, group: number | undefined, now: number): string {
  const time = new Date(now).toISOString().slice(0, 19).replaceAll(/[-:T]/g, '_');
  const fresh = mkdtempSync(join(directory, `..${time}.`));
  own(fresh, 0, group, ownMode(group));
  for (const [path, file] of payload) {
    const place = join(fresh, path);
    makeAbove(fresh, path, group);
    writeFileSync(place, file.content, { mode: 0o600, flag: 'wx' });
    own(place, file.uid, group, modeOf(file, group));
  }
  return fresh.slice(directory.length + 1);
}

function makeAbove(base: string, path: string, group: number | undefined): void {
  const above = dirname(path);
  if (above === '.') return;
  makeAbove(base, above, group);
  makeDirectory(join(base, above), group);
}

function makeDirectory(path: string, group: number | undefined): void {
  try {
    mkdirSync(path, directoryMode);
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return;
    throw error;
  }
  own(path, 0, group, ownMode(group));
}

/** The owner first: a change of owner takes set-id bits away. */
function own(path: string, uid: number, group: number | undefined, mode: number): void {
  chownSync(path, uid, group ?? 0);
  chmodSync(path, mode);
}

/** Names that people see, as links into the current directory; those of files that are no more, go. */
function link(directory: string, payload: Payload): void {
  const visible = firstNames(payload);
  for (const name of visible) {
    const target = `${current}/${name}`;
    if (targetOf(directory, name) === target) continue;
    makeRoom(directory, name);
    symlinkSync(target, join(directory, name));
  }
  for (const name of readdirSync(directory))
    if (!name.startsWith('..') && !visible.has(name) && isOurs(directory, name))
      unlinkSync(join(directory, name));
}

/** A subPath of a key that was not there has made an empty directory in its place. */
function makeRoom(directory: string, name: string): void {
  const path = join(directory, name);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  try {
    if (stat?.isDirectory()) rmdirSync(path);
    else if (stat) unlinkSync(path);
  } catch (error) {
    throw new SpawnletError('ERR_IN_THE_WAY', `${path} is in the way of a file of that name`, {
      cause: error,
      hint: `move it away: mv '${path}' '${path}.old'`,
    });
  }
}

/** Removes what is neither the current directory nor the link to it. */
function sweep(directory: string, now: string | undefined): void {
  for (const name of readdirSync(directory))
    if (name.startsWith('..') && name !== current && name !== now)
      rmSync(join(directory, name), { recursive: true, force: true });
}
