import { Contents, type ContentsOf, type LowerLink } from './contents.ts';
import { type Entry, type Limits, refuse } from './entry.ts';
import { blockSize, type Header, isZero, parseHeader } from './header.ts';
import { type Extension, parseMember } from './member.ts';
import { Output, type Piece } from './output.ts';
import { parseRecords, type Records } from './pax.ts';
import { endOfArchive } from './writer.ts';

const noRecords: Records = new Map();
const noExtension: Extension = { records: noRecords, longName: undefined, longTarget: undefined };

type State =
  | { readonly in: 'header' }
  | { readonly in: 'special'; readonly header: Header; readonly data: Buffer; filled: number; left: number }
  | { readonly in: 'data'; left: number; readonly keep: boolean }
  | { readonly in: 'end' };

/**
 * Turns a hostile archive into one that says the same and holds only what `writeHeader` writes: every header
 * is parsed, judged and written anew; the data between goes through as slices of what came in. Headers that need no
 * more than one block are rewritten where they stand, so **it changes the buffers it is given**.
 */
export class Sanitiser {
  readonly #limits: Limits;
  readonly #output = new Output();
  readonly #contents: Contents;
  #state: State = { in: 'header' };
  #extension: Extension = noExtension;
  #partial: Buffer | undefined;
  #partialLength = 0;
  #zeros = 0;
  #names = 0;
  entries = 0;
  /** Bytes of files. */
  size = 0;

  /** Of a layer, or of a whole root file system: see {@link Contents}. */
  constructor(limits: Limits, of: ContentsOf = 'layer') {
    this.#limits = limits;
    this.#contents = new Contents(this.#output, limits.entries, of);
  }

  /** Takes the next bytes and gives what goes out for them. */
  push(chunk: Buffer): Piece[] {
    let at = 0;
    while (at < chunk.length) {
      const state = this.#state;
      if (state.in === 'end') break;
      if (state.in === 'data') at = this.#passData(state, chunk, at);
      else if (state.in === 'special') at = this.#collect(state, chunk, at);
      else at = this.#takeHeader(chunk, at);
    }
    this.#output.flush(chunk, chunk.length);
    return this.#output.take();
  }

  /**
   * Ends the members of the archive; `lower` are links to what only lower layers have. {@link finish} has to follow.
   */
  end(): { pieces: Piece[]; lower: LowerLink[] } {
    const { in: where } = this.#state;
    const whole = where === 'end' || (where === 'header' && this.#partialLength === 0 && this.#zeros === 0);
    // Go's reader, which made most images, takes an archive without its closing blocks of zeros.
    if (!whole || this.#extension !== noExtension)
      throw refuse('ERR_LAYER_TRUNCATED', 'the archive ends in the middle of an entry');
    const lower = this.#contents.links();
    return { pieces: this.#output.take(), lower };
  }

  /** Adds a member that comes from a lower layer and not from the archive. */
  add(entry: Entry): Piece[] {
    this.#contents.add(entry);
    return this.#output.take();
  }

  /** Whether the layer says of a path that lower layers' file of this name is removed. */
  isRemoved(path: string): boolean {
    return this.#contents.isRemoved(path);
  }

  /** Whether the path is a directory that the archive has no entry for. */
  isImplied(path: string): boolean {
    return this.#contents.isImplied(path);
  }

  /** The rest: whiteouts, opaque directories, and the end of the archive. */
  finish(): { pieces: Piece[]; opaque: string[] } {
    const opaque = this.#contents.finish();
    this.#output.put(endOfArchive);
    return { pieces: this.#output.take(), opaque };
  }

  #takeHeader(chunk: Buffer, at: number): number {
    if (this.#partial === undefined && chunk.length - at >= blockSize) {
      this.#header(chunk, at, chunk);
      return at + blockSize;
    }
    this.#output.flush(chunk, at);
    this.#partial ??= Buffer.allocUnsafe(blockSize);
    const taken = Math.min(blockSize - this.#partialLength, chunk.length - at);
    chunk.copy(this.#partial, this.#partialLength, at, at + taken);
    this.#partialLength += taken;
    if (this.#partialLength === blockSize) {
      const block = this.#partial;
      this.#partial = undefined;
      this.#partialLength = 0;
      this.#header(block, 0, undefined);
      // The data that follows is at the chunk's next bytes, and goes out from there.
      if (this.#state.in === 'data' && this.#state.keep) this.#output.pass(at + taken);
    }
    return at + taken;
  }

  /** Judges the block at `at`; `chunk` is given if the block lies in the chunk that is being passed on. */
  #header(block: Buffer, at: number, chunk: Buffer | undefined): void {
    if (isZero(block, at)) {
      if (chunk) this.#output.flush(chunk, at);
      if (this.#extension !== noExtension)
        throw refuse('ERR_LAYER_TRUNCATED', 'an archive that ends too early');
      if (++this.#zeros === 2) this.#state = { in: 'end' };
      return;
    }
    if (this.#zeros > 0) throw refuse('ERR_LAYER_HEADER', 'an entry after a block of zeros');
    const header = parseHeader(block, at);
    if ('gxLKX'.includes(header.type)) {
      if (chunk) this.#output.flush(chunk, at);
      this.#beginSpecial(header);
      return;
    }
    const entry = parseMember(header, this.#extension);
    this.#extension = noExtension;
    this.#count(entry);
    const keep = this.#contents.member(entry, block, at, chunk);
    const left = entry.size + padding(entry.size);
    this.#state = left === 0 ? { in: 'header' } : { in: 'data', left, keep };
  }

  #beginSpecial(header: Header): void {
    if (header.size < 0 || header.size > this.#limits.header)
      throw refuse('ERR_LAYER_HEADER_SIZE', `an extended header of ${header.size} bytes`);
    const left = header.size + padding(header.size);
    this.#count({ path: '', size: header.size });
    if (left === 0) return;
    this.#state = { in: 'special', header, data: Buffer.allocUnsafe(header.size), filled: 0, left };
  }

  #collect(state: State & { in: 'special' }, chunk: Buffer, at: number): number {
    const wanted = Math.min(state.data.length - state.filled, chunk.length - at);
    chunk.copy(state.data, state.filled, at, at + wanted);
    state.filled += wanted;
    const taken = Math.min(state.left, chunk.length - at);
    state.left -= taken;
    if (state.left > 0) return at + taken;
    this.#state = { in: 'header' };
    const text = () =>
      state.data.toString('latin1', 0, state.data.indexOf(0) === -1 ? undefined : state.data.indexOf(0));
    if (state.header.type === 'L') this.#extension = { ...this.#extension, longName: text() };
    else if (state.header.type === 'K') this.#extension = { ...this.#extension, longTarget: text() };
    else {
      const records = parseRecords(state.data);
      // Go's tools, which run images everywhere else, do not act on global headers; one that is broken is refused.
      if (state.header.type !== 'g') this.#extension = { ...this.#extension, records };
    }
    return at + taken;
  }

  #passData(state: State & { in: 'data' }, chunk: Buffer, at: number): number {
    const taken = Math.min(state.left, chunk.length - at);
    if (state.keep) this.#output.pass(at);
    state.left -= taken;
    if (state.left === 0) this.#state = { in: 'header' };
    return at + taken;
  }

  #count(entry: { readonly path: string; readonly size: number }): void {
    this.entries++;
    this.size += entry.size;
    this.#names += entry.path.length;
    if (this.entries > this.#limits.entries)
      throw refuse('ERR_LAYER_ENTRIES', `more than ${this.#limits.entries} entries`);
    if (this.#names > this.#limits.names) throw refuse('ERR_LAYER_ENTRIES', 'names that are too long in all');
    if (this.size > this.#limits.size) throw refuse('ERR_LAYER_SIZE', `more than ${this.#limits.size} bytes`);
  }
}

const padding = (size: number) => (blockSize - (size % blockSize)) % blockSize;
