import { Readable } from 'node:stream';
import type { Descriptor, Digest } from '../../src/image/manifest.ts';
import type { Document, Source } from '../../src/image/source.ts';
import type { TestImage } from './images.ts';

/** A test image as a source, in memory. `log` gets what was asked for; `blob` may replace what a blob is. */
export function memorySource(
  name: string,
  image: TestImage,
  options: { log?: string[]; blob?: (digest: Digest, bytes: Buffer) => Buffer | Readable } = {},
): Source {
  return {
    name,
    async document(digest): Promise<Document> {
      const wanted = digest ?? image.root.digest;
      options.log?.push(`document ${digest ?? 'root'}`);
      const found = image.documents.get(wanted);
      if (!found) throw new Error(`no document ${wanted}`);
      return { ...found, digest: wanted };
    },
    async blob(descriptor: Descriptor): Promise<Readable> {
      options.log?.push(`blob ${descriptor.digest}`);
      const bytes = image.blobs.get(descriptor.digest) ?? Buffer.alloc(0);
      const sent = options.blob?.(descriptor.digest, bytes) ?? bytes;
      return sent instanceof Readable ? sent : Readable.from([sent], { objectMode: true });
    },
    async [Symbol.asyncDispose]() {},
  };
}
