import { isAbsolute, normalize } from 'node:path';
import { SpawnletError } from '../host/error.ts';

export const suites = ['bookworm', 'trixie'] as const;
export type Suite = (typeof suites)[number];

/** A directory or file of the host that a lab sees. */
export interface Bind {
  readonly source: string;
  readonly target: string;
  readonly access: 'read-write' | 'read-only';
}

/** What a lab is to be: validated and complete. */
export interface LabSpec {
  readonly name: string;
  readonly suite: Suite;
  /** Debian packages beside the ones that every lab has; sorted. */
  readonly packages: readonly string[];
  /** Bytes. */
  readonly memory: number | null;
  /** Processors, in hundredths: 150 is one and a half. */
  readonly cpuPercent: number | null;
  readonly egress: 'none' | 'nat';
  readonly binds: readonly Bind[];
  /** The network namespace with the bridge that the lab is attached to. */
  readonly network: string;
}

/** A spec as flags have it. */
export interface LabOptions {
  /** Of a lab that is there: whatever no flag says stays as it is. */
  readonly there?: LabSpec | undefined;
  readonly name?: string | undefined;
  readonly suite?: string | undefined;
  readonly packages?: readonly string[] | undefined;
  /** `512m`, `2g`, or bytes. */
  readonly memory?: string | undefined;
  /** `1.5` */
  readonly cpus?: string | undefined;
  readonly nat?: boolean | undefined;
  /** `SRC[:DST[:ro]]` each. */
  readonly binds?: readonly string[] | undefined;
  readonly network?: string | undefined;
}

export const defaultName = 'lab';
export const defaultNetwork = 'spawnlet-lab';

const refuse = (message: string, hint: string) => new SpawnletError('ERR_LAB_OPTION', message, { hint });

/** A host name of one label, which is also a machine name, a part of a unit name and of a cgroup's. */
export function parseName(text: string): string {
  if (/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/.test(text)) return text;
  throw refuse(
    `'${text}' is no name for a lab`,
    'use a host name: up to 40 small letters, digits and hyphens, no hyphen at either end',
  );
}

const units: Record<string, number> = { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes from `512m`, `2g`, `2GiB` or a plain number, as podman's `--memory` reads it. */
export function parseMemory(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([bkmgt]?)(?:i?b)?$/i.exec(text.trim());
  const bytes = Math.floor(Number(match?.[1]) * (units[match?.[2]?.toLowerCase() ?? ''] ?? Number.NaN));
  // systemd and a few services need about this much to come up at all.
  if (bytes >= 32 * 2 ** 20 && Number.isSafeInteger(bytes)) return bytes;
  throw refuse(`--memory ${text} is not an amount of memory that a lab can boot with`, 'try --memory 512m');
}

function parseCpus(text: string): number {
  const percent = Math.round(Number(text) * 100);
  if (/^\d+(?:\.\d+)?$/.test(text) && percent >= 1) return percent;
  throw refuse(`--cpus ${text} is not a number of processors`, 'try --cpus 1.5');
}

/** `SRC[:DST[:ro]]`, both absolute; DST is SRC if it is left out. */
export function parseBind(text: string): Bind {
  const [source = '', target = source, access = 'rw', ...rest] = text.split(':');
  const fine = (path: string) => isAbsolute(path) && normalize(path) === path && !/[\n\0]/.test(path);
  if (fine(source) && fine(target) && target !== '/' && rest.length === 0 && /^r[wo]$/.test(access))
    return { source, target, access: access === 'ro' ? 'read-only' : 'read-write' };
  throw refuse(
    `--bind ${text} does not name a directory and a place for it`,
    'write --bind /absolute/source:/absolute/target, with :ro behind it for read-only',
  );
}

/** Validates and completes flags. Throws `ERR_LAB_OPTION` that names the flag. */
export function parseLabSpec(options: LabOptions): LabSpec {
  const { there } = options;
  const suite = suites.find(name => name === (options.suite ?? there?.suite ?? 'bookworm'));
  if (!suite)
    throw refuse(`--suite ${options.suite} is not known`, `use --suite ${suites.join(' or --suite ')}`);
  const packages = [...new Set(options.packages ?? [])].sort();
  for (const name of packages)
    if (!/^[a-z0-9][a-z0-9.+-]+$/.test(name))
      throw refuse(`'${name}' is no name of a Debian package`, 'write --packages podman,skopeo');
  const binds = (options.binds ?? []).map(parseBind);
  return {
    name: parseName(options.name ?? defaultName),
    suite,
    packages: packages.length === 0 && there ? there.packages : packages,
    memory: options.memory === undefined ? (there?.memory ?? null) : parseMemory(options.memory),
    cpuPercent: options.cpus === undefined ? (there?.cpuPercent ?? null) : parseCpus(options.cpus),
    egress: options.nat ? 'nat' : (there?.egress ?? 'none'),
    binds: binds.length === 0 && there ? there.binds : binds,
    network:
      options.network === undefined && there ? there.network : parseName(options.network ?? defaultNetwork),
  };
}

/** The flags that a spec comes from, in full. */
function flagsOf(spec: LabSpec): string[] {
  return [
    `--suite ${spec.suite}`,
    ...spec.packages.map(name => `--packages ${name}`),
    ...(spec.memory === null ? [] : [`--memory ${spec.memory}`]),
    ...(spec.cpuPercent === null ? [] : [`--cpus ${spec.cpuPercent / 100}`]),
    ...(spec.egress === 'nat' ? ['--nat'] : []),
    ...spec.binds.map(
      ({ source, target, access }) => `--bind ${source}:${target}${access === 'read-only' ? ':ro' : ''}`,
    ),
    `--network ${spec.network}`,
  ];
}

/** Which flags `one` has and `other` has not: `--nat, --memory 1073741824`; empty if there are none. */
export function flagsBeside(one: LabSpec, other: LabSpec): string {
  const known = new Set(flagsOf(other));
  return flagsOf(one)
    .filter(flag => !known.has(flag))
    .join(', ');
}
