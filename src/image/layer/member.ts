import { type Entry, type Kind, normalise, refuse, type Xattr } from './entry.ts';
import type { Header } from './header.ts';
import { type Records, recordNumber, recordTime } from './pax.ts';

/** What the special headers before a member said of it. */
export interface Extension {
  readonly records: Records;
  readonly longName: string | undefined;
  readonly longTarget: string | undefined;
}

const kinds: Readonly<Record<string, Kind>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};

/** What the kernel takes: XATTR_SIZE_MAX and XATTR_NAME_MAX. */
const xattrSize = 65_536;
const xattrName = 255;

/** The largest ids that every tool takes for what they are; runc's own limit. */
const idMax = 2 ** 31 - 1;

/** 12 bits of major number and 20 of minor: dev_t of Linux. */
const majorMax = 2 ** 12 - 1;
const minorMax = 2 ** 20 - 1;

/** The time that ends the range of ext4's and XFS's inodes; a later one is taken for 1970, as Docker does. */
const timeMax = 2 ** 34 - 1;

/** A member as spawnlet understands it, from its header and what was said before; refuses what is not supported. */
export function parseMember(header: Header, extension: Extension): Entry {
  const { records } = extension;
  const name = said(records.get('path')) ?? extension.longName ?? header.name;
  const kind = kindOf(header, name);
  for (const key of records.keys())
    if (key.startsWith('GNU.sparse.')) throw refuse('ERR_LAYER_SPARSE', 'a sparse file', name);
  const path = normalise(name);
  const uid = idOf(recordNumber(records, 'uid') ?? header.uid, 'user', path);
  const gid = idOf(recordNumber(records, 'gid') ?? header.gid, 'group', path);
  const time = recordTime(records, 'mtime') ?? { seconds: header.mtime, nanoseconds: 0 };
  const inRange = time.seconds >= 0 && time.seconds <= timeMax;
  const size = recordNumber(records, 'size') ?? header.size;
  if (size < 0) throw refuse('ERR_LAYER_HEADER', 'a negative size', path);
  const target = said(records.get('linkpath')) ?? extension.longTarget ?? header.target;
  return {
    kind,
    path,
    mode: header.mode,
    uid,
    gid,
    size: kind === 'file' ? size : 0,
    mtime: inRange ? time.seconds : 0,
    nanoseconds: inRange ? time.nanoseconds : 0,
    target: targetOf(kind, target, path),
    ...deviceOf(kind, header, path),
    xattrs: xattrsOf(kind, records, path),
  };
}

const said = (value: string | undefined) => (value === '' ? undefined : value);

function kindOf(header: Header, name: string): Kind {
  // V7 archives have no type for directories.
  if (header.type === '\0' && name.endsWith('/')) return 'directory';
  if (header.type === 'S') throw refuse('ERR_LAYER_SPARSE', 'a sparse file', name);
  const kind = kinds[header.type];
  if (!kind) throw refuse('ERR_LAYER_TYPE', `an entry of type ${JSON.stringify(header.type)}`, name);
  return kind;
}

function idOf(id: number, of: string, path: string): number {
  if (id < 0 || id > idMax) throw refuse('ERR_LAYER_ID', `a ${of} ID beyond 31 bits (${id})`, path);
  return id;
}

function targetOf(kind: Kind, target: string, path: string): string {
  if (kind === 'link') return normalise(target);
  if (kind !== 'symlink') return '';
  if (target === '' || target.length > 4095 || target.includes('\0'))
    throw refuse('ERR_LAYER_LINK', 'a symbolic link without a usable target', path);
  return target;
}

function deviceOf(kind: Kind, header: Header, path: string): { major: number; minor: number } {
  if (kind !== 'char' && kind !== 'block') return { major: 0, minor: 0 };
  const { major, minor } = header;
  if (major < 0 || major > majorMax || minor < 0 || minor > minorMax)
    throw refuse('ERR_LAYER_DEVICE', `a device ${major}:${minor} that cannot be`, path);
  if (kind === 'char' && major === 0 && minor === 0)
    throw refuse(
      'ERR_LAYER_DEVICE',
      "a character device 0:0, which is overlayfs' mark of a removed file",
      path,
    );
  return { major, minor };
}

const none: readonly Xattr[] = [];

/**
 * Kept: `security.capability` and plain `user.*`, on what can have them. Refused: what overlayfs itself reads.
 * The rest (labels of a security module, ACLs) belongs to the host that made the image.
 */
function xattrsOf(kind: Kind, records: Records, path: string): readonly Xattr[] {
  if (records.size === 0) return none;
  const xattrs: Xattr[] = [];
  for (const [key, value] of records) {
    if (!key.startsWith('SCHILY.xattr.')) continue;
    const name = key.slice('SCHILY.xattr.'.length);
    if (name.startsWith('trusted.') || name.startsWith('user.overlay.'))
      throw refuse('ERR_LAYER_XATTR', `an extended attribute ${JSON.stringify(name)}`, path);
    if (value.length > xattrSize || name.length > xattrName)
      throw refuse('ERR_LAYER_XATTR', 'an extended attribute that is too large', path);
    if (kind !== 'file' && kind !== 'directory') continue;
    if (name === 'security.capability' || (name.startsWith('user.') && name.length > 5))
      xattrs.push({ name, value });
  }
  return xattrs;
}
