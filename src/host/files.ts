import {
  appendFileSync,
  chmodSync,
  closeSync,
  fchmodSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isErrno, SpawnletError } from './error.ts';
import { mountsBelow } from './mounts.ts';
import { isLeftOver, temporaryName } from './process.ts';

export type Entry =
  | { readonly kind: 'file'; readonly mode: number; readonly size: number }
  | { readonly kind: 'directory'; readonly mode: number }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'other'; readonly mode: number };

/** The file system, as far as plans change it. Bulk data (layers, blobs) goes past this interface. */
export interface Files {
  /** What is at this path itself (links are not followed); undefined if nothing is. */
  look(path: string): Promise<Entry | undefined>;
  /** Undefined if there is no such file. */
  read(path: string): Promise<string | undefined>;
  /** Names in a directory, sorted; empty if there is none. */
  list(path: string): Promise<string[]>;
  /**
   * Replaces the file in one step: readers see the old bytes or the new ones. The directory must exist.
   *
   * @param lasting `durable`: after a power cut too, which takes milliseconds
   */
  write(path: string, content: string | Uint8Array, mode: number, lasting?: 'durable'): Promise<void>;
  /** Adds to the end in one write; makes the file. */
  append(path: string, content: string, mode: number): Promise<void>;
  /** Makes the directory and those above it; sets the mode of a new one only. Something else there is `EEXIST`. */
  makeDirectory(path: string, mode: number): Promise<void>;
  setMode(path: string, mode: number): Promise<void>;
  link(path: string, target: string): Promise<void>;
  move(from: string, to: string): Promise<void>;
  /**
   * Removes a file, a link or a whole tree; nothing there is fine. Links are not followed, and mounts are not entered:
   * throws `ERR_MOUNTED` if something is mounted there or below, before anything is removed.
   */
  remove(path: string): Promise<void>;
  /** Removes a directory if it is empty; one that is not, or that is not there, is fine. */
  removeEmpty(path: string): Promise<void>;
  /** Removes what writers that were killed have left in a directory: new contents not yet in place. */
  sweep(directory: string): Promise<void>;
}

function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (isErrno(error, 'ENOTDIR')) return undefined;
    throw error;
  }
}

/**
 * The real file system. What touches one small file is done at once: on a local file system that takes 20 µs, a round trip
 * through node's threads ten times as long, and a run makes a hundred of them. Trees are removed in the background.
 */
export const systemFiles: Files = {
  async look(path) {
    const stat = lookAt(path);
    if (stat === undefined) return undefined;
    const mode = stat.mode & 0o7777;
    if (stat.isFile()) return { kind: 'file', mode, size: stat.size };
    if (stat.isDirectory()) return { kind: 'directory', mode };
    if (stat.isSymbolicLink()) return { kind: 'link', target: readlinkSync(path) };
    return { kind: 'other', mode };
  },
  async read(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
  },
  async list(path) {
    try {
      return readdirSync(path).sort();
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return [];
      throw error;
    }
  },
  async write(path, content, mode, lasting) {
    const temporary = join(dirname(path), temporaryName());
    try {
      const file = openSync(temporary, 'wx', mode);
      try {
        fchmodSync(file, mode);
        writeFileSync(file, content);
        if (lasting) fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  },
  async append(path, content, mode) {
    appendFileSync(path, content, { mode });
  },
  async makeDirectory(path, mode) {
    try {
      mkdirSync(path, { mode });
    } catch (error) {
      if (isErrno(error, 'EEXIST') && statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
      if (!isErrno(error, 'ENOENT')) throw error;
      await systemFiles.makeDirectory(dirname(path), 0o755);
      return systemFiles.makeDirectory(path, mode);
    }
    chmodSync(path, mode);
  },
  async setMode(path, mode) {
    chmodSync(path, mode);
  },
  async link(path, target) {
    const temporary = join(dirname(path), temporaryName());
    symlinkSync(target, temporary);
    try {
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  },
  async move(from, to) {
    renameSync(from, to);
  },
  async remove(path) {
    const entry = await systemFiles.look(path);
    if (entry === undefined) return;
    if (entry.kind === 'directory') refuseMounts(path);
    const { rm } = await import('node:fs/promises');
    await rm(path, { recursive: true, force: true });
  },
  async removeEmpty(path) {
    try {
      rmdirSync(path);
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EBUSY')) throw error;
    }
  },
  async sweep(directory) {
    for (const name of await systemFiles.list(directory))
      if (isLeftOver(name)) rmSync(join(directory, name), { force: true });
  },
};

/** A tree is removed with its contents; those of a file system that somebody mounted into it are not its. */
export function refuseMounts(path: string): void {
  const mount = mountsBelow(path).at(-1);
  if (!mount) return;
  const point = Buffer.from(mount.path, 'latin1').toString();
  throw new SpawnletError('ERR_MOUNTED', `${path} is not removed: something is mounted at ${point}`, {
    hint: `umount '${point}'`,
  });
}

type FakeEntry =
  | { readonly kind: 'directory'; mode: number }
  | { readonly kind: 'file'; mode: number; readonly content: string }
  | { readonly kind: 'link'; mode: number; readonly target: string }
  | { readonly kind: 'other'; mode: number };

const errno = (code: string, path: string) => Object.assign(new Error(`${code}: ${path}`), { code });

/** A file system in memory, for tests of plans. Links are not followed, but for a last one that is read. */
export class FakeFiles implements Files {
  readonly #entries = new Map<string, FakeEntry>([['/', { kind: 'directory', mode: 0o755 }]]);

  /** Paths and contents, directories ending in a slash: what a test compares. */
  tree(): Record<string, string> {
    const rows = [...this.#entries].filter(([path]) => path !== '/').sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(
      rows.map(([path, entry]) => {
        if (entry.kind === 'link') return [path, `-> ${entry.target}`];
        if (entry.kind === 'other') return [path, '(special)'];
        return entry.kind === 'file' ? [path, entry.content] : [`${path}/`, ''];
      }),
    );
  }

  /** A FIFO, socket or device: what a fake child makes. */
  makeSpecial(path: string, mode: number): void {
    this.#needParent(path);
    this.#entries.set(path, { kind: 'other', mode });
  }

  async look(path: string): Promise<Entry | undefined> {
    const entry = this.#entries.get(path);
    if (!entry) return undefined;
    if (entry.kind === 'link') return { kind: 'link', target: entry.target };
    if (entry.kind === 'file')
      return { kind: 'file', mode: entry.mode, size: Buffer.byteLength(entry.content) };
    return { kind: entry.kind, mode: entry.mode };
  }

  async read(path: string): Promise<string | undefined> {
    const entry = this.#entries.get(path);
    if (entry?.kind === 'link') return this.read(resolve(dirname(path), entry.target));
    if (entry?.kind === 'directory') throw errno('EISDIR', path);
    return entry?.kind === 'file' ? entry.content : undefined;
  }

  async list(path: string): Promise<string[]> {
    const prefix = path.endsWith('/') ? path : `${path}/`;
    return [...this.#entries.keys()]
      .filter(
        key =>
          key.startsWith(prefix) && key.length > prefix.length && !key.slice(prefix.length).includes('/'),
      )
      .map(key => key.slice(prefix.length))
      .sort();
  }

  async write(path: string, content: string | Uint8Array, mode: number): Promise<void> {
    this.#needParent(path);
    if (this.#entries.get(path)?.kind === 'directory') throw errno('EISDIR', path);
    this.#entries.set(path, { kind: 'file', mode, content: Buffer.from(content).toString() });
  }

  async append(path: string, content: string, mode: number): Promise<void> {
    this.#needParent(path);
    const before = this.#entries.get(path);
    if (before?.kind === 'directory') throw errno('EISDIR', path);
    const text = before?.kind === 'file' ? before.content : '';
    this.#entries.set(path, { kind: 'file', mode: before?.mode ?? mode, content: text + content });
  }

  async makeDirectory(path: string, mode: number): Promise<void> {
    const there = this.#entries.get(path);
    if (there?.kind === 'directory') return;
    if (there) throw errno('EEXIST', path);
    await this.makeDirectory(dirname(path), 0o755);
    this.#entries.set(path, { kind: 'directory', mode });
  }

  async setMode(path: string, mode: number): Promise<void> {
    const entry = this.#entries.get(path);
    if (!entry) throw errno('ENOENT', path);
    entry.mode = mode;
  }

  async link(path: string, target: string): Promise<void> {
    this.#needParent(path);
    if (this.#entries.get(path)?.kind === 'directory') throw errno('EISDIR', path);
    this.#entries.set(path, { kind: 'link', mode: 0o777, target });
  }

  async move(from: string, to: string): Promise<void> {
    if (!this.#entries.has(from)) throw errno('ENOENT', from);
    this.#needParent(to);
    for (const [path, entry] of this.#entries) {
      if (path !== from && !path.startsWith(`${from}/`)) continue;
      this.#entries.delete(path);
      this.#entries.set(to + path.slice(from.length), entry);
    }
  }

  async remove(path: string): Promise<void> {
    for (const key of this.#entries.keys())
      if (key === path || key.startsWith(`${path}/`)) this.#entries.delete(key);
  }

  async removeEmpty(path: string): Promise<void> {
    const empty = (await this.list(path)).length === 0;
    if (empty && this.#entries.get(path)?.kind === 'directory') this.#entries.delete(path);
  }

  async sweep(): Promise<void> {}

  #needParent(path: string): void {
    const parent = this.#entries.get(dirname(path));
    if (parent?.kind !== 'directory') throw errno(parent ? 'ENOTDIR' : 'ENOENT', path);
  }
}
