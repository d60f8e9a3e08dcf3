import { basename, join } from 'node:path';
import { copyPiped, fileWords, treeWords } from '../host/copying.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { execCall } from './exec.ts';
import { GuestRoot } from './guest/root.ts';
import type { Running } from './running.ts';

/**
 * A path of the host, of a machine that runs, of the tree of one that does not, or of a tree that somebody else uses meanwhile,
 * maybe to harm: what is put there belongs to `owner`.
 */
export type End =
  | { readonly kind: 'host'; readonly path: string }
  | { readonly kind: 'running'; readonly machine: Running; readonly path: string }
  | { readonly kind: 'stopped'; readonly machine: string; readonly root: string; readonly path: string }
  | {
      readonly kind: 'in-use';
      readonly name: string;
      readonly root: string;
      readonly owner: { readonly uid: number; readonly gid: number };
      readonly path: string;
    };

function shown(end: End): string {
  switch (end.kind) {
    case 'host':
      return end.path;
    case 'running':
      return `${end.machine.name}:${end.path}`;
    case 'stopped':
      return `${end.machine}:${end.path}`;
    case 'in-use':
      return `${end.name}:${end.path}`;
  }
}

interface Seen {
  readonly kind: 'directory' | 'other' | 'nothing';
  /** Octal. */
  readonly mode: string;
}

const refused = (message: string) => new SpawnletError('ERR_GUEST_COPY', message);

/**
 * Copies a file or a tree, as `docker cp` does: into a directory that is there under its own name, else as the name
 * given; `SRC/.` means what is in SRC. Modes are kept; at the target all belongs to root, for the host's numbers mean
 * other people in a machine.
 *
 * In a machine that runs, the machine's own programs read and write, so its paths, mounts and user namespace are its own
 * affair. In a tree, paths lead where they would in the machine, by handles that never leave it. Into a tree that is in use only
 * files of the host are copied: a program that writes there could be led astray between two looks.
 *
 * @throws ERR_GUEST_COPY
 */
export async function copyFiles(host: Host, from: End, to: End, signal: AbortSignal): Promise<void> {
  const [source, target] = await Promise.all([look(from), look(to)]);
  if (source.kind === 'nothing') throw refused(`there is no ${shown(from)}`);
  if (source.kind === 'directory' && target.kind === 'other')
    throw refused(`${shown(from)} is a directory, and ${shown(to)} is a file`);
  if (source.kind === 'other' && target.kind === 'nothing' && to.path.endsWith('/'))
    throw refused(`there is no directory ${shown(to)}`);
  const contents = source.kind === 'directory' && /(?:^|\/)\.$/.test(from.path);
  const inside = target.kind === 'directory' && !contents;
  const final = inside ? { ...to, path: join(to.path, basename(from.path)) } : to;

  if (to.kind === 'in-use') {
    if (from.kind !== 'host') throw refused(`${shown(from)} is no file of the host`);
    const { insert } = await import('./guest/insert.ts');
    using tree = new GuestRoot(to.root);
    return await insert(from.path, tree, final.path, to.owner, signal);
  }
  await using read = await reader(from);
  await using write = await writer(final, source.kind === 'directory');
  const isDirectory = source.kind === 'directory';
  const place = to.kind !== 'host' ? 'container' : inside ? 'host-inside' : 'host';
  const words = isDirectory
    ? treeWords(read.path, write.path, place)
    : fileWords(read.path, write.path, source.mode, place);
  const produced = from.kind === 'in-use' && isDirectory ? asItChanges(words.produce) : words.produce;
  const [produce, consume] = await Promise.all([at(host, from, produced), at(host, to, words.consume)]);
  const failure = await copyPiped(host.children, { produce, consume }, signal);
  if (failure !== undefined) throw refused(`copying ${shown(from)} to ${shown(to)} failed: ${failure}`);
}

/** A file that grows or goes meanwhile, as logs do, is no failure: GNU tar says 1 of it, and 2 of all else. */
const asItChanges = (tar: readonly string[]) => ['sh', '-c', '"$@" || [ $? = 1 ]', 'sh', ...tar];

/** The command line that runs `argv` where an end is. */
async function at(host: Host, end: End, argv: readonly string[]): Promise<readonly string[]> {
  if (end.kind !== 'running') return argv;
  return (await execCall(host, end.machine, argv, { env: [], terminal: false })).argv;
}

async function look(end: End): Promise<Seen> {
  if (end.kind === 'host') {
    const { stat } = await import('node:fs/promises');
    const entry = await stat(end.path).catch(() => undefined);
    if (!entry) return { kind: 'nothing', mode: '' };
    return { kind: entry.isDirectory() ? 'directory' : 'other', mode: (entry.mode & 0o777).toString(8) };
  }
  // What is seen here only decides how to ask: the machine itself does the work.
  using tree = new GuestRoot(end.kind === 'running' ? `/proc/${end.machine.leader}/root` : end.root);
  const entry = tree.look(end.path, 'follow');
  if (!entry) return { kind: 'nothing', mode: '' };
  if (end.kind !== 'running' && entry.kind === 'other')
    throw refused(`${shown(end)} is neither a file nor a directory`);
  return {
    kind: entry.kind === 'directory' ? 'directory' : 'other',
    mode: (entry.mode & 0o777).toString(8),
  };
}

/** A path for a child, good until it is disposed of. */
interface Held extends AsyncDisposable {
  readonly path: string;
}

/** Other processes reach what this one holds open. */
const held = (handle: number, name = '') =>
  `/proc/${process.pid}/fd/${handle}${name === '' ? '' : `/${name}`}`;

const plain = (path: string): Held => ({ path, async [Symbol.asyncDispose]() {} });

async function reader(end: End): Promise<Held> {
  if (end.kind !== 'stopped' && end.kind !== 'in-use') return plain(end.path);
  const tree = new GuestRoot(end.root);
  return handed(tree, use => tree.withHandle(end.path, use));
}

/** What is in the way of a file in a tree is removed; what writes then makes it anew. */
async function writer(end: End, isDirectory: boolean): Promise<Held> {
  if (end.kind !== 'stopped') return plain(end.path);
  const tree = new GuestRoot(end.root);
  if (isDirectory) return handed(tree, use => tree.inDirectory(end.path, true, use));
  await tree.remove(end.path);
  const slash = end.path.lastIndexOf('/');
  return handed(
    tree,
    use => tree.inDirectory(end.path.slice(0, slash + 1) || '/', true, use),
    end.path.slice(slash + 1),
  );
}

/** Keeps a handle open until it is disposed of. */
async function handed(
  tree: GuestRoot,
  open: (use: (handle: number) => Promise<void>) => Promise<void>,
  name = '',
): Promise<Held> {
  const opened = Promise.withResolvers<number>();
  const over = Promise.withResolvers<void>();
  const done = open(async handle => {
    opened.resolve(handle);
    await over.promise;
  }).finally(() => tree[Symbol.dispose]());
  done.catch(opened.reject);
  const handle = await opened.promise;
  return {
    path: held(handle, name),
    async [Symbol.asyncDispose]() {
      over.resolve();
      await done;
    },
  };
}
