import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { type Children, ended } from '../../host/child.ts';
import { SpawnletError } from '../../host/error.ts';
import { handlePath } from '../../host/handle.ts';
import type { Executors } from '../../host/step.ts';
import { bytesOf, type GuestFile, ownershipOf } from './file.ts';
import { GuestRoot } from './root.ts';

/** Writes into the tree of a machine that does not run. */
export interface WriteGuest {
  readonly do: 'write-guest';
  readonly machine: string;
  /** The tree; it need not be there before the steps in front of this one. */
  readonly root: string;
  readonly files: readonly GuestFile[];
  /** `new`: the tree goes with the plan that is undone. `kept`: what small files were comes back; copies stay. */
  readonly tree: 'new' | 'kept';
}

const octal = (mode: number) => mode.toString(8).padStart(4, '0');

function lineOf(file: GuestFile): string {
  if ('content' in file) return `write ${file.path} (${octal(ownershipOf(file, 0o644).mode)})`;
  if ('link' in file) return `link ${file.path} -> ${file.link}`;
  if ('directory' in file) return `make directory ${file.path} (${octal(ownershipOf(file, 0o755).mode)})`;
  if ('copy' in file) return `copy ${file.copy} to ${file.path}`;
  if ('copyFile' in file) return `copy ${file.copyFile} to ${file.path}`;
  return `remove ${file.path}`;
}

const indented = (text: string) =>
  text
    .split('\n')
    .map(line => (line === '' ? '' : `    ${line}`))
    .join('\n');

function bodyOf(file: GuestFile): string {
  const line = `${lineOf(file)}\n`;
  return 'content' in file ? `${line}${indented(file.shown ?? file.content)}` : line;
}

/** Whether an entry is as it shall be. What is copied is not compared. */
function isThere(tree: GuestRoot, file: GuestFile): boolean {
  const entry = tree.look(file.path, 'directory' in file ? 'follow' : 'keep');
  if ('remove' in file) return entry === undefined;
  if ('link' in file) return entry?.kind === 'link' && entry.target === bytesOf(file.link, file.encoding);
  if ('copy' in file || 'copyFile' in file) return false;
  const own = ownershipOf(file, 'directory' in file ? 0o755 : 0o644);
  if (!entry || entry.mode !== own.mode || entry.uid !== own.uid || entry.gid !== own.gid) return false;
  if ('directory' in file) return entry.kind === 'directory';
  return entry.kind === 'file' && tree.read(file.path)?.text === bytesOf(file.content, file.encoding);
}

async function put(tree: GuestRoot, file: GuestFile, children: Children): Promise<void> {
  if ('content' in file)
    tree.write(file.path, bytesOf(file.content, file.encoding), ownershipOf(file, 0o644));
  else if ('link' in file) tree.link(file.path, bytesOf(file.link, file.encoding));
  else if ('directory' in file) tree.makeDirectory(file.path, ownershipOf(file, 0o755));
  else if ('remove' in file) await tree.remove(file.path);
  else if ('copy' in file) await copyIntoTree(tree, file.copy, file.path, children);
  else {
    const { readFile } = await import('node:fs/promises');
    tree.write(file.path, await readFile(file.copyFile), ownershipOf(file, 0o644));
  }
}

/**
 * Copies a file or directory of the host into a tree as `docker cp` does: into a directory that is there under its own
 * name, else as the name given; `SRC/.` means what is in it. Modes are kept; all belongs to root, since the host's
 * numbers mean other people in there. cp removes what is in the way of a file before it writes, and follows no link of
 * the tree.
 */
export async function copyIntoTree(
  tree: GuestRoot,
  source: string,
  target: string,
  children: Children,
): Promise<void> {
  const contents = /\/\.\/?$/.test(source) || source === '.';
  const isDirectory = tree.look(target, 'follow')?.kind === 'directory';
  const slash = target.endsWith('/');
  const name = isDirectory || slash ? basename(source) : basename(target);
  const parent =
    isDirectory || slash || contents ? target : target.slice(0, target.lastIndexOf('/') + 1) || '/';
  const options = ['--archive', '--no-preserve=ownership', '--remove-destination', '--no-target-directory'];
  await tree.inDirectory(parent, true, async handle => {
    const to = contents ? `${handlePath}/.` : `${handlePath}/${name}`;
    const child = children.spawn(['cp', ...options, '--', source, to], {
      stdio: ['ignore', 'ignore', 'pipe', handle],
    });
    const [code, said] = await Promise.all([ended(child), buffer(child.stderr as NodeJS.ReadableStream)]);
    if (code === 0) return;
    const text = said.toString().trim().replaceAll(handlePath, parent.replace(/\/$/, ''));
    throw new SpawnletError('ERR_GUEST_COPY', `${source} was not copied to ${target}: ${text}`);
  });
}

/** What was there before, of entries that {@link WriteGuest} replaces; null if nothing was. */
type Prior = null | { readonly [path: string]: PriorEntry };
type PriorEntry =
  | null
  | { readonly link: string }
  | { readonly text: string; readonly mode: number; readonly uid: number; readonly gid: number };

function priorOf(tree: GuestRoot, files: readonly GuestFile[]): Prior {
  const entries = files
    .filter(file => 'content' in file || 'link' in file || 'remove' in file)
    .flatMap(({ path }): [string, PriorEntry][] => {
      const entry = tree.look(path);
      if (!entry) return [[path, null]];
      if (entry.kind === 'link') return [[path, { link: entry.target }]];
      const text = entry.kind === 'file' ? tree.read(path) : undefined;
      return text ? [[path, { ...text }]] : [];
    });
  return Object.fromEntries(entries);
}

async function restore(tree: GuestRoot, prior: Prior): Promise<void> {
  for (const [path, entry] of Object.entries(prior ?? {})) {
    if (entry === null) await tree.remove(path);
    else if ('link' in entry) tree.link(path, entry.link);
    else tree.write(path, entry.text, entry);
  }
}

/** Executor of {@link WriteGuest}. */
export function guestExecutors(children: Children): Executors<WriteGuest> {
  return {
    'write-guest': {
      describe: ({ machine, files }) => `write ${files.length} entries into the tree of ${machine}`,
      body: step => step.files.map(bodyOf).join(''),
      satisfied: async step => {
        if (!existsSync(step.root)) return false;
        using tree = new GuestRoot(step.root);
        return step.files.every(file => isThere(tree, file));
      },
      prior: async step => {
        if (step.tree === 'new') return null;
        using tree = new GuestRoot(step.root);
        return priorOf(tree, step.files);
      },
      apply: async (step, signal) => {
        using tree = new GuestRoot(step.root);
        // Without, what is written would lie below the mount, and never be seen.
        if (!tree.look('/usr'))
          throw new SpawnletError(
            'ERR_MACHINE_TREE',
            `there is no tree at ${step.root}: systemd has mounted it elsewhere`,
            {
              hint: "run spawnlet where systemd's mounts are seen: nsenter --mount=/proc/1/ns/mnt",
            },
          );
        for (const file of step.files) {
          signal.throwIfAborted();
          await put(tree, file, children);
        }
      },
      undo: async (step, prior) => {
        if (prior === null || !existsSync(step.root)) return;
        using tree = new GuestRoot(step.root);
        await restore(tree, prior as Prior);
      },
    },
  };
}
