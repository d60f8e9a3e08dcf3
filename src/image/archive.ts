import { randomBytes } from 'node:crypto';
import { constants, type FileHandle, open, rm } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isErrno, messageOf, SpawnletError } from '../host/error.ts';
import { normalise } from './layer/entry.ts';
import { blockSize, isZero, parseHeader } from './layer/header.ts';
import { parseRecords, recordNumber } from './layer/pax.ts';
import { fileMember, type Member, type Members, readFlags } from './members.ts';

export interface ArchiveOptions {
  /** Where a compressed archive is laid out while it is read; a file without a name, gone with the process. */
  readonly scratch?: string;
  readonly limits?: ArchiveLimits;
}

export interface ArchiveLimits {
  readonly entries: number;
  /** Bytes of one extended header. */
  readonly header: number;
  /** Bytes that a compressed archive may unpack to. */
  readonly size: number;
}

const defaultLimits: ArchiveLimits = { entries: 100_000, header: 1024 * 1024, size: 256 * 2 ** 30 };
const maxLinks = 8;

type Place =
  | { readonly kind: 'file'; readonly start: number; readonly size: number }
  /** The target is a path from the archive's root. */
  | { readonly kind: 'link'; readonly target: string };

function bad(path: string, why: string, cause?: unknown): SpawnletError {
  return new SpawnletError('ERR_ARCHIVE', `${path} cannot be read as an archive of images: ${why}`, {
    hint: 'it has to come from docker save, podman save, skopeo or buildah; was it copied to its end?',
    cause,
  });
}

/**
 * Opens a tar archive, plain or compressed by gzip or zstd, to read its members in any order. Only headers are read
 * at first; data stays in the file. Links are resolved inside the archive. Throws `ERR_ARCHIVE`.
 */
export async function openArchive(
  path: string,
  options: ArchiveOptions,
  signal: AbortSignal,
): Promise<Members> {
  const limits = options.limits ?? defaultLimits;
  let file = await openFile(path);
  try {
    const magic = Buffer.alloc(6);
    await file.read(magic, 0, magic.length, 0);
    const plain = await decompressed(file, magic, path, options.scratch ?? '/var/tmp', limits, signal);
    if (plain) {
      await file.close();
      file = plain;
    }
    const places = await indexOf(file, path, limits, signal);
    return {
      async find(name) {
        return find(places, name, file, path);
      },
      [Symbol.asyncDispose]: () => file.close(),
    };
  } catch (error) {
    await file.close();
    if (error instanceof SpawnletError && error.code.startsWith('ERR_LAYER_'))
      throw bad(path, error.message.replace(/^[^:]*: /, ''));
    throw error;
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    const file = await open(path, readFlags);
    if ((await file.stat()).isFile()) return file;
    await file.close();
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ENXIO')) throw error;
    throw new SpawnletError('ERR_IMAGE_NOT_FOUND', `${path} cannot be opened`, {
      hint: 'check the path; a relative one begins at the working directory',
      cause: error,
    });
  }
  throw bad(path, 'it is not a regular file');
}

/** A compressed archive cannot be read out of order, so it is laid out; undefined for one that is not compressed. */
async function decompressed(
  file: FileHandle,
  magic: Buffer,
  path: string,
  scratch: string,
  limits: ArchiveLimits,
  signal: AbortSignal,
): Promise<FileHandle | undefined> {
  const hex = magic.toString('hex');
  if (hex.startsWith('425a68') || hex === 'fd377a585a00')
    throw bad(path, 'it is compressed by bzip2 or xz; decompress it first');
  const isGzip = hex.startsWith('1f8b');
  if (!isGzip && !hex.startsWith('28b52ffd')) return undefined;
  const { createGunzip, createZstdDecompress } = await import('node:zlib');
  const chunkSize = 256 * 1024;
  const inflate = isGzip ? createGunzip({ chunkSize }) : createZstdDecompress({ chunkSize });
  const name = join(scratch, `spawnlet-archive-${randomBytes(8).toString('hex')}`);
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const laidOut = await open(name, flags, 0o600);
  try {
    await rm(name);
    // Streams of a FileHandle keep it from closing, so they get handles of their own.
    const source = await fileMember(ownPath(file), path, 0, (await file.stat()).size).stream(signal);
    const target = (await open(ownPath(laidOut), 'r+')).createWriteStream();
    await pipeline(source, inflate, capped(path, limits.size), target, { signal });
    return laidOut;
  } catch (error) {
    await laidOut.close();
    signal.throwIfAborted();
    if (error instanceof SpawnletError || isErrno(error, 'ENOSPC')) throw error;
    throw bad(path, messageOf(error), error);
  }
}

/** Another name for an open file: there also where it has no name any more. */
function ownPath(file: FileHandle): string {
  return `/proc/self/fd/${file.fd}`;
}

function capped(path: string, limit: number): Transform {
  let size = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size > limit) done(bad(path, `it unpacks to more than ${limit} bytes`));
      else done(null, chunk);
    },
  });
}

/** Reads the headers. A name that comes twice means its last member, as for tar. */
async function indexOf(
  file: FileHandle,
  path: string,
  limits: ArchiveLimits,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Place>> {
  const { size: end } = await file.stat();
  const places = new Map<string, Place>();
  const block = Buffer.alloc(blockSize);
  let extension: { path?: string; target?: string; size?: number } = {};
  let at = 0;
  for (let count = 0; at + blockSize <= end; count += 1) {
    signal.throwIfAborted();
    if (count > limits.entries) throw bad(path, `it has more than ${limits.entries} members`);
    await file.read(block, 0, blockSize, at);
    if (isZero(block, 0)) break;
    const header = parseHeader(block, 0);
    const start = at + blockSize;
    const special = 'xgLK'.includes(header.type);
    const size = special ? header.size : (extension.size ?? header.size);
    if (size < 0 || start + size > end) throw bad(path, 'it ends within a member');
    at = start + Math.ceil(size / blockSize) * blockSize;
    if (special) {
      if (size > limits.header) throw bad(path, `a header in it has ${size} bytes`);
      const data = Buffer.alloc(size);
      await file.read(data, 0, size, start);
      if (header.type !== 'g') extension = { ...extension, ...extensionOf(header.type, data) };
      continue;
    }
    const name = normalise(extension.path ?? header.name);
    const target = extension.target ?? header.target;
    extension = {};
    switch (header.type) {
      case '0':
      case '\0':
      case '7':
        places.set(name, { kind: 'file', start, size });
        break;
      case '1':
        places.set(name, { kind: 'link', target: normalise(target) });
        break;
      case '2':
        places.set(name, {
          kind: 'link',
          target: target.startsWith('/') ? target : posix.join(posix.dirname(name), target),
        });
        break;
      default:
        // Directories are nothing here; devices, FIFOs and sparse files are not found when asked for.
        places.delete(name);
    }
  }
  if (at === 0 && places.size === 0) throw bad(path, 'it is empty or no tar archive');
  return places;
}

function extensionOf(type: string, data: Buffer): { path?: string; target?: string; size?: number } {
  const text = () => data.toString('latin1').replace(/\0.*$/s, '');
  if (type === 'L') return { path: text() };
  if (type === 'K') return { target: text() };
  const records = parseRecords(data);
  const path = records.get('path');
  const target = records.get('linkpath');
  const size = recordNumber(records, 'size');
  return {
    ...(path !== undefined && { path }),
    ...(target !== undefined && { target }),
    ...(size !== undefined && { size }),
  };
}

function find(
  places: ReadonlyMap<string, Place>,
  name: string,
  file: FileHandle,
  path: string,
): Member | undefined {
  let wanted = name;
  for (let links = 0; links <= maxLinks; links += 1) {
    const place = places.get(wanted);
    if (place?.kind === 'file')
      return fileMember(ownPath(file), `${name} in ${path}`, place.start, place.size);
    if (!place) return undefined;
    if (place.target.startsWith('/') || place.target.split('/').includes('..'))
      throw bad(path, `${JSON.stringify(name)} is a link out of the archive`);
    wanted = place.target;
  }
  throw bad(path, `${JSON.stringify(name)} is a link that goes in circles`);
}
