import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { machinesDirectory } from '../names.ts';
import { hidden, lockOf, placesOf } from './places.ts';

/** Where an archive is unpacked: the tree is read there before the machine can be made of it. */
export const importPlace = (name: string): string => hidden(placesOf(name).tree, 'import');

/** Removes what imports that were killed have unpacked. */
export async function sweepImports({ files, locks }: Pick<Host, 'files' | 'locks'>): Promise<void> {
  for (const entry of await files.list(machinesDirectory)) {
    const name = /^\.#([a-z0-9-]+)\.import$/.exec(entry)?.[1];
    if (name === undefined) continue;
    try {
      await using _lock = await locks.take(lockOf(name));
      await files.remove(importPlace(name));
    } catch (error) {
      // It is under way.
      if (!(error instanceof SpawnletError && error.code === 'ERR_BUSY')) throw error;
    }
  }
}
