import { join } from 'node:path';
import type { Files } from '../host/files.ts';
import { watchDirectory } from '../host/watch.ts';

/** A file of a manifest directory, as the kubelet reads it: no hidden files, no directories. */
export interface ManifestFile {
  readonly path: string;
  readonly text: string;
}

const isManifest = (name: string) => !name.startsWith('.') && /\.(?:ya?ml|json)$/.test(name);

export async function readManifests(files: Files, directory: string): Promise<ManifestFile[]> {
  const names = (await files.list(directory)).filter(isManifest).sort();
  const found = await Promise.all(
    names.map(async name => {
      const path = join(directory, name);
      const entry = await files.look(path);
      const text = entry?.kind === 'directory' ? undefined : await files.read(path);
      return text === undefined ? [] : [{ path, text }];
    }),
  );
  return found.flat();
}

/** Calls `changed` once, and whenever something in the directory has changed; several changes at once are one. */
export async function watchManifests(
  files: Files,
  directory: string,
  changed: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  await files.makeDirectory(directory, 0o700);
  let news = Promise.withResolvers<void>();
  const watcher = watchDirectory(directory, () => news.resolve());
  const over = new Promise<void>(resolve => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  try {
    while (!signal.aborted) {
      await changed();
      await Promise.race([news.promise, over]);
      news = Promise.withResolvers();
    }
  } finally {
    watcher.close();
  }
}
