import { chmodSync, closeSync, fstatSync, mkdirSync, readlinkSync } from 'node:fs';
import { isErrno } from './error.ts';
import { at, enter, pathOf } from './handle.ts';

/** Linux's own limit on symbolic links in one path. */
const linkMax = 40;

/** How a path is followed below a directory that somebody else filled, maybe to harm. */
export interface Rules {
  /** What is done with a link that the last name is. */
  readonly last: 'follow' | 'keep';
  /** Directories that are missing are made: `above` the last name, or `all` of them. */
  readonly make?: 'above' | 'all';
  /** Of directories that are made, whatever the umask; 0755 for the umask to cut down if it is not given. */
  readonly mode?: number;
  /**
   * Where links lead that leave the directory. `root`: it is the root of what is in it, as openat2(2) has it with
   * RESOLVE_IN_ROOT: `..` stops there, and absolute links start there. `refused`: nowhere, as with RESOLVE_BENEATH, but that an
   * absolute link back into the directory is followed.
   */
  readonly outside: 'root' | 'refused';
  /** The error to throw for a path that cannot be followed. */
  readonly blocked: (why: string) => Error;
}

/** Where a path leads: the directory that has its last name, and what is there. Handles are closed when it is disposed of. */
export interface Spot extends Disposable {
  /** A handle of the directory. */
  readonly directory: number;
  /** Empty for the first directory itself. */
  readonly name: string;
  /** Handle of what is there, opened by its path alone (O_PATH); undefined if nothing is. */
  readonly found: number | undefined;
}

const parts = (text: string) => text.split('/').filter(part => part !== '' && part !== '.');

/**
 * Follows a path below an open directory. Each directory is held open while its entry is looked at, so a path leads to the
 * same place even if the tree is changed meanwhile. Nothing that is found is opened. Undefined if there is no such path.
 */
export function walk(root: number, path: string, rules: Rules): Spot | undefined {
  const opened: number[] = [];
  const close = () => {
    for (const handle of opened.splice(0)) closeSync(handle);
  };
  try {
    const spot = follow(root, path, rules, handle => {
      opened.push(handle);
      return handle;
    });
    if (spot) return { ...spot, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
  close();
  return undefined;
}

function follow(
  root: number,
  path: string,
  rules: Rules,
  hold: (handle: number) => number,
): Omit<Spot, typeof Symbol.dispose> | undefined {
  const { last, make, blocked } = rules;
  const chain = [root];
  const here = () => chain.at(-1) ?? root;
  const todo = parts(Buffer.from(path).toString('latin1')).toReversed();
  let links = 0;
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (name === '..') {
      if (chain.length > 1) chain.pop();
      else if (rules.outside === 'refused') throw blocked('it leads out of the directory');
      continue;
    }
    const isLast = todo.length === 0;
    const wanted = make === 'all' || (make === 'above' && !isLast);
    const found = enter(here(), name) ?? (wanted ? added(here(), name, rules.mode) : undefined);
    if (found === undefined) return isLast ? { directory: here(), name, found } : undefined;
    const stat = fstatSync(hold(found));
    if (stat.isDirectory()) {
      if (isLast && last === 'keep') return { directory: here(), name, found };
      chain.push(found);
      continue;
    }
    if (stat.isSymbolicLink() && !(isLast && last === 'keep')) {
      if (++links > linkMax) throw blocked('it leads through too many symbolic links');
      const target = targetOf(root, here(), name, rules);
      if (target.startsWith('/')) chain.length = 1;
      todo.push(...parts(target).toReversed());
      continue;
    }
    if (isLast && make !== 'all') return { directory: here(), name, found };
    if (make) throw blocked(`${name} on the way is no directory`);
    return undefined;
  }
  return { directory: here(), name: '', found: here() };
}

/** Where a link leads; a `/` at its beginning stands for the first directory. */
function targetOf(root: number, directory: number, name: string, { outside, blocked }: Rules): string {
  const target = readTarget(directory, name);
  if (target === undefined) throw blocked(`${name} on the way was changed meanwhile`);
  if (outside === 'root' || !target.startsWith('/')) return target;
  const start = readlinkSync(pathOf(root), 'latin1');
  if (target !== start && !target.startsWith(`${start}/`)) throw blocked('it leads out of the directory');
  return `/${target.slice(start.length)}`;
}

function readTarget(directory: number, name: string): string | undefined {
  try {
    return readlinkSync(at(directory, name), 'latin1');
  } catch (error) {
    if (isErrno(error, 'EINVAL', 'ENOENT')) return undefined;
    throw error;
  }
}

/** Of a directory that is on the way and missing. */
const directoryMode = 0o755;

function added(directory: number, name: string, mode: number | undefined): number | undefined {
  try {
    mkdirSync(at(directory, name), directoryMode);
  } catch (error) {
    // Somebody else was faster.
    if (isErrno(error, 'EEXIST')) return enter(directory, name);
    // The directory is held, and has been removed.
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
  const made = enter(directory, name);
  // By its handle: the name may be that of another by now. A link that has come into its place has no mode.
  if (made !== undefined && mode !== undefined && fstatSync(made).isDirectory())
    chmodSync(pathOf(made), mode);
  return made;
}
