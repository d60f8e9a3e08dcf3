import { createReadStream, lstatSync, readdirSync, readlinkSync, type Stats, statSync } from 'node:fs';
import { SpawnletError } from '../../host/error.ts';
import type { GuestRoot, Ownership } from './root.ts';

type Owner = Pick<Ownership, 'uid' | 'gid'>;

/** Set-id bits would be another user's in there. */
const permissions = 0o777;

const refused = (message: string, cause?: unknown) => new SpawnletError('ERR_GUEST_COPY', message, { cause });

/** What the system has to say: the file system is full, or read-only. */
const isSystem = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'errno' in error;

/**
 * Copies a file or a directory of the host into a tree in which somebody else is at work meanwhile. Each entry is put there by
 * itself, by handles: wherever links come up, nothing is written out of the tree. Directories that are there are added to, links
 * in the source are copied as links, devices, FIFOs and sockets are not copied.
 *
 * @param owner has what is copied
 * @throws ERR_GUEST_COPY, and what {@link GuestRoot} throws
 */
export async function insert(
  source: string,
  tree: GuestRoot,
  target: string,
  owner: Owner,
  signal: AbortSignal,
): Promise<void> {
  try {
    await insertEntry(source, statSync(source), tree, target, owner, signal);
  } catch (error) {
    if (isSystem(error)) throw refused(`copying ${source} to ${target} failed: ${error.message}`, error);
    throw error;
  }
}

async function insertEntry(
  source: string,
  stat: Stats,
  tree: GuestRoot,
  target: string,
  owner: Owner,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const own = { mode: stat.mode & permissions, ...owner };
  if (stat.isFile()) {
    const content: AsyncIterable<Uint8Array> = createReadStream(source, { signal });
    return await tree.writeStream(target, content, own, stat.mtimeMs / 1000, signal);
  }
  if (stat.isSymbolicLink()) return tree.link(target, readlinkSync(source, 'latin1'));
  if (!stat.isDirectory()) return;
  if (tree.look(target, 'follow')?.kind !== 'directory') tree.makeDirectory(target, own);
  for (const bytes of readdirSync(source, { encoding: 'buffer' })) {
    const name = bytes.toString();
    if (!Buffer.from(name).equals(bytes)) throw refused(`a name in ${source} is not UTF-8: ${name}`);
    await insertEntry(
      `${source}/${name}`,
      lstatSync(`${source}/${name}`),
      tree,
      `${target}/${name}`,
      owner,
      signal,
    );
  }
}
