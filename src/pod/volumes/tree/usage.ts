/** What pods' volumes hold, and which hold more than they may: the kubelet evicts such a pod. */
import { statfs } from 'node:fs/promises';
import type { Children } from '../../../host/child.ts';
import type { Pod } from '../../api/kubernetes.ts';
import { nameOf } from '../facts.ts';
import { mountedDirectory, volumeDirectory } from '../places.ts';
import { sizeLimitOf, volumesInUse } from '../volume.ts';

/** An emptyDir that has a limit. */
export interface LimitedVolume {
  readonly volume: string;
  readonly path: string;
  /** Bytes, and as it is written. */
  readonly limit: number;
  readonly written: string;
  /** Whether it is a file system of its own, which knows what it holds. */
  readonly mounted: boolean;
}

export function limitedVolumes(pod: Pod): LimitedVolume[] {
  const { uid } = nameOf(pod);
  return volumesInUse(pod).flatMap(volume => {
    const { name, emptyDir } = volume;
    const limit = sizeLimitOf(volume);
    if (limit === undefined) return [];
    const mounted = (emptyDir?.medium ?? '') !== '';
    const path = mounted ? mountedDirectory(uid, 'memory', name) : volumeDirectory(uid, 'empty-dir', name);
    return { volume: name, path, limit, written: emptyDir?.sizeLimit ?? '', mounted };
  });
}

/**
 * Bytes that directories hold, by their paths; one that is not there has none. Those on a disk are counted by one child:
 * there may be many files, and du follows no link and enters no mount.
 */
export async function usageOf(
  volumes: readonly Pick<LimitedVolume, 'path' | 'mounted'>[],
  children: Children,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const onDisk = volumes.filter(({ mounted }) => !mounted).map(({ path }) => path);
  const inMemory = volumes.filter(({ mounted }) => mounted);
  const [disk, ...memory] = await Promise.all([
    onDisk.length > 0 ? diskUsage(onDisk, children, signal) : [],
    ...inMemory.map(async ({ path }) => [path, await memoryUsage(path)] as const),
  ]);
  return new Map([...disk, ...memory]);
}

async function memoryUsage(path: string): Promise<number> {
  const stat = await statfs(path).catch(() => undefined);
  return stat ? (stat.blocks - stat.bfree) * stat.bsize : 0;
}

/** Files that go while they are counted make du complain; what it has counted holds all the same. */
async function diskUsage(
  paths: readonly string[],
  children: Children,
  signal: AbortSignal,
): Promise<readonly (readonly [path: string, bytes: number])[]> {
  const du = ['du', '--summarize', '--one-file-system', '--block-size=1', '--null', '--', ...paths];
  const { stdout } = await children.capture(du, { signal });
  return stdout
    .toString()
    .split('\0')
    .flatMap(line => {
      const [bytes, path] = line.split('\t');
      return path === undefined ? [] : [[path, Number(bytes)] as const];
    });
}

/** Why a pod is evicted for its volumes, in the kubelet's words; undefined if it is not. */
export function exceededLimit(pod: Pod, usage: ReadonlyMap<string, number>): string | undefined {
  const found = limitedVolumes(pod).find(({ path, limit }) => (usage.get(path) ?? 0) > limit);
  return found && `Usage of EmptyDir volume "${found.volume}" exceeds the limit "${found.written}". `;
}
