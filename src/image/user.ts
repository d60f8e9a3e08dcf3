import { SpawnletError } from '../host/error.ts';
import { type LayerView, readInLayers } from './lookup.ts';

/** Reads a file of an image or a container; undefined if it is not there. */
export type ReadFile = (path: string) => Uint8Array | undefined;

/** Files of an image. */
const readerOf =
  (layers: readonly LayerView[]): ReadFile =>
  path =>
    readInLayers(layers, path);

/** Who a process of the image runs as. */
export interface ImageUser {
  readonly uid: number;
  readonly gid: number;
  /** Groups of the image's `/etc/group` that list the user; none if the group was named. */
  readonly additionalGids: readonly number[];
  /** Absolute; `/` if the image knows no such user. */
  readonly home: string;
  /** Empty if the image knows no such user. */
  readonly shell: string;
}

interface PasswdLine {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

interface GroupLine {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** Beyond 31 bits, programs have taken IDs for negative numbers, or for 0 (CVE-2024-40635, CVE-2026-46680). */
const idMax = 2 ** 31 - 1;

/**
 * Resolves `user[:group]` of an image's config or of `--user` by the image's own files, as runc's libcontainer does:
 * digits are an ID, whether the files know it or not, anything else is a name that they must know; an empty user is
 * root. Throws `ERR_USER`.
 *
 * @param from layers of an image, or what reads the files of a container
 */
export function lookupUser(from: readonly LayerView[] | ReadFile, spec: string): ImageUser {
  const read = typeof from === 'function' ? from : readerOf(from);
  const [userWord = '', groupWord = '', ...more] = spec.split(':');
  if (more.length > 0) throw unknown(`${JSON.stringify(spec)} is not USER[:GROUP]`);
  const wanted = userWord === '' ? 0 : idOf(userWord);
  const line = parsePasswd(readLines(read, '/etc/passwd')).find(entry =>
    wanted === undefined ? entry.name === userWord : entry.uid === wanted,
  );
  if (!line && wanted === undefined) throw unknown(`the image has no user ${JSON.stringify(userWord)}`);
  const groups = groupWord !== '' || line ? parseGroup(readLines(read, '/etc/group')) : [];
  return {
    uid: line?.uid ?? wanted ?? 0,
    gid: groupWord === '' ? (line?.gid ?? 0) : groupOf(groups, groupWord),
    additionalGids:
      groupWord === '' && line
        ? [...new Set(groups.filter(group => group.members.includes(line.name)).map(group => group.gid))]
        : [],
    home: line?.home.startsWith('/') ? line.home : '/',
    shell: line?.shell ?? '',
  };
}

/** The ID of a group of the image, by name or number; for `--group-add`. Throws `ERR_USER`. */
export function lookupGroup(layers: readonly LayerView[], word: string): number {
  return groupOf(parseGroup(readLines(readerOf(layers), '/etc/group')), word);
}

/** Whether a group of the image has this number. */
export const hasGroup = (layers: readonly LayerView[], gid: number): boolean =>
  parseGroup(readLines(readerOf(layers), '/etc/group')).some(group => group.gid === gid);

function groupOf(groups: readonly GroupLine[], word: string): number {
  const gid = idOf(word) ?? groups.find(group => group.name === word)?.gid;
  if (gid === undefined) throw unknown(`the image has no group ${JSON.stringify(word)}`);
  return gid;
}

/** Undefined for a name. */
function idOf(word: string): number | undefined {
  if (!/^[+-]?\d+$/.test(word)) return undefined;
  const id = /^\d{1,10}$/.test(word) ? Number(word) : Number.NaN;
  if (!(id <= idMax)) throw unknown(`${word} is no ID from 0 to ${idMax}`);
  return id;
}

const unknown = (message: string) =>
  new SpawnletError('ERR_USER', message, {
    hint: 'name a user that the image has, or UID:GID',
    exitCode: 126,
  });

function readLines(read: ReadFile, path: string): string[][] {
  const bytes = read(path);
  const text = bytes === undefined ? '' : Buffer.from(bytes).toString();
  return text
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && !line.startsWith('#'))
    .map(line => line.split(':'));
}

/** A line whose IDs are none is no line: to take them for 0 would make root of its user. */
function parsePasswd(lines: readonly string[][]): PasswdLine[] {
  return lines.flatMap(([name = '', , uidText = '', gidText = '', , home = '', shell = '']) => {
    const uid = fileId(uidText);
    const gid = fileId(gidText);
    return name === '' || uid === undefined || gid === undefined ? [] : [{ name, uid, gid, home, shell }];
  });
}

function parseGroup(lines: readonly string[][]): GroupLine[] {
  return lines.flatMap(([name = '', , gidText = '', members = '']) => {
    const gid = fileId(gidText);
    return name === '' || gid === undefined ? [] : [{ name, gid, members: members.split(',') }];
  });
}

function fileId(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) && Number(text) <= idMax ? Number(text) : undefined;
}
