import type { Readable } from 'node:stream';
import type { Descriptor, Digest } from './manifest.ts';

/** Bytes of a manifest or an index, whose digest has been verified where one was asked for. */
export interface Document {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly bytes: Buffer;
}

/** Where an image comes from: a registry, an OCI layout, an archive. */
export interface Source extends AsyncDisposable {
  /** What the image is called in the store: `docker.io/library/nginx:1.27`, or what the archive calls it. */
  readonly name: string;
  /** The manifest or index that the reference names, or the one with this digest. At most 4 MiB. */
  document(digest: Digest | undefined, signal: AbortSignal): Promise<Document>;
  /** The digest the reference has now, without its document; undefined where that is not cheaper. */
  head?(signal: AbortSignal): Promise<Digest | undefined>;
  /** The bytes of a blob as they come, not verified: whoever stores them hashes them. */
  blob(descriptor: Descriptor, signal: AbortSignal): Promise<Readable>;
}
