import type { Files } from '../../host/files.ts';
import type { InUse } from '../../image/garbage.ts';
import { podsDirectory } from '../../names.ts';
import { containerDirectory, directoryOf } from '../unit/names.ts';
import { readPod } from './kept.ts';

/** Notes in the bundle that say what it was made of. */
export const annotation = { digest: 'io.spawnlet.image-digest', layers: 'io.spawnlet.layers' } as const;

interface Bundle {
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What containers of pods run from, or have: `image rm` and `prune` must leave it. */
export async function podsInUse(files: Files): Promise<InUse> {
  const manifests = new Map<string, string[]>();
  const layers = new Set<string>();
  for (const uid of await files.list(podsDirectory)) {
    const pod = `pod/${(await readPod(files, uid))?.metadata?.name ?? uid}`;
    for (const name of await files.list(`${directoryOf(uid)}/containers`)) {
      const text = await files.read(`${containerDirectory(uid, name)}/config.json`);
      const { annotations = {} } = text === undefined ? {} : (JSON.parse(text) as Bundle);
      const digest = annotations[annotation.digest] ?? '';
      const names = manifests.get(digest) ?? [];
      if (!names.includes(pod)) manifests.set(digest, [...names, pod]);
      for (const key of (annotations[annotation.layers] ?? '').split(',')) layers.add(key);
    }
  }
  return { manifests, layers };
}
