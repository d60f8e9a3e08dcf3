import { stat } from 'node:fs/promises';
import { isErrno, SpawnletError } from '../host/error.ts';
import type { MachineSpec, Mount } from './spec.ts';

/**
 * What a machine is given of the host by its path. systemd-nspawn knows no source that may be missing: it does not start without
 * one. So whoever asks for one that is not there is told at once, as incus and podman tell it, and not when the host boots.
 */
export interface HostSource {
  readonly path: string;
  /** What it is to the machine: `bound to /x`. */
  readonly as: string;
}

function ofMount(mount: Mount): HostSource[] {
  if (mount.kind === 'bind') return [{ path: mount.source, as: `bound to ${mount.target}` }];
  if (mount.kind !== 'overlay') return [];
  return mount.layers.map(path => ({ path, as: `a layer of the overlay on ${mount.target}` }));
}

/** All that has to be there when the machine starts. */
export const sourcesOf = ({
  mounts,
  devices,
  credentials,
}: Pick<MachineSpec, 'mounts' | 'devices' | 'credentials'>): HostSource[] => [
  ...mounts.flatMap(ofMount),
  ...devices.map(({ path }) => ({ path, as: 'a device of it' })),
  ...credentials.map(({ id, path }) => ({ path, as: `its credential ${id}` })),
];

async function isMissing({ path }: HostSource): Promise<boolean> {
  try {
    await stat(path);
    return false;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return true;
    throw error;
  }
}

/** What is not there now. */
export async function missingSources(spec: Parameters<typeof sourcesOf>[0]): Promise<HostSource[]> {
  const looked = sourcesOf(spec).map(async source => ((await isMissing(source)) ? [source] : []));
  return (await Promise.all(looked)).flat();
}

export const tellSource = ({ path, as }: HostSource): string => `${path} (${as})`;

/**
 * Refuses a machine that is to be given what is not there. What it had `before` it keeps: a disk that is away now is no reason to
 * refuse other changes.
 *
 * @throws ERR_GUEST_SOURCE
 */
export async function refuseMissing(spec: MachineSpec, before?: MachineSpec): Promise<void> {
  const had = new Set((before ? sourcesOf(before) : []).map(({ path }) => path));
  const missing = (await missingSources(spec)).filter(({ path }) => !had.has(path));
  if (missing.length > 0) throw notThere(`machine ${spec.name} cannot be given`, missing);
}

/** What the failure of a start is told as: with what the machine is given of the host and is not there, if that is so. */
export async function whyNotStarted(spec: MachineSpec, error: unknown): Promise<unknown> {
  if (!(error instanceof SpawnletError && error.code === 'ERR_UNIT_FAILED')) return error;
  const missing = await missingSources(spec);
  return missing.length === 0
    ? error
    : notThere(`machine ${spec.name} does not start without`, missing, error);
}

const notThere = (what: string, missing: readonly HostSource[], cause?: unknown) =>
  new SpawnletError(
    'ERR_GUEST_SOURCE',
    `${what} what is not on this host: ${missing.map(tellSource).join(', ')}`,
    { hint: 'make it, or mount what it is on, and then the command again', cause },
  );
