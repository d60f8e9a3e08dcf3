import { randomBytes } from 'node:crypto';
import {
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
} from 'node:fs/promises';
import { dirname } from 'node:path';
import { isErrno } from './error.ts';

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
  /** Replaces the file in one step: readers see the old bytes or the new ones. The directory must exist. */
  write(path: string, content: string | Uint8Array, mode: number): Promise<void>;
  /** Adds to the end in one write; makes the file. */
  append(path: string, content: string, mode: number): Promise<void>;
  /** Makes the directory and those above it; sets the mode of a new one only. */
  makeDirectory(path: string, mode: number): Promise<void>;
  setMode(path: string, mode: number): Promise<void>;
  link(path: string, target: string): Promise<void>;
  move(from: string, to: string): Promise<void>;
  /** Removes a file, a link or a whole tree; nothing there is fine. Links are not followed. */
  remove(path: string): Promise<void>;
}

export const systemFiles: Files = {
  async look(path) {
    try {
      const stat = await lstat(path);
      const mode = stat.mode & 0o7777;
      if (stat.isFile()) return { kind: 'file', mode, size: stat.size };
      if (stat.isDirectory()) return { kind: 'directory', mode };
      if (stat.isSymbolicLink()) return { kind: 'link', target: await readlink(path) };
      return { kind: 'other', mode };
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
  },
  async read(path) {
    try {
      return await readFile(path, 'utf8');
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
  },
  async list(path) {
    try {
      return (await readdir(path)).sort();
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return [];
      throw error;
    }
  },
  async write(path, content, mode) {
    const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}~`;
    try {
      const file = await open(temporary, 'wx', mode);
      try {
        await file.chmod(mode);
        await file.writeFile(content);
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  },
  async append(path, content, mode) {
    const file = await open(path, 'a', mode);
    try {
      await file.write(content);
    } finally {
      await file.close();
    }
  },
  async makeDirectory(path, mode) {
    try {
      await mkdir(path, { mode });
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return;
      if (!isErrno(error, 'ENOENT')) throw error;
      await systemFiles.makeDirectory(dirname(path), 0o755);
      return systemFiles.makeDirectory(path, mode);
    }
    await chmod(path, mode);
  },
  setMode: (path, mode) => chmod(path, mode),
  async link(path, target) {
    const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}~`;
    await symlink(target, temporary);
    await rename(temporary, path);
  },
  move: (from, to) => rename(from, to),
  remove: path => rm(path, { recursive: true, force: true }),
};

/** A file system in memory, for tests of plans. */
export class FakeFiles implements Files {
  readonly #entries = new Map<string, { mode: number; content?: string; target?: string }>([
    ['/', { mode: 0o755 }],
  ]);

  /** Paths and contents, directories ending in a slash: what a test compares. */
  tree(): Record<string, string> {
    const rows = [...this.#entries].filter(([path]) => path !== '/').sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(
      rows.map(([path, entry]) => {
        if (entry.target !== undefined) return [path, `-> ${entry.target}`];
        return entry.content === undefined ? [`${path}/`, ''] : [path, entry.content];
      }),
    );
  }

  async look(path: string): Promise<Entry | undefined> {
    const entry = this.#entries.get(path);
    if (!entry) return undefined;
    if (entry.target !== undefined) return { kind: 'link', target: entry.target };
    if (entry.content === undefined) return { kind: 'directory', mode: entry.mode };
    return { kind: 'file', mode: entry.mode, size: Buffer.byteLength(entry.content) };
  }

  async read(path: string): Promise<string | undefined> {
    return this.#entries.get(path)?.content;
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
    this.#entries.set(path, { mode, content: Buffer.from(content).toString('latin1') });
    if (typeof content === 'string') this.#entries.set(path, { mode, content });
  }

  async append(path: string, content: string, mode: number): Promise<void> {
    this.#needParent(path);
    const before = this.#entries.get(path);
    this.#entries.set(path, { mode: before?.mode ?? mode, content: (before?.content ?? '') + content });
  }

  async makeDirectory(path: string, mode: number): Promise<void> {
    if (this.#entries.has(path)) return;
    await this.makeDirectory(dirname(path), 0o755);
    this.#entries.set(path, { mode });
  }

  async setMode(path: string, mode: number): Promise<void> {
    const entry = this.#entries.get(path);
    if (entry) entry.mode = mode;
  }

  async link(path: string, target: string): Promise<void> {
    this.#needParent(path);
    this.#entries.set(path, { mode: 0o777, target });
  }

  async move(from: string, to: string): Promise<void> {
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

  #needParent(path: string): void {
    if (!this.#entries.has(dirname(path)))
      throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
  }
}
