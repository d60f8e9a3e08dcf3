import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  futimesSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { isErrno, SpawnletError } from '../../host/error.ts';
import { at, pathOf, pathOnly } from '../../host/handle.ts';
import { temporaryName } from '../../host/process.ts';
import { removeEntry } from '../../host/removal.ts';
import { type Spot, walk } from '../../host/walk.ts';

/** Who a file belongs to, by the tree's own numbers, and its permission bits. */
export interface Ownership {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A small file of a tree; each character is one byte (latin1), so that what is not understood is kept as it was. */
export interface GuestText extends Ownership {
  readonly text: string;
}

export type GuestEntry = Ownership &
  (
    | { readonly kind: 'file'; readonly size: number }
    | { readonly kind: 'directory' }
    | { readonly kind: 'link'; readonly target: string }
    | { readonly kind: 'other' }
  );

/** Enough for every file that is read here. */
const readMax = 2 ** 20;

/**
 * A tree that somebody else filled, maybe to harm. Paths are resolved as openat2(2) does with RESOLVE_IN_ROOT: `..` stops at
 * the root, and links, also absolute ones, start there. Each directory is held open while its entry is looked at, so a
 * path leads to the same place even if the tree is changed meanwhile. Nothing but regular files is opened, and what is
 * written replaces the entry of its name, whatever kind that had.
 */
export class GuestRoot implements Disposable {
  readonly #root: number;
  readonly path: string;

  /** @throws the system's error if there is no such directory. */
  constructor(path: string) {
    this.path = path;
    this.#root = openSync(path, pathOnly | constants.O_DIRECTORY);
  }

  [Symbol.dispose](): void {
    closeSync(this.#root);
  }

  /** What is at a path; a link that its last name is, is followed or shown. Undefined if nothing is there. */
  look(path: string, last: 'follow' | 'keep' = 'keep'): GuestEntry | undefined {
    using spot = this.#find(path, last);
    if (spot?.found === undefined) return undefined;
    const stat = fstatSync(spot.found);
    const own = { mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid };
    if (stat.isFile()) return { kind: 'file', size: stat.size, ...own };
    if (stat.isDirectory()) return { kind: 'directory', ...own };
    if (!stat.isSymbolicLink()) return { kind: 'other', ...own };
    return { kind: 'link', target: readlinkSync(at(spot.directory, spot.name), 'latin1'), ...own };
  }

  /** A regular file of at most 1 MiB, links followed; undefined if there is none. */
  read(path: string): GuestText | undefined {
    using spot = this.#find(path, 'follow');
    if (spot?.found === undefined) return undefined;
    const stat = fstatSync(spot.found);
    if (!stat.isFile() || stat.size > readMax) return undefined;
    const file = openSync(pathOf(spot.found), constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const bytes = Buffer.alloc(stat.size);
      const text = bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0)).toString('latin1');
      return { text, mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid };
    } finally {
      closeSync(file);
    }
  }

  /** Names in a directory, sorted, links followed; empty if there is none. */
  list(path: string): string[] {
    using spot = this.#find(path, 'follow');
    if (spot?.found === undefined || !fstatSync(spot.found).isDirectory()) return [];
    return readdirSync(pathOf(spot.found), 'latin1').sort();
  }

  /**
   * Puts a file there in one step; directories on the way are made. `ERR_IN_THE_WAY` if a directory has the name.
   * A string's characters are bytes, as in {@link GuestText}.
   */
  write(path: string, content: string | Uint8Array, own: Ownership): void {
    using spot = this.#find(path, 'keep', 'above');
    const temporary = at(spot.directory, temporaryName());
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = openSync(temporary, flags, 0o600);
    try {
      try {
        writeFileSync(file, typeof content === 'string' ? Buffer.from(content, 'latin1') : content);
        take(file, own);
      } finally {
        closeSync(file);
      }
      this.#replace(temporary, spot, path);
    } catch (error) {
      unlinkSync(temporary);
      throw error;
    }
  }

  /**
   * The same of what a stream gives, of any length, until the signal says otherwise.
   *
   * @param modified when it was changed last, in seconds since 1970
   */
  async writeStream(
    path: string,
    content: AsyncIterable<Uint8Array>,
    own: Ownership,
    modified: number,
    signal: AbortSignal,
  ): Promise<void> {
    using spot = this.#find(path, 'keep', 'above');
    const temporary = at(spot.directory, temporaryName());
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = openSync(temporary, flags, 0o600);
    try {
      try {
        for await (const chunk of content) {
          signal.throwIfAborted();
          for (let from = 0; from < chunk.length; ) from += writeSync(file, chunk, from);
        }
        take(file, own);
        futimesSync(file, modified, modified);
      } finally {
        closeSync(file);
      }
      this.#replace(temporary, spot, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  }

  /** Puts a symbolic link there, as {@link write} does with a file; each character of the target is a byte. */
  link(path: string, target: string): void {
    using spot = this.#find(path, 'keep', 'above');
    const temporary = at(spot.directory, temporaryName());
    symlinkSync(Buffer.from(target, 'latin1'), temporary);
    try {
      this.#replace(temporary, spot, path);
    } catch (error) {
      unlinkSync(temporary);
      throw error;
    }
  }

  /** Makes a directory and those above it; one that is there gets the mode and the owner. */
  makeDirectory(path: string, own: Ownership): void {
    using spot = this.#find(path, 'follow', 'all');
    const handle = openSync(pathOf(spot.directory), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      take(handle, own);
    } finally {
      closeSync(handle);
    }
  }

  /** Removes a file, a link or a directory with what is in it. Nothing there is fine. */
  async remove(path: string): Promise<void> {
    using spot = this.#find(path, 'keep');
    if (spot?.found === undefined || spot.name === '') return;
    await removeEntry(spot.directory, spot.name);
  }

  /**
   * Calls `use` with a handle of a directory, links followed, and gives what it gives. For children that copy: the path
   * that {@link handlePath} makes of the handle stays in that directory, whatever happens to the names that lead to it.
   */
  async inDirectory<T>(path: string, make: boolean, use: (handle: number) => Promise<T>): Promise<T> {
    using spot = make ? this.#find(path, 'follow', 'all') : this.#find(path, 'follow');
    if (spot?.found === undefined || !fstatSync(spot.found).isDirectory())
      throw blocked(path, 'there is no such directory');
    return await use(spot.found);
  }

  /** The same with a handle of a regular file or a directory. */
  async withHandle<T>(path: string, use: (handle: number) => Promise<T>): Promise<T> {
    using spot = this.#find(path, 'follow');
    const stat = spot?.found === undefined ? undefined : fstatSync(spot.found);
    if (spot?.found === undefined || !(stat?.isFile() || stat?.isDirectory()))
      throw blocked(path, 'there is no file or directory');
    return await use(spot.found);
  }

  #replace(temporary: Buffer, { directory, name }: Spot, path: string): void {
    try {
      renameSync(temporary, at(directory, name));
    } catch (error) {
      if (name !== '' && !isErrno(error, 'EISDIR', 'ENOTEMPTY', 'EEXIST', 'EBUSY')) throw error;
      throw new SpawnletError('ERR_IN_THE_WAY', `${path} of ${this.path} is a directory`, { cause: error });
    }
  }

  #find(path: string, last: 'follow' | 'keep'): Spot | undefined;
  #find(path: string, last: 'follow' | 'keep', make: 'above' | 'all'): Spot;
  #find(path: string, last: 'follow' | 'keep', make?: 'above' | 'all'): Spot | undefined {
    const spot = walk(this.#root, path, {
      last,
      ...(make && { make }),
      outside: 'root',
      blocked: why => blocked(path, why),
    });
    if (!spot && make) throw blocked(path, 'what was made on the way has been taken away');
    return spot;
  }
}

const blocked = (path: string, why: string) =>
  new SpawnletError('ERR_GUEST_PATH', `${path} cannot be reached in the tree: ${why}`, {
    hint: 'look at the tree: who made it may have meant harm',
  });

/** The owner first: a change of owner takes set-id bits away. */
function take(handle: number, own: Ownership): void {
  fchownSync(handle, own.uid, own.gid);
  fchmodSync(handle, own.mode);
}
