import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Clock } from '../host/clock.ts';
import { messageOf, SpawnletError } from '../host/error.ts';
import { chunksOf } from './http.ts';
import type { Descriptor } from './manifest.ts';
import { backOff, isTransient, maxTries } from './retry.ts';

export interface BlobOptions {
  readonly descriptor: Descriptor;
  /** Asks for the bytes from this offset on. */
  open(offset: number): Promise<IncomingMessage>;
  readonly clock: Clock;
  /** Milliseconds. */
  readonly stall: number;
  /** Which image the blob is of, for errors. */
  readonly name: string;
}

/** What is buffered for a reader that is slower than the network, in bytes. */
const buffered = 256 * 1024;
/** A connection that brought this much before it broke was a good one: the tries are counted anew. */
const progress = 1024 * 1024;

/**
 * A blob that survives its connections. Resolves once the first answer is there. Gives exactly `descriptor.size` bytes
 * or an error: fewer and more are refused here, other ones by whoever hashes them.
 */
export async function resumedBlob(options: BlobOptions, signal: AbortSignal): Promise<Readable> {
  const first = await options.open(0);
  try {
    checkAnswer(options, first, 0);
  } catch (error) {
    first.destroy();
    throw error;
  }
  return Readable.from(bytesOf(options, first, signal), {
    objectMode: false,
    highWaterMark: buffered,
    signal,
  });
}

async function* bytesOf(
  options: BlobOptions,
  first: IncomingMessage,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  const { descriptor, clock, stall } = options;
  let response = first;
  let offset = 0;
  let skip = 0;
  let tries = 1;
  let begun = 0;
  for (;;) {
    let failure: unknown;
    try {
      for await (const chunk of chunksOf(response, stall)) {
        const fresh = skip >= chunk.length ? chunk.subarray(chunk.length) : chunk.subarray(skip);
        skip -= chunk.length - fresh.length;
        offset += fresh.length;
        if (offset > descriptor.size) throw wrong(options, `sent more than its ${descriptor.size} bytes`);
        if (fresh.length > 0) yield fresh;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SpawnletError) throw error;
      if (!isTransient(error)) throw broken(options, offset, error);
      failure = error;
    }
    if (offset === descriptor.size) return;
    if (offset - begun >= progress) tries = 0;
    if (tries === maxTries) throw broken(options, offset, failure);
    if (tries > 0) await clock.sleep(backOff(tries), signal);
    tries += 1;
    begun = offset;
    response = await options.open(offset);
    try {
      skip = checkAnswer(options, response, offset);
    } catch (error) {
      response.destroy();
      throw error;
    }
  }
}

/** How many bytes of this answer are there already: all of them if the server does not know `Range`. */
function checkAnswer(options: BlobOptions, response: IncomingMessage, offset: number): number {
  const { size } = options.descriptor;
  const encoding = response.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity')
    throw wrong(options, `sent it in the encoding ${JSON.stringify(encoding.slice(0, 20))}`);
  const partial = response.statusCode === 206;
  const range = /^bytes (\d+)-\d+\/(?:\d+|\*)$/.exec(response.headers['content-range'] ?? '');
  if (partial && Number(range?.[1] ?? Number.NaN) !== offset)
    throw wrong(options, 'sent another part of it than was asked for');
  const length = response.headers['content-length'];
  const expected = partial ? size - offset : size;
  if (length !== undefined && Number(length) !== expected)
    throw wrong(options, `has it with ${Number(length) + (partial ? offset : 0)} bytes instead of ${size}`);
  return partial ? 0 : offset;
}

function wrong(options: BlobOptions, what: string): SpawnletError {
  return new SpawnletError(
    'ERR_REGISTRY',
    `${options.descriptor.digest} of ${options.name} is broken: the registry ${what}`,
    { hint: 'the registry, or a proxy before it, is broken; the image has to be pushed again' },
  );
}

function broken(options: BlobOptions, offset: number, error: unknown): SpawnletError {
  const why = error === undefined ? 'the connection ended early' : messageOf(error);
  return new SpawnletError(
    'ERR_REGISTRY',
    `${options.descriptor.digest} of ${options.name} stopped after ${offset} of ${options.descriptor.size} bytes: ${why}`,
    { hint: 'check the network and try again', cause: error },
  );
}
