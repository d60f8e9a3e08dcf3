import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Clock } from '../host/clock.ts';
import { SpawnletError } from '../host/error.ts';
import { resumedBlob } from './blob.ts';
import { maxDocumentSize } from './document.ts';
import { drain, readBody } from './http.ts';
import type { Descriptor, Digest } from './manifest.ts';
import { formatReference, isDigest, type RegistryReference } from './reference.ts';
import { openConnection, type RegistryConnection, type RegistryOptions } from './registry-connection.ts';
import { broken } from './registry-error.ts';
import type { Document, Source } from './source.ts';

/** All that a document takes, however slowly it comes, in milliseconds. */
/** Milliseconds until a document is given up, with all that is tried again. */
const documentDeadline = 120_000;

/**
 * The image that a reference names in a registry: the pull side of the OCI distribution specification 1.1. Opens no
 * connection until the first question.
 */
export async function openRegistry(
  reference: RegistryReference,
  options: RegistryOptions,
): Promise<Registry> {
  const connection = await openConnection(reference, options);
  return new Registry(reference, options.clock, connection, options.patience ?? documentDeadline);
}

export class Registry implements Source {
  readonly name: string;
  readonly #reference: RegistryReference;
  readonly #clock: Clock;
  readonly #connection: RegistryConnection;
  readonly #patience: number;

  constructor(reference: RegistryReference, clock: Clock, connection: RegistryConnection, patience: number) {
    this.name = formatReference(reference);
    this.#reference = reference;
    this.#clock = clock;
    this.#connection = connection;
    this.#patience = patience;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connection[Symbol.dispose]();
  }

  /**
   * Throws `ERR_IMAGE_NOT_FOUND`, `ERR_UNAUTHORIZED`, `ERR_REGISTRY`; `ERR_DIGEST` if the bytes are not those whose
   * digest was asked for.
   */
  async document(digest: Digest | undefined, signal: AbortSignal): Promise<Document> {
    const wanted = digest ?? this.#reference.digest;
    const path = this.#manifestPath(wanted);
    const { response, url } = await this.#inTime(signal, deadline =>
      this.#connection.ask(path, 'GET', deadline),
    );
    const bytes = await readBody(response, maxDocumentSize, this.#connection.stall).catch(
      (error: unknown) => {
        throw broken(url, error);
      },
    );
    if (!bytes)
      throw new SpawnletError(
        'ERR_REGISTRY',
        `the manifest of ${this.name} is over ${maxDocumentSize} bytes`,
      );
    const mediaType = (response.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '';
    const actual: Digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const told = wanted ?? headerDigest(response);
    if (told !== undefined && told !== actual)
      throw new SpawnletError(
        'ERR_DIGEST',
        `${this.#reference.registry} sent a manifest with digest ${actual} for ${told}`,
        { hint: 'the registry, or a proxy before it, is broken or lies' },
      );
    return { mediaType, digest: actual, bytes };
  }

  /** The digest that the tag has now, by a HEAD request, which Docker Hub does not count against its limits. */
  async head(signal: AbortSignal): Promise<Digest | undefined> {
    if (this.#reference.digest) return this.#reference.digest;
    const path = this.#manifestPath(undefined);
    const { response } = await this.#inTime(signal, deadline => this.#connection.ask(path, 'HEAD', deadline));
    await drain(response, this.#connection.stall);
    return headerDigest(response);
  }

  /**
   * The bytes as they come, at most `descriptor.size`. A connection that breaks is opened again where it broke.
   * An error while reading is `ERR_REGISTRY`.
   */
  async blob(descriptor: Descriptor, signal: AbortSignal): Promise<Readable> {
    if (descriptor.size === 0) return Readable.from([]);
    const path = `/v2/${this.#reference.repository}/blobs/${descriptor.digest}`;
    const open = (offset: number) =>
      this.#connection
        .ask(path, 'GET', signal, offset > 0 ? { range: `bytes=${offset}-` } : {})
        .then(({ response }) => response);
    const options = { descriptor, open, clock: this.#clock, stall: this.#connection.stall, name: this.name };
    return await resumedBlob(options, signal);
  }

  /** @throws ERR_REGISTRY for one that takes a question and does not answer */
  async #inTime<T>(signal: AbortSignal, ask: (deadline: AbortSignal) => Promise<T>): Promise<T> {
    const late = AbortSignal.timeout(this.#patience);
    try {
      return await ask(AbortSignal.any([signal, late]));
    } catch (cause) {
      signal.throwIfAborted();
      if (!late.aborted) throw cause;
      throw new SpawnletError(
        'ERR_REGISTRY',
        `${this.#reference.registry} did not answer within ${this.#patience / 1000} seconds`,
        { cause, hint: 'is this the address of a registry, and does a firewall or proxy let it answer?' },
      );
    }
  }

  #manifestPath(digest: Digest | undefined): string {
    return `/v2/${this.#reference.repository}/manifests/${digest ?? this.#reference.tag ?? 'latest'}`;
  }
}

function headerDigest(response: IncomingMessage): Digest | undefined {
  const value = response.headers['docker-content-digest'];
  return typeof value === 'string' && isDigest(value) ? value : undefined;
}
