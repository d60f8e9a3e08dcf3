import { lstatSync, readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupVersion } from '../engine/cgroup.ts';
import type { ContainerSpec, Device, Mount } from '../engine/container.ts';
import { type Profile, parseProfile, profilePath } from '../engine/seccomp.ts';
import { SpawnletError } from '../host/error.ts';
import { type LayerView, resolveInLayers } from '../image/lookup.ts';
import type { Store } from '../image/store.ts';
import type { StoredImage } from '../image/stored-image.ts';
import { lookupUser } from '../image/user.ts';
import type { RunRequest } from './request.ts';
import { type HostFacts, type ImageFacts, volumesOf } from './spec.ts';

/** What whoever wants a container says of it, as far as its image matters. */
type Asked = Pick<RunRequest, 'image' | 'user' | 'workdir' | 'volumes' | 'tmpfs'>;

/** Everything about an image that a container is made of, looked up inside its layers. */
export function imageFacts(store: Store, image: StoredImage, request: Asked): ImageFacts {
  const views = store.views(image);
  const root = resolveInLayers(views, '/');
  return {
    name: request.image,
    digest: image.manifest,
    config: image.config,
    layers: store.overlay(image),
    layerKeys: image.layers.map(layer => layer.key),
    rootMode: root ? lstatSync(root.real).mode & 0o7777 : 0o755,
    user: lookupUser(views, request.user ?? image.config.user),
    volumes: volumesOf(request, image.config).map(target => ({
      target,
      content: directoryIn(views, target),
    })),
    missingWorkdir: missingPart(views, request.workdir ?? image.config.workingDir),
  };
}

/** Where a directory lies in the merged layers, links resolved; undefined if there is none. */
function directoryIn(views: readonly LayerView[], path: string): string | undefined {
  const found = resolveInLayers(views, path);
  return found?.kind === 'directory' ? Buffer.from(found.path, 'latin1').toString() : undefined;
}

/** Of paths at which something is to be mounted those that are not there, as {@link missingPart} has them. */
export const missingTargets = (
  views: readonly LayerView[],
  mounts: readonly Mount[],
): NonNullable<ContainerSpec['missingTargets']> =>
  mounts.flatMap(mount => {
    const path = resolveInLayers(views, mount.target) ? undefined : missingPart(views, mount.target);
    return path === undefined ? [] : { path, ...(mount.kind === 'bind' && { source: mount.source }) };
  });

/**
 * A directory that is not there, its parents' links resolved, relative to the root; undefined if it is there.
 *
 * @throws ERR_WORKDIR if something else than a directory is in the way.
 */
function missingPart(views: readonly LayerView[], path: string): string | undefined {
  const parts = path.split('/').filter(part => part !== '' && part !== '.');
  for (let length = parts.length; length >= 0; length--) {
    const parent = resolveInLayers(views, `/${parts.slice(0, length).join('/')}`);
    if (!parent && length > 0) continue;
    if (length === parts.length && parent?.kind === 'directory') return undefined;
    const rest = parts.slice(length);
    if ((parent && parent.kind !== 'directory') || rest.includes('..')) {
      throw new SpawnletError('ERR_WORKDIR', `the working directory ${path} is no directory in the image`, {
        hint: 'choose another with -w',
        exitCode: 126,
      });
    }
    return [parent ? Buffer.from(parent.path, 'latin1').toString() : '', ...rest].filter(Boolean).join('/');
  }
  return undefined;
}

/** What of this host a container is made of. */
export async function hostFacts(request: RunRequest): Promise<HostFacts> {
  const status = await readFile('/proc/self/status', 'latin1');
  const boundingSet = /^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return {
    boundingSet,
    cgroups: cgroupVersion(),
    devices: devicesOf(request),
    profile: await profileOf(request),
  };
}

/** Those that are asked for; of a privileged container all that the host has, as podman has it. */
function devicesOf({ devices, privileged }: RunRequest): Device[] {
  const asked = devices.map(flag => deviceAt(flag.source, flag.target, flag.access));
  if (!privileged) return asked;
  const others = hostDevices('/dev').filter(path => !asked.some(({ target }) => target === path));
  return [...asked, ...others.map(path => deviceAt(path, path, 'rwm'))];
}

/** What every container has of its own. */
const ownDevices = /^\/dev\/(null|zero|full|random|urandom|tty|console|ptmx|pts|shm|mqueue|fd)$/;

function hostDevices(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap(entry => {
    const path = join(directory, entry.name);
    if (ownDevices.test(path)) return [];
    if (entry.isDirectory()) return hostDevices(path);
    return entry.isCharacterDevice() || entry.isBlockDevice() ? [path] : [];
  });
}

async function profileOf(request: RunRequest): Promise<Profile | 'unconfined'> {
  if (request.seccomp === 'unconfined' || (request.privileged && request.seccomp === undefined))
    return 'unconfined';
  const path = request.seccomp ?? profilePath;
  try {
    return parseProfile(await readFile(path, 'utf8'), path);
  } catch (cause) {
    if (cause instanceof SpawnletError) throw cause;
    const missing = request.seccomp === undefined;
    throw new SpawnletError('ERR_SECCOMP_PROFILE', `there is no seccomp profile at ${path}`, {
      cause,
      hint: missing ? 'apt-get install golang-github-containers-common' : 'name a file that is there',
    });
  }
}

/** Linux' dev_t: 12 bits of major, 20 bits of minor. */
function deviceAt(source: string, target: string, access: string): Device {
  try {
    const stat = statSync(source);
    if (!stat.isCharacterDevice() && !stat.isBlockDevice()) throw new Error('not a device');
    const rdev = BigInt(stat.rdev);
    const major = Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn));
    const minor = Number((rdev & 0xffn) | ((rdev >> 12n) & ~0xffn));
    const type = stat.isCharacterDevice() ? 'c' : 'b';
    return {
      source,
      target,
      access,
      type,
      mode: stat.mode & 0o777,
      uid: stat.uid,
      gid: stat.gid,
      major,
      minor,
    };
  } catch (cause) {
    throw new SpawnletError('ERR_DEVICE', `${source} is no device of this host`, {
      cause,
      hint: 'ls -l shows devices with c or b',
    });
  }
}
