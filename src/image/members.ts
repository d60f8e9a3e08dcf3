import { constants, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { isErrno, SpawnletError } from '../host/error.ts';

/** A regular file that can be read at any time: in a directory, or as a part of an archive. */
export interface Member {
  /** Bytes. */
  readonly size: number;
  stream(signal: AbortSignal): Promise<Readable>;
  /** All of it. Throws `ERR_IMAGE_INVALID` for more than `limit` bytes, before any is read. */
  read(limit: number, signal: AbortSignal): Promise<Buffer>;
}

/** Files by their names, wherever they lie. */
export interface Members extends AsyncDisposable {
  /** Undefined if there is no such file. The name is relative, without `..`. */
  find(name: string): Promise<Member | undefined>;
}

/** Bytes read at once. */
const readSize = 1024 * 1024;
/** A FIFO in the place of a file gives its end at once, instead of waiting for a writer. */
export const readFlags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/** A part of a file. `name` is for errors. */
export function fileMember(path: string, name: string, start: number, size: number): Member {
  const stream = async (signal: AbortSignal): Promise<Readable> => {
    signal.throwIfAborted();
    if (size === 0) return Readable.from([]);
    const file = await open(path, readFlags);
    return file.createReadStream({ start, end: start + size - 1, highWaterMark: readSize, signal });
  };
  return {
    size,
    stream,
    async read(limit, signal) {
      if (size > limit)
        throw new SpawnletError('ERR_IMAGE_INVALID', `${name} has ${size} bytes, more than ${limit}`);
      return await buffer(await stream(signal));
    },
  };
}

/** The files of a directory. Links in it are followed: what is read counts by its digest alone. */
export function directoryMembers(directory: string): Members {
  return {
    async find(name) {
      const path = join(directory, name);
      try {
        const found = await stat(path);
        return found.isFile() ? fileMember(path, path, 0, found.size) : undefined;
      } catch (error) {
        if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
        throw error;
      }
    },
    async [Symbol.asyncDispose]() {},
  };
}
