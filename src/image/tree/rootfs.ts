import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Children, ended, programMissing } from '../../host/child.ts';
import { messageOf, SpawnletError } from '../../host/error.ts';
import { defaultLimits, refuse } from '../layer/entry.ts';
import { Extraction } from '../layer/extraction.ts';
import { Sanitiser } from '../layer/sanitiser.ts';

/** How an archive is compressed, by its first bytes, and the program of the system that takes it apart. */
const compressions: readonly (readonly [magic: string, program: string])[] = [
  ['1f8b', 'gzip'],
  ['fd377a585a00', 'xz'],
  ['28b52ffd', 'zstd'],
  ['425a68', 'bzip2'],
];

const damaged = (path: string, why: string) =>
  new SpawnletError('ERR_TREE_ARCHIVE', `${path} cannot be unpacked: ${why}`, {
    hint: 'the archive is damaged, malformed or hostile; get it again, from somebody you trust',
  });

/**
 * Unpacks the archive of a root file system into `root`, an empty directory; `jail` is another. The archive is taken
 * for hostile: it goes through the sanitiser of layers, and is extracted by a tar that can write nowhere else. Device
 * nodes are left out. Throws `ERR_TREE_ARCHIVE`, or an `ERR_LAYER_…` that says what is wrong with a member; `root` then
 * holds anything.
 */
export async function unpackRootfs(
  children: Children,
  path: string,
  directories: { readonly root: string; readonly jail: string },
  signal: AbortSignal,
): Promise<void> {
  const sanitiser = new Sanitiser(defaultLimits, 'tree');
  await using extraction = new Extraction(children, directories.jail, directories.root);
  let size = 0;
  const take = async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      size += chunk.length;
      if (size > defaultLimits.size) throw refuse('ERR_LAYER_SIZE', `more than ${defaultLimits.size} bytes`);
      await extraction.hand(sanitiser.push(chunk));
    }
  };
  const program = await compressionOf(path);
  try {
    if (program === undefined)
      await pipeline(createReadStream(path, { highWaterMark: 2 ** 18 }), take, { signal });
    else await decompressed(children, program, path, take, signal);
    const { pieces, lower } = sanitiser.end();
    await extraction.hand(pieces);
    const [link] = lower;
    if (link) throw refuse('ERR_LAYER_LINK', 'a hard link to nothing', link.entry.path);
    await extraction.hand(sanitiser.finish().pieces);
    await extraction.finish();
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SpawnletError && error.code.startsWith('ERR_LAYER_'))
      throw new SpawnletError(error.code, error.message.replace('the layer', path), {
        hint: 'the archive is malformed or hostile; get it again, from somebody you trust',
        cause: error,
      });
    throw error;
  }
  if (sanitiser.entries === 0) throw damaged(path, 'it is empty');
}

async function compressionOf(path: string): Promise<string | undefined> {
  await using file = await open(path);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
  const hex = buffer.subarray(0, bytesRead).toString('hex');
  return compressions.find(([magic]) => hex.startsWith(magic))?.[1];
}

/** The bytes that a program of the system makes of the file. It sees nothing but its standard input. */
async function decompressed(
  children: Children,
  program: string,
  path: string,
  take: (chunks: AsyncIterable<Buffer>) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  await using file = await open(path);
  const child = children.spawn(['setpriv', '--pdeathsig', 'KILL', program, '--decompress', '--stdout'], {
    stdio: [file.fd, 'pipe', 'pipe'],
  });
  const end = ended(child);
  end.catch(() => undefined);
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    if (said.length < 1000) said += text;
  });
  try {
    await pipeline(child.stdout as Readable, take, { signal });
    const code = await end;
    if (code === 127) throw programMissing(program);
    if (code !== 0) throw damaged(path, `${program} ended with ${code}: ${said.trim()}`);
  } catch (error) {
    // A stream that is cut off is told better by who cut it.
    if (error instanceof SpawnletError && error.code !== 'ERR_LAYER_TRUNCATED') throw error;
    signal.throwIfAborted();
    if (error instanceof SpawnletError) throw error;
    throw damaged(path, messageOf(error));
  } finally {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await end.catch(() => undefined);
  }
}
