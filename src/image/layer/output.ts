import type { Entry } from './entry.ts';
import { blockSize } from './header.ts';
import { endOfArchive, extraHeaders, fitsHeader, writeHeader } from './writer.ts';

/** The archive ends here; then what is at a path is removed by extracting this one; then a new one begins. */
export interface Cut {
  readonly remove: Buffer;
}

/** What goes to the extracting child: bytes of an archive, or the end of one and what comes in between. */
export type Piece = Buffer | Cut;

/** An archive as it is written, in pieces. What stays as it came in goes out as slices of the chunks that came in. */
export class Output {
  #pieces: Piece[] = [];
  /** Where in the current chunk the bytes start that go out and have not yet. */
  #from = -1;

  /** The pieces since this was asked last. */
  take(): Piece[] {
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  put(piece: Piece): void {
    this.#pieces.push(piece);
  }

  /** The bytes of the current chunk go out from `at` on, until {@link flush}. */
  pass(at: number): void {
    if (this.#from === -1) this.#from = at;
  }

  /** Hands out what {@link pass} has begun, up to `to`. Comes before {@link put} wherever a chunk is passed on. */
  flush(chunk: Buffer, to: number): void {
    if (this.#from !== -1 && to > this.#from) this.#pieces.push(chunk.subarray(this.#from, to));
    this.#from = -1;
  }

  /** An entry that has no data. */
  entry(entry: Entry): void {
    this.#pieces.push(...headersOf(entry));
  }

  /**
   * tar removes a directory for an entry of another kind only with --recursive-unlink, which would also empty each
   * directory that comes twice: so one child puts an empty file there with that option, and the next goes on.
   */
  cut(file: Entry): void {
    this.#pieces.push(endOfArchive, { remove: Buffer.concat([...headersOf(file), endOfArchive]) });
  }
}

function headersOf(entry: Entry): Buffer[] {
  const block = Buffer.allocUnsafe(blockSize);
  writeHeader(entry, block, 0);
  return fitsHeader(entry) ? [block] : [extraHeaders(entry), block];
}
