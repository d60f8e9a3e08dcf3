import { SpawnletError } from '../host/error.ts';
import { mediaTypes } from './document.ts';
import type { Descriptor, Index, Platform } from './manifest.ts';

/** Names of the architecture by Go, which images use; also those that other tools write. */
const architectures: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  x64: ['amd64'],
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  ia32: ['386'],
  i386: ['386'],
  aarch64: ['arm64'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
  ppc64el: ['ppc64le'],
};

/** The platform in one spelling: `x86_64` is amd64; amd64/v1 and arm64/v8 are the defaults; arm alone is arm/v7. */
export function normalizePlatform(platform: Platform): Platform {
  const known = Object.hasOwn(architectures, platform.architecture)
    ? architectures[platform.architecture]
    : undefined;
  const [architecture, implied] = known ?? [platform.architecture];
  const written = platform.variant ?? implied;
  const variant = written !== undefined && /^\d$/.test(written) ? `v${written}` : written;
  const isDefault =
    (architecture === 'amd64' && variant === 'v1') || (architecture === 'arm64' && variant === 'v8');
  const chosen = architecture === 'arm' && variant === undefined ? 'v7' : variant;
  return {
    os: platform.os.toLowerCase(),
    architecture,
    ...(chosen !== undefined && !isDefault && { variant: chosen }),
  };
}

/** What this machine runs. The variant of arm is the lowest that Node runs on. */
export function hostPlatform(): Platform {
  return normalizePlatform({ os: 'linux', architecture: process.arch });
}

/** `linux/arm/v7` */
export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter(Boolean).join('/');
}

/** What `wanted` can run, best first: lower variants of its own, then its 32-bit mode. containerd's order. */
function acceptable(wanted: Platform): Platform[] {
  const { os, architecture, variant } = normalizePlatform(wanted);
  const down = (arch: string, from: number, to: number): Platform[] =>
    Array.from({ length: Math.max(0, from - to + 1) }, (_, index) =>
      normalizePlatform({ os, architecture: arch, variant: `v${from - index}` }),
    );
  const level = Number(variant?.slice(1) ?? Number.NaN);
  switch (architecture) {
    case 'amd64':
      return [...down('amd64', level || 1, 1), { os, architecture: '386' }];
    case 'arm64':
      return [normalizePlatform(wanted), ...down('arm64', (level || 8) - 1, 8), ...down('arm', 8, 5)];
    case 'arm':
      return level ? down('arm', level, 5) : [normalizePlatform(wanted)];
    default:
      return [normalizePlatform(wanted)];
  }
}

/** Lower is better; undefined if an image of this platform cannot run on `wanted`. */
export function rankOf(platform: Platform, wanted: Platform): number | undefined {
  const text = formatPlatform(normalizePlatform(platform));
  const rank = acceptable(wanted).findIndex(candidate => formatPlatform(candidate) === text);
  return rank === -1 ? undefined : rank;
}

/** Throws `ERR_PLATFORM`, naming what there is. */
export function platformMissing(
  wanted: Platform,
  available: readonly (Platform | undefined)[],
): SpawnletError {
  const names = [
    ...new Set(
      available
        .filter(platform => platform !== undefined)
        // Attestations are listed as platform unknown/unknown.
        .filter(platform => platform.os !== 'unknown' && platform.os !== '')
        .map(platform => formatPlatform(normalizePlatform(platform))),
    ),
  ];
  return new SpawnletError('ERR_PLATFORM', `the image is not made for ${formatPlatform(wanted)}`, {
    hint: names.length > 0 ? `it is made for ${names.join(', ')}` : 'it names no platform',
  });
}

/**
 * The entries of an index to try, best first: those for the wanted platform in order of preference, then those
 * without one (nested indexes, or an image whose config tells). Attestations are for no platform and never tried.
 */
export function candidates(index: Index, wanted: Platform): Descriptor[] {
  const ranked = index.manifests
    .map(descriptor => ({
      descriptor,
      rank: descriptor.platform ? rankOf(descriptor.platform, wanted) : Number.POSITIVE_INFINITY,
    }))
    .filter(entry => entry.rank !== undefined);
  // A stable sort: of equals the first in the index wins, as in containerd.
  ranked.sort((a, b) => (a.rank === b.rank ? 0 : (a.rank ?? 0) - (b.rank ?? 0)));
  return ranked.map(entry => entry.descriptor);
}

/** The entry for the wanted platform. Throws `ERR_PLATFORM`. */
export function choosePlatform(index: Index, wanted: Platform): Descriptor {
  const [best] = candidates(index, wanted);
  if (best) return best;
  throw platformMissing(
    wanted,
    index.manifests.map(descriptor => descriptor.platform),
  );
}

/** True for an entry of an index that leads to a further index. */
export function isNested(descriptor: Descriptor): boolean {
  return descriptor.mediaType === mediaTypes.ociIndex || descriptor.mediaType === mediaTypes.dockerIndex;
}
