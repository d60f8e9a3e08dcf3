import { SpawnletError } from '../../host/error.ts';

/**
 * A member of a layer's archive, as parsed. Names, targets and attributes are byte strings: one character for
 * each byte (latin1), so that what is not UTF-8 goes through unchanged.
 */
export interface Entry {
  readonly kind: Kind;
  /** Relative, without `.`, `..`, empty components or a slash at the end; empty for the layer's root. */
  readonly path: string;
  /** Permission bits, set-id and sticky: at most 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of data that follow; 0 for all kinds but `file`. */
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** 0 to 999,999,999. */
  readonly nanoseconds: number;
  /** Of a symbolic link: any text. Of a hard link: a path of the same form as {@link Entry.path}. */
  readonly target: string;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: readonly Xattr[];
}

export type Kind = 'file' | 'link' | 'symlink' | 'char' | 'block' | 'directory' | 'fifo';

export interface Xattr {
  readonly name: string;
  readonly value: string;
}

/** What one layer may cost. The largest public images stay below each of these by a factor of three or more. */
export interface Limits {
  readonly entries: number;
  /** Bytes of all names together: the names of a layer are held in memory while it is unpacked. */
  readonly names: number;
  /** Bytes of one extended header or long name. */
  readonly header: number;
  /** Bytes of the unpacked archive. */
  readonly size: number;
}

export const defaultLimits: Limits = {
  entries: 1_000_000,
  names: 64 * 2 ** 20,
  header: 2 ** 20,
  size: 128 * 2 ** 30,
};

/** Linux's own limits. */
const pathMax = 4095;
const nameMax = 255;

/** A refusal of what the archive says. The name is shown escaped, since it is the image's. */
export function refuse(code: `ERR_LAYER_${string}`, what: string, name?: string): SpawnletError {
  const shown = name === undefined ? '' : ` in ${JSON.stringify(name.slice(0, 200))}`;
  return new SpawnletError(code, `the layer cannot be unpacked: ${what}${shown}`, {
    hint: 'the image is malformed or hostile; build it again, or get it from somebody you trust',
  });
}

/**
 * The one form of a path: what leads to the root (`/`, `./`) is taken off, as Docker and GNU tar do; `..` is
 * refused.
 */
export function normalise(path: string): string {
  if (path.length > pathMax) throw refuse('ERR_LAYER_PATH', 'a path of more than 4,095 bytes', path);
  if (path.includes('\0')) throw refuse('ERR_LAYER_PATH', 'a NUL byte', path);
  const parts = path.split('/').filter(part => part !== '' && part !== '.');
  for (const part of parts) {
    if (part === '..') throw refuse('ERR_LAYER_PATH', "'..'", path);
    if (part.length > nameMax) throw refuse('ERR_LAYER_PATH', 'a name of more than 255 bytes', path);
  }
  return parts.join('/');
}
