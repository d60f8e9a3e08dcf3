import { existsSync, lstatSync, statfsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { check } from '../../host/child.ts';
import { isErrno, SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import { mountsBelow } from '../../host/mounts.ts';
import { removeEntry } from '../../host/removal.ts';
import type { Executors, Json } from '../../host/step.ts';
import { unmountBelow } from '../../host/unmount.ts';
import { holds, writeAtomically } from './content/atomic.ts';
import { type Payload, payloadOf, type VolumeObjects } from './content/payload.ts';
import type { Source } from './content/sources.ts';
import type { OwnVolumeStep, WriteVolume } from './step.ts';
import { isAsWanted, makeHostPath } from './tree/host-path.ts';
import { giveToGroup, isOwned } from './tree/ownership.ts';
import { bindSubPath, isBound, unbindSubPath } from './tree/sub-path.ts';

/** What executors of volumes work with. */
export interface VolumeRoom {
  readonly host: Host;
  /** Called when the first volume's files are written. */
  objects(): Promise<VolumeObjects>;
}

/** TMPFS_MAGIC of linux/magic.h. */
const tmpfs = 0x01021994;

const inAMinute = () => AbortSignal.timeout(60_000);

/**
 * Writes a volume's files anew if its objects have changed: what keeps a running pod's volumes up to date. True if they had.
 * @throws ERR_VOLUME_OBJECT if an object is gone; the files stay as they are.
 */
export async function updateVolume(
  step: WriteVolume,
  room: VolumeRoom,
  signal: AbortSignal,
): Promise<boolean> {
  const payload = await payloadNow(step, room, signal);
  try {
    if (step.secret) refuseDisk(step);
    else await room.host.files.makeDirectory(dirname(step.path), 0o755);
    return writeAtomically(step.path, payload, { group: step.group, now: room.host.clock.now() });
  } catch (error) {
    if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error;
    throw new SpawnletError('ERR_VOLUME_FULL', `there is no space for the files of volume "${step.volume}"`, {
      cause: error,
      hint: `df '${step.path}'`,
    });
  }
}

const payloadNow = async (step: WriteVolume, room: VolumeRoom, signal: AbortSignal): Promise<Payload> =>
  payloadOf(step.pod, step.sources, await room.objects(), signal);

/** Secrets are written to memory, or not at all. */
function refuseDisk({ path, volume }: WriteVolume): void {
  const above = dirname(path);
  if (existsSync(above) && statfsSync(above).type === tmpfs) return;
  throw new SpawnletError(
    'ERR_VOLUME_MEMORY',
    `volume "${volume}" is secret, and there is no tmpfs at ${above}`,
    {
      hint: `was it unmounted? spawnlet has to run where systemd's mounts are seen: nsenter --mount=/proc/1/ns/mnt`,
    },
  );
}

/** What a source is, for people; the text that a pod is told is no secret, but may be long. */
function lineOf(source: Source): string {
  if (source.kind === 'text') return `${source.path}: what the pod is told about itself`;
  if (source.kind === 'token')
    return `${source.path}: a token${source.audience && ` for ${source.audience}`}`;
  const { kind, name, items } = source;
  const object = `${kind === 'secret' ? 'secret' : 'configmap'} ${name}`;
  return 'mode' in items
    ? `every key of ${object}`
    : items.map(({ key, path }) => `${path}: ${key} of ${object}`).join('\n');
}

const octal = (mode: number) => mode.toString(8);

const isThere = (path: string) => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** True if a journalled prior says that something was there. */
const wasThere = (prior: Json) =>
  typeof prior === 'object' && prior !== null && 'there' in prior && prior.there === true;

async function removeTree(path: string, signal: AbortSignal): Promise<void> {
  let above: Awaited<ReturnType<typeof open>>;
  try {
    above = await open(dirname(path), 'r');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  await using directory = above;
  await removeEntry(directory.fd, basename(path), signal);
}

const isMounted = (path: string) =>
  mountsBelow(path).some(mount => Buffer.from(mount.path, 'latin1').toString() === path);

/** Executors of {@link OwnVolumeStep}. */
export function volumeExecutors(room: VolumeRoom): Executors<OwnVolumeStep> {
  const { children } = room.host;
  return {
    'check-host-path': {
      describe: ({ path, type }) => `check that ${path} is there${type && ` (${type})`}`,
      satisfied: async step => isAsWanted(step),
      apply: async step => makeHostPath(step),
    },
    'write-volume': {
      describe: ({ volume, path, group }) =>
        `write the files of volume ${volume} to ${path}${group === undefined ? '' : ` (group ${group})`}`,
      body: ({ sources }) => sources.map(lineOf).join('\n'),
      satisfied: async step => {
        if (!isThere(step.path)) return false;
        return holds(step.path, await payloadNow(step, room, inAMinute()), step.group);
      },
      prior: async step => ({ there: isThere(step.path) }),
      apply: async (step, signal) => {
        await updateVolume(step, room, signal);
      },
      undo: async (step, prior) => {
        if (!wasThere(prior)) await removeTree(step.path, inAMinute());
      },
    },
    'own-volume': {
      describe: ({ path, group }) => `give ${path} to group ${group} (${octal(0o2770)})`,
      satisfied: async ({ path, group, when }) =>
        when === 'on-mismatch' && isThere(path) && isOwned(path, group),
      apply: ({ path, group }, signal) => giveToGroup(path, group, signal),
    },
    'mount-volume': {
      describe: ({ path, what, options }) => `mount ${what} at ${path} (${options.join()})`,
      satisfied: async ({ path }) => isThere(path) && isMounted(path),
      apply: async ({ path, what, type, options }, signal) => {
        const words = [
          '--no-canonicalize',
          `--types=${type}`,
          `--options=${options.join()}`,
          '--',
          what,
          path,
        ];
        await check(children, ['mount', ...words], { signal });
      },
      undo: async ({ path }) => {
        if (isThere(path)) await unmountBelow(path, children, inAMinute());
      },
    },
    'bind-subpath': {
      describe: ({ volume, subPath, path }) => `bind ${subPath} of volume ${volume} to ${path}`,
      satisfied: async step => isBound(step),
      apply: (step, signal) => bindSubPath(step, children, signal),
      undo: ({ path }) => unbindSubPath(path, children, inAMinute()),
    },
    'unmount-below': {
      describe: ({ path }) => `unmount what is mounted below ${path}`,
      satisfied: async ({ path }) => !isThere(dirname(path)) || mountsBelow(path).length === 0,
      apply: ({ path }, signal) => unmountBelow(path, children, signal),
    },
    'remove-tree': {
      describe: ({ path }) => `remove ${path} with all that is in it`,
      satisfied: async ({ path }) => !isThere(path),
      apply: ({ path }, signal) => removeTree(path, signal),
    },
  };
}
