/** Images of the size that people run, made of nothing but a seed: the same bytes every time. */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { mediaTypes } from '../../src/image/document.ts';
import { hostPlatform } from '../../src/image/platform.ts';
import { describe, digestOf, type TestDescriptor, type TestImage } from '../harness/images.ts';
import { makeTar, type TarEntry, tarHeader } from '../harness/tar.ts';

const compress = promisify(gzip);

/** Marsaglia's xorshift: 32 bits at a time. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

const poolSize = 16 * 1024 * 1024;

/** Bytes that shrink as programs and texts do: stretches of words, of instructions, and of what cannot be compressed. */
function makePool(next: () => number): Buffer {
  const pool = Buffer.alloc(poolSize);
  const words = Array.from({ length: 4096 }, () => {
    const word = Buffer.alloc(2 + (next() % 9));
    for (let i = 0; i < word.length; i++) word[i] = 97 + (next() % 26);
    return word;
  });
  for (let at = 0; at < poolSize; ) {
    const end = Math.min(poolSize, at + 4096 + (next() % 8192));
    const kind = next() % 8;
    while (at < end) {
      if (kind === 0) {
        pool[at++] = next() & 0xff;
        continue;
      }
      // Few words often, most of them rarely.
      const word = words[(next() % 4096) >> (next() % (kind < 4 ? 4 : 8))] ?? Buffer.alloc(0);
      at += word.copy(pool, at, 0, end - at);
      if (at < end) pool[at++] = kind === 7 ? next() & 0xff : 32;
    }
  }
  return pool;
}

/** A layer's archive of about `size` bytes: directories of files of a few hundred bytes to a few hundred kilobytes. */
function makeLayer(seed: number, pool: Buffer, size: number, files: number): { tar: Buffer; files: number } {
  const next = randomNumbers(seed);
  const entries: TarEntry[] = [];
  const directories = 1 + Math.floor(files / 12);
  for (let at = 0; at < directories; at++)
    entries.push({ path: `opt/layer-${seed}/part-${at}`, directory: true });
  // Small files are many: the mean of 2^x is a good part of its largest value.
  const lengths = Array.from({ length: files }, () => 2 ** (8 + (next() % 1100) / 100));
  const scale = size / lengths.reduce((sum, length) => sum + length, 0);
  for (const [index, length] of lengths.entries()) {
    const bytes = Math.floor(length * scale);
    const from = next() % (poolSize - bytes);
    const path = `opt/layer-${seed}/part-${next() % directories}/file-${index}`;
    if (index % 16 === 15) entries.push({ path, symlink: `file-${index - 1}` });
    else entries.push({ path, content: pool.subarray(from, from + bytes) });
  }
  return { tar: makeTar(entries), files: entries.length };
}

interface Layer {
  readonly blob: Buffer;
  readonly diffId: ReturnType<typeof digestOf>;
}

function assemble(layers: readonly Layer[]): TestImage {
  const { descriptor: config, bytes: configBytes } = describe(mediaTypes.ociConfig, {
    created: '2024-01-01T00:00:00Z',
    ...hostPlatform(),
    config: {},
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  });
  const descriptors = layers.map(({ blob }): TestDescriptor => {
    return { mediaType: `${mediaTypes.ociLayer}+gzip`, digest: digestOf(blob), size: blob.length };
  });
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: descriptors };
  const { descriptor, bytes } = describe(mediaTypes.ociManifest, manifest);
  return {
    root: descriptor,
    documents: new Map([[descriptor.digest, { mediaType: mediaTypes.ociManifest, bytes }]]),
    blobs: new Map([
      [config.digest, configBytes],
      ...layers.map(({ blob }, index) => [descriptors[index]?.digest ?? digestOf(blob), blob] as const),
    ]),
    diffIds: layers.map(({ diffId }) => diffId),
  };
}

export interface LargeImage {
  readonly image: TestImage;
  /** For people: how large it is. */
  readonly summary: string;
}

const mega = (bytes: number) => Math.round(bytes / 1e6);

/** Three layers, 200 MB and more compressed as `gzip -6` does, 15,000 files and more. */
export async function makeLargeImage(): Promise<LargeImage> {
  const pool = makePool(randomNumbers(20));
  const made = [1, 2, 3].map(seed => makeLayer(seed, pool, 170e6, 5600));
  const layers = await Promise.all(
    made.map(async ({ tar }) => ({ blob: await compress(tar, { level: 6 }), diffId: digestOf(tar) })),
  );
  const packed = layers.reduce((sum, { blob }) => sum + blob.length, 0);
  const unpacked = made.reduce((sum, { tar }) => sum + tar.length, 0);
  const entries = made.reduce((sum, { files }) => sum + files, 0);
  return {
    image: assemble(layers),
    summary: `${mega(packed)} MB gzip, ${mega(unpacked)} MB unpacked, ${layers.length} layers, ${entries} entries`,
  };
}

/**
 * Five layers of 200 MB and more. Each is one compressed file many times over, under another name each time: gzip takes
 * archives that are joined, so that making it costs little.
 */
export async function makeHugeImage(): Promise<LargeImage> {
  const next = randomNumbers(7);
  const pool = makePool(next);
  const content = Buffer.concat([pool, pool]).subarray(0, 24 * 1024 * 1024);
  for (let at = 0; at < content.length; at += 3) content[at] = next() & 0xff;
  const packedContent = await compress(content, { level: 1 });
  const count = Math.ceil(205e6 / packedContent.length);
  const end = Buffer.alloc(1024);
  const layers: Layer[] = [];
  for (let layer = 0; layer < 5; layer++) {
    const raw: Buffer[] = [];
    const packed: Buffer[] = [];
    for (let file = 0; file < count; file++) {
      const header = tarHeader(`srv/layer-${layer}/file-${file}`, '0', { size: content.length });
      raw.push(header, content);
      packed.push(await compress(header), packedContent);
    }
    raw.push(end);
    packed.push(await compress(end));
    layers.push({ blob: Buffer.concat(packed), diffId: digestOf(Buffer.concat(raw)) });
  }
  const packed = layers.reduce((sum, { blob }) => sum + blob.length, 0);
  return {
    image: assemble(layers),
    summary: `${mega(packed)} MB gzip, ${layers.length} layers of ${count} files of 25 MB`,
  };
}
