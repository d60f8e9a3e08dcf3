import { type Entry, type Limits, refuse } from './entry.ts';
import { blockSize, type Header, isZero, parseHeader } from './header.ts';
import { type Extension, parseMember } from './member.ts';
import { parseRecords, type Records } from './pax.ts';
import { type Directory, type Place, Tree } from './tree.ts';
import { endOfArchive, extraHeaders, fitsHeader, writeHeader } from './writer.ts';

/** The archive ends here; then what is at a path is removed by extracting this one; then a new one begins. */
export interface Cut {
  readonly remove: Buffer;
}

/** What goes to the extracting child: bytes of an archive, or the end of one and what comes in between. */
export type Piece = Buffer | Cut;

/** A hard link whose target the layer does not hold, so that a lower layer must. */
export interface LowerLink {
  readonly entry: Entry;
  readonly target: string;
}

const marker = '.wh.';
const opaqueMarker = '.wh..wh..opq';
const auxiliary = '.wh..wh.';

/** How often a directory may become something else within one layer. */
const cutMax = 50;

const opaqueXattr = { name: 'trusted.overlay.opaque', value: 'y' };
const noRecords: Records = new Map();
const noExtension: Extension = { records: noRecords, longName: undefined, longTarget: undefined };

type State =
  | { readonly in: 'header' }
  | { readonly in: 'special'; readonly header: Header; readonly data: Buffer; filled: number; left: number }
  | { readonly in: 'data'; left: number; readonly keep: boolean }
  | { readonly in: 'end' };

/**
 * Turns a hostile archive into one that says the same and holds only what {@link writeHeader} writes: every header
 * is parsed, judged and written anew; the data between goes through as slices of what came in. Headers that need no
 * more than one block are rewritten where they stand, so **it changes the buffers it is given**.
 *
 * Whiteouts take overlayfs' form at the end of the archive, when it is known what the layer itself holds: a marker
 * hides what lower layers have, never what its own layer has, in whatever order they come.
 */
export class Sanitiser {
  readonly #limits: Limits;
  readonly #tree: Tree;
  readonly #whiteouts = new Set<string>();
  readonly #opaque = new Set<Directory>();
  readonly #links: { entry: Entry; place: Place; target: Place }[] = [];
  #state: State = { in: 'header' };
  #extension: Extension = noExtension;
  #partial: Buffer | undefined;
  #partialLength = 0;
  #zeros = 0;
  #names = 0;
  #cuts = 0;
  #pieces: Piece[] = [];
  /** Where in the current chunk the bytes start that go out and have not yet. */
  #from = -1;
  entries = 0;
  /** Bytes of files. */
  size = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
    this.#tree = new Tree(limits.entries);
  }

  /** Takes the next bytes and gives what goes out for them. */
  push(chunk: Buffer): Piece[] {
    this.#pieces = [];
    this.#from = -1;
    let at = 0;
    while (at < chunk.length) {
      const state = this.#state;
      if (state.in === 'end') break;
      if (state.in === 'data') at = this.#passData(state, chunk, at);
      else if (state.in === 'special') at = this.#collect(state, chunk, at);
      else at = this.#takeHeader(chunk, at);
    }
    this.#flush(chunk, chunk.length);
    return this.#pieces;
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
    this.#pieces = [];
    const lower: LowerLink[] = [];
    const origins = new Map<string, string>();
    for (const { entry, place, target } of this.#links) {
      // Something else took the link's name, or that of a directory above it, later.
      if (this.#tree.find(place.path) !== 'nothing') continue;
      const origin = origins.get(target.path) ?? target.path;
      if (this.#tree.look(target) === 'nothing' || origin !== target.path) {
        lower.push({ entry: { ...entry, path: place.path }, target: origin });
        this.#tree.put(place, entry);
        origins.set(place.path, origin);
      } else this.#emitWhole(this.#linkTo(entry, target), place);
    }
    return { pieces: this.#pieces, lower };
  }

  /** Adds a member that comes from a lower layer and not from the archive. */
  add(entry: Entry): Piece[] {
    this.#pieces = [];
    this.#emitWhole(entry, this.#tree.place(entry.path));
    return this.#pieces;
  }

  /** Whether the layer says of a path that lower layers' file of this name is removed. */
  isRemoved(path: string): boolean {
    return this.#whiteouts.has(path);
  }

  /** Whether the path is a directory that the archive has no entry for. */
  isImplied(path: string): boolean {
    const found = this.#tree.find(path);
    return found === 'nothing' || (typeof found === 'object' && !found.entry);
  }

  /** The rest: whiteouts, opaque directories, and the end of the archive. */
  finish(): { pieces: Piece[]; opaque: string[] } {
    this.#pieces = [];
    for (const path of this.#whiteouts) {
      const found = this.#tree.find(path);
      if (typeof found === 'object') this.#opaque.add(found);
      else if (found === 'nothing') this.#emit(whiteout(path));
    }
    const opaque: string[] = [];
    if (this.#opaque.size > 0 || this.#cuts > 0) {
      for (const [path, directory] of this.#tree.directories()) {
        const isOpaque = this.#opaque.has(directory);
        if (isOpaque) opaque.push(path);
        // After a cut, the first child has set times that the second one disturbed.
        if (!isOpaque && (this.#cuts === 0 || !directory.entry)) continue;
        const entry = directory.entry ?? implied(path);
        this.#emit({ ...entry, path, xattrs: isOpaque ? [...entry.xattrs, opaqueXattr] : entry.xattrs });
      }
    }
    this.#pieces.push(endOfArchive);
    return { pieces: this.#pieces, opaque };
  }

  #takeHeader(chunk: Buffer, at: number): number {
    if (this.#partial === undefined && chunk.length - at >= blockSize) {
      this.#header(chunk, at, chunk);
      return at + blockSize;
    }
    this.#flush(chunk, at);
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
      if (this.#state.in === 'data' && this.#state.keep) this.#from = at + taken;
    }
    return at + taken;
  }

  /** Judges the block at `at`; `chunk` is given if the block lies in the chunk that is being passed on. */
  #header(block: Buffer, at: number, chunk: Buffer | undefined): void {
    if (isZero(block, at)) {
      if (chunk) this.#flush(chunk, at);
      if (this.#extension !== noExtension)
        throw refuse('ERR_LAYER_TRUNCATED', 'an archive that ends too early');
      if (++this.#zeros === 2) this.#state = { in: 'end' };
      return;
    }
    if (this.#zeros > 0) throw refuse('ERR_LAYER_HEADER', 'an entry after a block of zeros');
    const header = parseHeader(block, at);
    if ('gxLKX'.includes(header.type)) {
      if (chunk) this.#flush(chunk, at);
      this.#beginSpecial(header);
      return;
    }
    const entry = parseMember(header, this.#extension);
    this.#extension = noExtension;
    this.#count(entry);
    const keep = this.#member(entry, block, at, chunk);
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
    if (state.keep && this.#from === -1) this.#from = at;
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

  /** Emits the member's header, or keeps in mind what it marks. True if its data goes out too. */
  #member(entry: Entry, block: Buffer, at: number, chunk: Buffer | undefined): boolean {
    const slash = entry.path.lastIndexOf('/');
    const base = entry.path.slice(slash + 1);
    if (entry.path.startsWith(marker) || entry.path.includes(`/${marker}`)) {
      if (chunk) this.#flush(chunk, at);
      this.#mark(slash === -1 ? '' : entry.path.slice(0, slash), base, entry.path);
      return false;
    }
    const place = this.#tree.place(entry.path);
    let checked = entry;
    if (entry.kind === 'link') {
      const target = this.#tree.place(entry.target);
      if (target.path === place.path) throw refuse('ERR_LAYER_LINK', 'a hard link to itself', entry.path);
      if (this.#tree.look(target) === 'nothing') {
        if (chunk) this.#flush(chunk, at);
        if (this.#tree.look(place) !== 'nothing')
          throw refuse('ERR_LAYER_LINK', 'a hard link to nothing in place of a file', entry.path);
        this.#links.push({ entry, place, target });
        return false;
      }
      checked = this.#linkTo(entry, target);
    }
    if (this.#tree.put(place, checked)) {
      if (chunk) this.#flush(chunk, at);
      this.#cut(place.path);
    }
    const out = checked.path === place.path ? checked : { ...checked, path: place.path };
    if (!fitsHeader(out)) {
      if (chunk) this.#flush(chunk, at);
      this.#pieces.push(extraHeaders(out));
    }
    writeHeader(out, block, at);
    if (!chunk) this.#pieces.push(block);
    else if (this.#from === -1) this.#from = at;
    return true;
  }

  #linkTo(entry: Entry, target: Place): Entry {
    if (this.#tree.look(target) === 'directory')
      throw refuse('ERR_LAYER_LINK', 'a hard link to a directory', entry.path);
    return { ...entry, target: target.path };
  }

  #mark(parent: string, base: string, path: string): void {
    // Auxiliary files of AUFS, from Docker's early years, hold nothing of the image.
    const parts = path.split('/');
    const isAuxiliary = parts.some(part => part.startsWith(auxiliary) && part !== opaqueMarker);
    if (isAuxiliary) return;
    if (parts.slice(0, -1).some(part => part.startsWith(marker)))
      throw refuse('ERR_LAYER_WHITEOUT', 'a path through the mark of a removed file', path);
    if (base === opaqueMarker) {
      const directory = this.#tree.place(`${parent === '' ? '' : `${parent}/`}x`).parent;
      this.#opaque.add(directory);
      return;
    }
    const name = base.slice(marker.length);
    if (name === '' || name === '.' || name === '..')
      throw refuse('ERR_LAYER_WHITEOUT', 'the mark of a removed file without a name', path);
    const place = this.#tree.place(parent === '' ? name : `${parent}/${name}`);
    this.#whiteouts.add(place.path);
  }

  /**
   * tar removes a directory for an entry of another kind only with --recursive-unlink, which would also empty each
   * directory that comes twice: so one child puts an empty file there with that option, and the next goes on.
   */
  #cut(path: string): void {
    if (++this.#cuts > cutMax)
      throw refuse('ERR_LAYER_ENTRIES', `more than ${cutMax} directories that become something else`);
    const before = this.#pieces;
    this.#pieces = [];
    this.#emit({ ...implied(path), kind: 'file' });
    const remove = Buffer.concat([...(this.#pieces as Buffer[]), endOfArchive]);
    this.#pieces = before;
    this.#pieces.push(endOfArchive, { remove });
  }

  #emitWhole(entry: Entry, place: Place): void {
    if (this.#tree.put(place, entry)) this.#cut(place.path);
    this.#emit({ ...entry, path: place.path });
  }

  #emit(entry: Entry): void {
    if (!fitsHeader(entry)) this.#pieces.push(extraHeaders(entry));
    const block = Buffer.allocUnsafe(blockSize);
    writeHeader(entry, block, 0);
    this.#pieces.push(block);
  }

  #flush(chunk: Buffer, to: number): void {
    if (this.#from !== -1 && to > this.#from) this.#pieces.push(chunk.subarray(this.#from, to));
    this.#from = -1;
  }
}

const padding = (size: number) => (blockSize - (size % blockSize)) % blockSize;

const implied = (path: string): Entry => ({
  kind: 'directory',
  path,
  mode: 0o755,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: 0,
  nanoseconds: 0,
  target: '',
  major: 0,
  minor: 0,
  xattrs: [],
});

/** overlayfs' mark of a removed file: a character device 0:0. */
const whiteout = (path: string): Entry => ({ ...implied(path), kind: 'char', mode: 0 });
