/** What a pod keeps on the disk, and whether it is more than it may: the kubelet evicts such a pod. */
import type { Children } from '../../../host/child.ts';
import type { Pod } from '../../api/kubernetes.ts';
import { unitsOf } from '../../spec/quantity.ts';
import { podLimits, writtenOf } from '../../spec/resources.ts';
import { initMembers, mainMembers } from '../../status/roles.ts';
import { containerDirectory } from '../../unit/names.ts';
import { nameOf } from '../facts.ts';
import { volumeDirectory } from '../places.ts';
import { sizeLimitOf, volumesInUse } from '../volume.ts';

const resource = 'ephemeral-storage';

/** Directories that together may hold so much. */
export interface StorageLimit {
  readonly paths: readonly string[];
  /** Bytes. */
  readonly limit: number;
  /** What is said of a pod that is over it, in the kubelet's words. */
  readonly message: string;
}

/**
 * The limits of a pod on what it keeps on the disk: of its emptyDirs, of itself, of its containers, in the order in which the
 * kubelet looks at them. An emptyDir in memory is a file system of its size, and not among them.
 */
export function storageLimits(pod: Pod): StorageLimit[] {
  const { uid } = nameOf(pod);
  const onDisk = volumesInUse(pod).filter(({ emptyDir }) => emptyDir && (emptyDir.medium ?? '') === '');
  const place = (volume: string) => volumeDirectory(uid, 'empty-dir', volume);
  const containers = [...initMembers(pod), ...mainMembers(pod)].map(({ spec }) => spec);
  const writable = (container: { readonly name: string }) =>
    `${containerDirectory(uid, container.name)}/upper`;
  const ofPod = writtenOf(podLimits(pod))[resource];
  return [
    ...onDisk.flatMap(volume => {
      const limit = sizeLimitOf(volume);
      if (limit === undefined) return [];
      const message = `Usage of EmptyDir volume "${volume.name}" exceeds the limit "${volume.emptyDir?.sizeLimit}". `;
      return [{ paths: [place(volume.name)], limit, message }];
    }),
    ...(ofPod === undefined
      ? []
      : [
          {
            paths: [...onDisk.map(({ name }) => place(name)), ...containers.map(writable)],
            limit: unitsOf(ofPod),
            message: `Pod ephemeral local storage usage exceeds the total limit of containers ${ofPod}. `,
          },
        ]),
    ...containers.flatMap(container => {
      const written = container.resources?.limits?.[resource];
      if (written === undefined) return [];
      const message = `Container ${container.name} exceeded its local ephemeral storage limit "${written}". `;
      return [{ paths: [writable(container)], limit: unitsOf(written), message }];
    }),
  ];
}

/** What is said of the first limit that is exceeded; undefined if none is. @param usage bytes that directories hold */
export const exceeded = (
  limits: readonly StorageLimit[],
  usage: ReadonlyMap<string, number>,
): string | undefined =>
  limits.find(({ paths, limit }) => paths.reduce((sum, path) => sum + (usage.get(path) ?? 0), 0) > limit)
    ?.message;

/**
 * Bytes that directories hold, by their paths; one that is not there has none. They are counted by one child: there may be
 * many files, and du follows no link and enters no mount. Files that go while they are counted make it complain; what it has
 * counted holds all the same.
 */
export async function usageOf(
  paths: readonly string[],
  children: Children,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  if (paths.length === 0) return new Map();
  const du = ['du', '--summarize', '--one-file-system', '--block-size=1', '--null', '--', ...paths];
  const { stdout } = await children.capture(du, { signal });
  const lines = stdout.toString().split('\0');
  return new Map(
    lines.flatMap(line => {
      const [bytes, path] = line.split('\t');
      return path === undefined ? [] : [[path, Number(bytes)] as const];
    }),
  );
}
