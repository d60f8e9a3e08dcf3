import {
  allCapabilities,
  capabilitySet,
  defaultCapabilities,
  possibleCapabilities,
} from '../engine/capabilities.ts';
import type { CgroupVersion } from '../engine/cgroup.ts';
import {
  type Connection,
  type ContainerSpec,
  type Device,
  type Mount,
  volumeName,
} from '../engine/container.ts';
import { defaultSeccomp, type Profile, resolveProfile } from '../engine/seccomp.ts';
import { parseSignal } from '../engine/signal.ts';
import { SpawnletError } from '../host/error.ts';
import type { Digest, ImageConfig } from '../image/manifest.ts';
import { appsDirectory } from '../names.ts';
import type { RunRequest } from './request.ts';

/** What of an image a container is made of. */
export interface ImageFacts {
  /** As the store calls it. */
  readonly name: string;
  readonly digest: Digest;
  readonly config: ImageConfig;
  /** Names of its unpacked layers, lowest first. */
  readonly layers: readonly string[];
  /** Their keys in the store. */
  readonly layerKeys: readonly string[];
  /** Of the root directory: the upper directory of an overlay gives the whole its mode. */
  readonly rootMode: number;
  /** The user that the container runs as, looked up in the image. */
  readonly user: {
    readonly uid: number;
    readonly gid: number;
    readonly additionalGids: readonly number[];
    readonly home: string;
  };
  /** Volumes with where they lie in the image, links resolved; undefined where nothing is there. */
  readonly volumes: readonly Volume[];
  /** The working directory, if the image does not have it: where to make it, links resolved. */
  readonly missingWorkdir: string | undefined;
}

export interface Volume {
  readonly target: string;
  /** Relative to the root. */
  readonly content: string | undefined;
}

/** What of the host a container is made of. */
export interface HostFacts {
  /** CapBnd of /proc/self/status, hex. */
  readonly boundingSet: string;
  readonly cgroups: CgroupVersion;
  readonly devices: readonly Device[];
  /** The profile that applies: the default one, or the one that `--security-opt seccomp=FILE` names. */
  readonly profile: Profile | 'unconfined';
}

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const defaultStopSignal = 15;

export const directoryOf = (name: string): string => `${appsDirectory}/${name}`;

/** Later values of a name replace earlier ones, in place. */
export function mergeEnv(...lists: readonly (readonly string[])[]): string[] {
  const merged = new Map<string, string>();
  for (const entry of lists.flat())
    merged.set(entry.slice(0, Math.max(0, entry.indexOf('='))) || entry, entry);
  return [...merged.values()];
}

/**
 * The words to run: ENTRYPOINT and CMD as Docker combines them; a given entrypoint drops the image's command.
 *
 * @throws ERR_NO_COMMAND
 */
export function argsOf(request: RunRequest, config: ImageConfig): readonly string[] {
  const entrypoint = request.entrypoint ?? config.entrypoint;
  const command = request.command.length > 0 ? request.command : request.entrypoint ? [] : config.cmd;
  const args = [...entrypoint, ...command];
  if (args.length > 0) return args;
  throw new SpawnletError('ERR_NO_COMMAND', `${request.image} does not say what to run`, {
    hint: `name it: spawnlet run ${request.image} COMMAND`,
  });
}

/** The files that are bound over the image's, so that names resolve; a volume of the user's own goes first. */
function nameFiles(request: RunRequest): Mount[] {
  const taken = request.volumes.map(volume => volume.target);
  return ['hosts', 'resolv.conf', 'hostname']
    .filter(file => !taken.includes(`/etc/${file}`) && !taken.includes('/etc'))
    .map(file => ({
      kind: 'bind',
      source: `${directoryOf(request.name)}/${file}`,
      target: `/etc/${file}`,
      readOnly: false,
      propagation: 'rprivate',
    }));
}

/** Where the content of the volume at this path lies. */
export const volumeDirectory = (name: string, target: string): string =>
  `${directoryOf(name)}/volumes/${volumeName(target)}`;

/** Volumes without a source: those of the image that no flag covers, and the flags'. */
export function volumesOf(request: Pick<RunRequest, 'volumes' | 'tmpfs'>, config: ImageConfig): string[] {
  const covered = [...request.volumes, ...request.tmpfs].map(mount => mount.target);
  const own = request.volumes.flatMap(volume => (volume.kind === 'anonymous' ? volume.target : []));
  return [...new Set([...own, ...config.volumes.filter(target => !covered.includes(target))])];
}

function mountsOf(request: RunRequest, image: ImageFacts): Mount[] {
  return [
    ...nameFiles(request),
    ...image.volumes.map(
      (volume): Mount => ({
        kind: 'bind',
        source: volumeDirectory(request.name, volume.target),
        target: volume.target,
        readOnly: false,
        propagation: 'rprivate',
      }),
    ),
    ...request.volumes.flatMap(volume => (volume.kind === 'bind' ? volume : [])),
    ...request.tmpfs.map((mount): Mount => ({ kind: 'tmpfs', ...mount })),
  ];
}

/**
 * A user as a process has it. Its own group is among the additional ones too: what a file denies to that group must not be
 * got round by leaving the group, which a set-group-ID program does (CVE-2022-36109).
 */
export function processUser(user: Pick<ImageFacts['user'], 'uid' | 'gid' | 'additionalGids'>) {
  const { uid, gid, additionalGids } = user;
  return { uid, gid, additionalGids: [...new Set([gid, ...additionalGids])] };
}

/** Everything decided: what the engine runs. */
export function containerOf(
  request: RunRequest,
  image: ImageFacts,
  host: HostFacts,
  network: 'host' | 'none' | Connection,
): ContainerSpec {
  const base = request.privileged ? allCapabilities : defaultCapabilities;
  const wanted = capabilitySet(base, request.capAdd, request.capDrop);
  const capabilities = possibleCapabilities(wanted, host.boundingSet);
  const { config } = image;
  const profile = host.profile;
  return {
    name: request.name,
    directory: directoryOf(request.name),
    args: argsOf(request, config),
    env: mergeEnv(
      [defaultPath, `HOME=${image.user.home}`, ...(request.terminal ? ['TERM=xterm'] : [])],
      config.env,
      request.env,
    ),
    cwd: request.workdir ?? (config.workingDir || '/'),
    user: processUser(image.user),
    hostname: request.hostname ?? (request.network === 'host' ? '' : request.name),
    terminal: request.terminal,
    ...(request.terminalSize && { terminalSize: request.terminalSize }),
    stdin: request.stdin && 'once',
    layers: image.layers,
    readOnly: request.readOnly,
    mounts: mountsOf(request, image),
    volumes: image.volumes.map(({ content, target }) => ({
      directory: volumeDirectory(request.name, target),
      content,
    })),
    missingDirectory: image.missingWorkdir,
    devices: host.devices,
    capabilities,
    privileged: request.privileged,
    noNewPrivileges: request.noNewPrivileges,
    seccomp:
      profile === 'unconfined'
        ? 'unconfined'
        : request.seccomp === undefined
          ? defaultSeccomp(profile, capabilities)
          : resolveProfile(profile, capabilities),
    network,
    cgroups: host.cgroups,
    limits: {
      ...(request.memory !== undefined && { memory: request.memory }),
      ...(request.cpus !== undefined && { cpus: request.cpus }),
      ...(request.pids !== undefined && { pids: request.pids }),
    },
    stopSignal:
      request.stopSignal ?? (config.stopSignal ? parseSignal(config.stopSignal) : defaultStopSignal),
    stopTimeout: request.stopTimeout,
  };
}
