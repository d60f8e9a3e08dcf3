import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { check, systemChildren } from '../../src/host/child.ts';
import { defaultLimits, type Limits } from '../../src/image/layer/entry.ts';
import { type Unpacked, unpackLayer } from '../../src/image/layer/unpack.ts';
import type { LayerView } from '../../src/image/lookup.ts';
import type { Digest } from '../../src/image/manifest.ts';
import { digestOf } from './images.ts';

/** A directory of the real file system that is gone after the test. */
export async function temporaryDirectory(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'spawnlet-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export interface UnpackOptions {
  /** What the registry sends; the archive itself if not given. */
  readonly blob?: Buffer;
  readonly diffId?: Digest;
  readonly digest?: Digest;
  readonly size?: number;
  readonly lower?: readonly LayerView[];
  readonly limits?: Limits;
  readonly signal?: AbortSignal;
  /** Bytes of the blob at a time. */
  readonly chunk?: number;
}

/** Unpacks one archive into `directory/root`, by the code of the product. */
export async function unpackArchive(
  directory: string,
  tar: Buffer,
  options: UnpackOptions = {},
): Promise<Unpacked & { view: LayerView; root: string }> {
  await mkdir(join(directory, 'jail'), { recursive: true });
  await mkdir(join(directory, 'root'));
  const blob = options.blob ?? tar;
  const chunk = options.chunk ?? 65_536;
  const chunks = Array.from({ length: Math.ceil(blob.length / chunk) }, (_, index) =>
    blob.subarray(index * chunk, (index + 1) * chunk),
  );
  const unpacked = await unpackLayer(
    systemChildren,
    {
      blob: Readable.from(chunks, { objectMode: true }),
      descriptor: {
        mediaType: 'application/vnd.oci.image.layer.v1.tar',
        digest: options.digest ?? digestOf(blob),
        size: options.size ?? blob.length,
      },
      diffId: options.diffId ?? digestOf(tar),
      workDirectory: directory,
      lower: async () => options.lower ?? [],
      limits: options.limits ?? defaultLimits,
    },
    options.signal ?? new AbortController().signal,
  );
  const root = join(directory, 'root');
  return { ...unpacked, root, view: { directory: root, opaque: new Set(unpacked.opaque) } };
}

/** What is in a tree: one line for each entry, sorted. `format` is find's; the size of a directory says nothing. */
export async function listing(root: string, format = '%P %y %m %U %G %s %l'): Promise<string[]> {
  const directories = format.replaceAll('%s', '-');
  const out = await check(systemChildren, [
    'find',
    root,
    '-mindepth',
    '1',
    '(',
    '-type',
    'd',
    '-printf',
    `${directories}\\n`,
    ')',
    '-o',
    '-printf',
    `${format}\\n`,
  ]);
  return out.toString('latin1').split('\n').filter(Boolean).sort();
}

/** Runs a script where the layers (lowest first) are mounted as one read-only overlay at `/mnt`, as a container has it. */
export async function inOverlay(layers: readonly string[], script: string): Promise<string> {
  const lower = layers.toReversed().join(':');
  const mount = `mount -t overlay -o ro,lowerdir=${lower} overlay /mnt && cd /mnt`;
  const argv = ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', `${mount}\n${script}`];
  return (await check(systemChildren, argv)).toString().trimEnd();
}
