/** What a volume of a pod is on this host. */
import { SpawnletError } from '../../host/error.ts';
import type { Pod, Volume } from '../api/kubernetes.ts';
import { countOf, unitsOf } from '../spec/quantity.ts';
import { enforcedLimit } from '../spec/resources.ts';
import { areSecret, type Source, sourcesOf } from './content/sources.ts';
import { type Claim, nameOf, type VolumeFacts } from './facts.ts';
import { claimDirectory, mountedDirectory, volumeDirectory } from './places.ts';

export type PodVolume =
  /** A directory on the disk; `kept` outlives the pod. */
  | { readonly kind: 'directory'; readonly path: string; readonly kept: boolean; readonly readOnly: boolean }
  /** A file system of its own in memory, of so many bytes. */
  | { readonly kind: 'memory'; readonly path: string; readonly bytes: number; readonly pages: Pages }
  | {
      readonly kind: 'files';
      readonly path: string;
      readonly sources: readonly Source[];
      readonly secret: boolean;
    }
  | { readonly kind: 'host-path'; readonly path: string; readonly type: string }
  | { readonly kind: 'nfs'; readonly path: string; readonly what: string; readonly readOnly: boolean }
  /** Layers of the store, lowest first. */
  | { readonly kind: 'image'; readonly path: string; readonly layers: readonly string[] };

/** What memory is made of: pages of the usual size, or of so many bytes. */
export type Pages = 'usual' | number;

/** A volume that is mounted into some container; others the kubelet leaves alone, too. */
export function volumesInUse({ spec }: Pod): readonly Volume[] {
  const { containers = [], initContainers = [], ephemeralContainers = [], volumes = [] } = spec ?? {};
  const used = new Set(
    [...containers, ...initContainers, ...ephemeralContainers].flatMap(({ volumeMounts = [] }) =>
      volumeMounts.map(({ name }) => name),
    ),
  );
  return volumes.filter(({ name }) => used.has(name));
}

/** @throws ERR_VOLUME_CLAIM, ERR_VOLUME_TOKEN, ERR_VOLUME_CONTENT if the volume cannot be there. */
export function volumeOf(pod: Pod, volume: Volume, facts: VolumeFacts): PodVolume {
  const { uid } = nameOf(pod);
  const { emptyDir, hostPath, image, nfs, persistentVolumeClaim, ephemeral } = volume;
  const sources = sourcesOf(pod, volume, facts);
  if (sources) {
    const secret = areSecret(sources);
    const path = volumeDirectory(uid, secret ? 'secret' : 'config', volume.name);
    return { kind: 'files', path, sources, secret };
  }
  if (hostPath) return { kind: 'host-path', path: hostPath.path, type: hostPath.type ?? '' };
  if (emptyDir) return emptyDirectory(pod, volume, facts);
  if (nfs) return nfsVolume(uid, volume.name, { kind: 'nfs', readOnly: false, ...nfs });
  if (persistentVolumeClaim) {
    const { claimName, readOnly = false } = persistentVolumeClaim;
    return claimed(pod, volume, claimName, readOnly, facts.claims.get(claimName));
  }
  if (image) {
    const layers = facts.images.get(volume.name);
    if (!layers) throw new Error(`the image of the volume ${volume.name} was not pulled`);
    return { kind: 'image', path: mountedDirectory(uid, 'image', volume.name), layers };
  }
  if (ephemeral) return ofThePod(pod, volume, facts);
  throw new Error(`the volume ${volume.name} is of no known kind, and was not refused`);
}

/** A claim of the pod's own, which goes with it: an API server has made it, and elsewhere it is a directory of the pod. */
function ofThePod(pod: Pod, volume: Volume, facts: VolumeFacts): PodVolume {
  const { uid, name } = nameOf(pod);
  const claim = facts.claims.get(`${name}-${volume.name}`);
  if (claim) return claimed(pod, volume, `${name}-${volume.name}`, false, claim);
  const path = volumeDirectory(uid, 'ephemeral', volume.name);
  return { kind: 'directory', path, kept: false, readOnly: false };
}

function claimed(
  pod: Pod,
  volume: Volume,
  name: string,
  readOnly: boolean,
  claim: Claim | undefined,
): PodVolume {
  const { uid, namespace } = nameOf(pod);
  if (!claim)
    throw new SpawnletError('ERR_VOLUME_CLAIM', `persistentvolumeclaim "${name}" not found`, {
      hint: `apply a PersistentVolumeClaim of that name in the namespace ${namespace}`,
    });
  if (claim.kind === 'nfs')
    return nfsVolume(uid, volume.name, { ...claim, readOnly: readOnly || claim.readOnly });
  return { kind: 'directory', path: claimDirectory(namespace, name), kept: true, readOnly };
}

const nfsVolume = (
  uid: string,
  name: string,
  { server, path, readOnly }: Claim & { kind: 'nfs' },
): PodVolume => ({
  kind: 'nfs',
  path: mountedDirectory(uid, 'nfs', name),
  // An address of IPv6 has colons of its own.
  what: `${server.includes(':') && !server.startsWith('[') ? `[${server}]` : server}:${path}`,
  readOnly,
});

function emptyDirectory(pod: Pod, volume: Volume, facts: VolumeFacts): PodVolume {
  const { uid } = nameOf(pod);
  const medium = volume.emptyDir?.medium ?? '';
  if (medium === '') {
    const path = volumeDirectory(uid, 'empty-dir', volume.name);
    return { kind: 'directory', path, kept: false, readOnly: false };
  }
  const path = mountedDirectory(uid, 'memory', volume.name);
  const limit = sizeLimitOf(volume);
  if (medium === 'Memory') {
    const bytes = memoryOf(pod, facts);
    return { kind: 'memory', path, bytes: Math.min(bytes, limit ?? bytes), pages: 'usual' };
  }
  const size = medium.slice('HugePages-'.length) || hugePageOf(pod, volume.name);
  return { kind: 'memory', path, bytes: limit ?? memoryOf(pod, facts), pages: unitsOf(size) };
}

/** Bytes that an emptyDir may have; undefined if it has no limit, as one of 0 has none. */
export function sizeLimitOf({ emptyDir }: Volume): number | undefined {
  const bytes = unitsOf(emptyDir?.sizeLimit ?? '0');
  return bytes > 0 ? bytes : undefined;
}

/** What the pod may use of the node's memory, in bytes. */
function memoryOf(pod: Pod, { pod: { allocatable } }: VolumeFacts): number {
  const node = unitsOf(allocatable['memory'] ?? '0');
  const limit = enforcedLimit(pod, 'memory');
  const bytes = limit ? countOf(limit.nano, 1_000_000_000n) : 0;
  return bytes > 0 ? Math.min(bytes, node) : node;
}

/** The one size of huge pages that the pod's containers ask for. */
function hugePageOf({ spec }: Pod, volume: string): string {
  const prefix = 'hugepages-';
  const sizes = new Set(
    [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].flatMap(({ resources }) =>
      Object.keys({ ...resources?.requests, ...resources?.limits }).filter(name => name.startsWith(prefix)),
    ),
  );
  const [size, ...others] = sizes;
  if (size !== undefined && others.length === 0) return size.slice(prefix.length);
  throw new SpawnletError(
    'ERR_VOLUME_PAGES',
    `volume "${volume}": the pod's containers ask for ${size === undefined ? 'no' : 'several sizes of'} huge pages`,
    { hint: 'name the size: medium: HugePages-2Mi' },
  );
}
