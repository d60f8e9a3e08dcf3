import { type Entry, normalise, refuse } from './entry.ts';

/** A directory of the layer: one that the archive names (`entry`), or one that a path goes through. */
export interface Directory {
  readonly children: Map<string, Node>;
  entry: Entry | undefined;
}

/** Where a symbolic link leads. */
interface Link {
  readonly target: string;
}

/** All that is known of other kinds is that they are there. */
type Node = Directory | Link | 'leaf';

/** Where a path of the archive really lies in the layer. */
export interface Place {
  readonly parent: Directory;
  /** Empty for the root. */
  readonly name: string;
  readonly path: string;
}

/** Linux's own limit on symbolic links in one path. */
const linkMax = 40;

/** Components that all paths of a layer together may gain by links: no image of a build tool gains any. */
const linkStepMax = 1_000_000;

const isDirectory = (node: Node | undefined): node is Directory =>
  node !== undefined && node !== 'leaf' && 'children' in node;

/**
 * What the layer holds so far, by name: the tree that the extracting child will have made. A path whose parents
 * are symbolic links of the layer is resolved here, inside the layer's root, so that the child only meets
 * paths whose parents are directories.
 */
export class Tree {
  readonly root: Directory = { children: new Map(), entry: undefined };
  readonly #nodeMax: number;
  #nodes = 0;
  #linkSteps = 0;
  /** Members of one directory mostly follow each other. */
  #parent: { readonly given: string; readonly directory: Directory; readonly path: string } | undefined;

  constructor(nodeMax: number) {
    this.#nodeMax = nodeMax;
  }

  /** Finds where a normalised path lies; makes the directories that lead there. */
  place(path: string): Place {
    const slash = path.lastIndexOf('/');
    const given = slash === -1 ? '' : path.slice(0, slash);
    const name = path.slice(slash + 1);
    if (this.#parent?.given !== given) this.#parent = { given, ...this.#walk(given) };
    const { directory, path: parent } = this.#parent;
    return { parent: directory, name, path: parent === '' ? name : `${parent}/${name}` };
  }

  look(place: Place): 'nothing' | 'directory' | 'other' {
    if (place.name === '') return 'directory';
    const node = place.parent.children.get(place.name);
    if (node === undefined) return 'nothing';
    return isDirectory(node) ? 'directory' : 'other';
  }

  /**
   * What is at a path that {@link place} gave before: a directory, something else (also where one of the
   * directories above has become something else since), or nothing.
   */
  find(path: string): Directory | 'other' | 'nothing' {
    let here = this.root;
    for (const name of path === '' ? [] : path.split('/')) {
      const node = here.children.get(name);
      if (node === undefined) return 'nothing';
      if (!isDirectory(node)) return 'other';
      here = node;
    }
    return here;
  }

  /** Puts the entry where it lies. True if a directory that was there had to go for it. */
  put(place: Place, entry: Entry): boolean {
    const { children } = place.parent;
    const before = place.name === '' ? this.root : children.get(place.name);
    if (entry.kind === 'directory') {
      if (isDirectory(before)) {
        before.entry = entry;
        return false;
      }
      if (before !== undefined) this.#parent = undefined;
      this.#add(place.parent, place.name, { children: new Map(), entry });
      return false;
    }
    if (place.name === '') throw refuse('ERR_LAYER_PATH', 'a root that is no directory');
    // A link in a path that was walked before leads elsewhere now.
    if (before !== undefined && before !== 'leaf') this.#parent = undefined;
    this.#add(place.parent, place.name, entry.kind === 'symlink' ? { target: entry.target } : 'leaf');
    return isDirectory(before);
  }

  /** Every directory, parents first, with its path. */
  *directories(): Generator<[string, Directory]> {
    const stack: [string, Directory][] = [['', this.root]];
    for (let top = stack.pop(); top; top = stack.pop()) {
      yield top;
      const [path, directory] = top;
      for (const [name, node] of directory.children)
        if (isDirectory(node)) stack.push([path === '' ? name : `${path}/${name}`, node]);
    }
  }

  #add(parent: Directory, name: string, node: Node): void {
    if (++this.#nodes > this.#nodeMax)
      throw refuse('ERR_LAYER_ENTRIES', `more than ${this.#nodeMax} entries`);
    parent.children.set(name, node);
  }

  #walk(path: string): { directory: Directory; path: string } {
    const chain: Directory[] = [this.root];
    const names: string[] = [];
    const todo = path === '' ? [] : path.split('/').toReversed();
    let links = 0;
    for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (names.length > 0) {
          names.pop();
          chain.pop();
        }
        continue;
      }
      const here = chain.at(-1) ?? this.root;
      const node = here.children.get(name);
      if (node === 'leaf') throw refuse('ERR_LAYER_PATH', 'a path that goes through a file', path);
      if (node && !isDirectory(node)) {
        if (++links > linkMax)
          throw refuse('ERR_LAYER_PATH', 'a path that goes through too many links', path);
        if (node.target.startsWith('/')) {
          names.length = 0;
          chain.length = 1;
        }
        const steps = node.target.split('/').toReversed();
        this.#linkSteps += steps.length;
        if (this.#linkSteps > linkStepMax)
          throw refuse('ERR_LAYER_PATH', 'too many paths through links', path);
        todo.push(...steps);
        continue;
      }
      const next = node ?? { children: new Map(), entry: undefined };
      if (!node) this.#add(here, name, next);
      names.push(name);
      chain.push(next);
    }
    return { directory: chain.at(-1) ?? this.root, path: normalise(names.join('/')) };
  }
}
