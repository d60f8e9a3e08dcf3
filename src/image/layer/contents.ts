import { type Entry, refuse } from './entry.ts';
import type { Output } from './output.ts';
import { type Directory, type Place, Tree } from './tree.ts';
import { extraHeaders, fitsHeader, writeHeader } from './writer.ts';

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

/**
 * `layer`: marks of removed files are understood. `tree`: there is nothing below that could be removed, so they are
 * refused; and device nodes are left out, with the hard links to them, since a machine is given those it may have.
 */
export type ContentsOf = 'layer' | 'tree';

const opaqueXattr = { name: 'trusted.overlay.opaque', value: 'y' };

/**
 * What a layer holds: judges its members and writes them to an output.
 *
 * Whiteouts take overlayfs' form at the end of the archive, when it is known what the layer itself holds: a marker
 * hides what lower layers have, never what its own layer has, in whatever order they come.
 */
export class Contents {
  readonly #output: Output;
  readonly #tree: Tree;
  readonly #whiteouts = new Set<string>();
  readonly #opaque = new Set<Directory>();
  readonly #links: { entry: Entry; place: Place; target: Place }[] = [];
  readonly #of: ContentsOf;
  /** Places of devices that were left out. */
  readonly #leftOut = new Set<string>();
  #cuts = 0;

  constructor(output: Output, entryMax: number, of: ContentsOf) {
    this.#of = of;
    this.#output = output;
    this.#tree = new Tree(entryMax);
  }

  /**
   * Writes the member's header over the block at `at` that it came in, or keeps in mind what it marks; `chunk` is given
   * if the block lies in the chunk that is being passed on. True if its data goes out too.
   */
  member(entry: Entry, block: Buffer, at: number, chunk: Buffer | undefined): boolean {
    const slash = entry.path.lastIndexOf('/');
    const base = entry.path.slice(slash + 1);
    if (entry.path.startsWith(marker) || entry.path.includes(`/${marker}`)) {
      if (this.#of === 'tree')
        throw refuse('ERR_LAYER_WHITEOUT', 'the mark of a removed file where nothing is below', entry.path);
      if (chunk) this.#output.flush(chunk, at);
      this.#mark(slash === -1 ? '' : entry.path.slice(0, slash), base, entry.path);
      return false;
    }
    const place = this.#tree.place(entry.path);
    if (this.#of === 'tree' && this.#isDevice(entry)) {
      if (chunk) this.#output.flush(chunk, at);
      this.#leftOut.add(place.path);
      return false;
    }
    let checked = entry;
    if (entry.kind === 'link') {
      const target = this.#tree.place(entry.target);
      if (target.path === place.path) throw refuse('ERR_LAYER_LINK', 'a hard link to itself', entry.path);
      if (this.#tree.look(target) === 'nothing') {
        if (chunk) this.#output.flush(chunk, at);
        if (this.#tree.look(place) !== 'nothing')
          throw refuse('ERR_LAYER_LINK', 'a hard link to nothing in place of a file', entry.path);
        this.#links.push({ entry, place, target });
        return false;
      }
      checked = this.#linkTo(entry, target);
    }
    if (this.#tree.put(place, checked)) {
      if (chunk) this.#output.flush(chunk, at);
      this.#cut(place.path);
    }
    const out = checked.path === place.path ? checked : { ...checked, path: place.path };
    if (!fitsHeader(out)) {
      if (chunk) this.#output.flush(chunk, at);
      this.#output.put(extraHeaders(out));
    }
    writeHeader(out, block, at);
    if (chunk) this.#output.pass(at);
    else this.#output.put(block);
    return true;
  }

  /** Writes a member that did not come in with a header of its own, and has no data. */
  add(entry: Entry, place = this.#tree.place(entry.path)): void {
    if (this.#tree.put(place, entry)) this.#cut(place.path);
    this.#output.entry({ ...entry, path: place.path });
  }

  /** Writes the hard links that wait for their targets; gives those whose targets only lower layers have. */
  links(): LowerLink[] {
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
      } else this.add(this.#linkTo(entry, target), place);
    }
    return lower;
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

  /** Writes the rest: whiteouts and opaque directories. Gives the paths of the latter. */
  finish(): string[] {
    for (const path of this.#whiteouts) {
      const found = this.#tree.find(path);
      if (typeof found === 'object') this.#opaque.add(found);
      else if (found === 'nothing') this.#output.entry(whiteout(path));
    }
    const opaque: string[] = [];
    if (this.#opaque.size > 0 || this.#cuts > 0) {
      for (const [path, directory] of this.#tree.directories()) {
        const isOpaque = this.#opaque.has(directory);
        if (isOpaque) opaque.push(path);
        // After a cut, the first child has set times that the second one disturbed.
        if (!isOpaque && (this.#cuts === 0 || !directory.entry)) continue;
        const entry = directory.entry ?? implied(path);
        this.#output.entry({
          ...entry,
          path,
          xattrs: isOpaque ? [...entry.xattrs, opaqueXattr] : entry.xattrs,
        });
      }
    }
    return opaque;
  }

  #isDevice(entry: Entry): boolean {
    if (entry.kind !== 'link') return entry.kind === 'char' || entry.kind === 'block';
    const target = this.#tree.place(entry.target);
    return this.#leftOut.has(target.path) && this.#tree.look(target) === 'nothing';
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

  #cut(path: string): void {
    if (++this.#cuts > cutMax)
      throw refuse('ERR_LAYER_ENTRIES', `more than ${cutMax} directories that become something else`);
    this.#output.cut({ ...implied(path), kind: 'file' });
  }
}

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
