import { isIP } from 'node:net';
import type { TerminalSize } from '../engine/container.ts';
import type { RestartPolicy } from '../engine/unit.ts';
import { parseDuration } from '../host/duration.ts';
import { SpawnletError } from '../host/error.ts';
import { failureActions, type HealthFlags } from './health.ts';

/** What `spawnlet run` was asked for: values of flags, parsed but not yet matched with an image or a host. */
export interface RunRequest {
  readonly name: string;
  readonly image: string;
  /** COMMAND and its arguments; empty for the image's own. */
  readonly command: readonly string[];
  /** Undefined for the image's own; an empty list clears it. */
  readonly entrypoint?: readonly string[];
  /** `NAME=value`, in order: files first. */
  readonly env: readonly string[];
  readonly volumes: readonly VolumeFlag[];
  readonly tmpfs: readonly TmpfsFlag[];
  readonly user?: string;
  readonly workdir?: string;
  readonly hostname?: string;
  /** Bytes. */
  readonly memory?: number;
  readonly cpus?: number;
  readonly pids?: number;
  readonly readOnly: boolean;
  readonly capAdd: readonly string[];
  readonly capDrop: readonly string[];
  readonly privileged: boolean;
  readonly devices: readonly DeviceFlag[];
  readonly noNewPrivileges: boolean;
  /** Undefined for the default; `unconfined`, or the path of a profile. */
  readonly seccomp?: string;
  /** `bridge`: spawnlet's own, with NAT. */
  readonly network: 'bridge' | 'host' | 'none';
  /** What is asked of the network; containers that were made before there was a bridge have none. */
  readonly attachment?: AttachmentFlags;
  readonly health?: HealthFlags;
  /** More lines of /etc/hosts. */
  readonly hosts?: readonly HostEntry[];
  readonly restart: RestartPolicy;
  /** Number. */
  readonly stopSignal?: number;
  /** Seconds. */
  readonly stopTimeout: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly terminal: boolean;
  /** Of the terminal that the command was given on, where the container has one. */
  readonly terminalSize?: TerminalSize;
  readonly stdin: boolean;
  readonly removeAfterwards: boolean;
  readonly pull: 'always' | 'missing' | 'never';
  readonly engine: 'crun' | 'nspawn';
  readonly register: boolean;
  /** False for a registry without TLS. */
  readonly tlsVerify: boolean;
  /** Whole path of the file with credentials for the registry; undefined for the usual places. */
  readonly authFile?: string;
}

export interface AttachmentFlags {
  readonly ports: readonly PortFlag[];
  /** `all`: the ports that the image exposes, too. */
  readonly publish: 'listed' | 'all';
  /** Of each family one at most. */
  readonly addresses: readonly string[];
  /** Name servers instead of those of the bridge. */
  readonly dns: readonly string[];
}

export interface PortFlag {
  readonly protocol: 'tcp' | 'udp';
  /** Address of the host; undefined for all. */
  readonly address?: string;
  /** Undefined for any that is free. */
  readonly hostPort?: number;
  readonly port: number;
}

export interface HostEntry {
  readonly name: string;
  /** Undefined for the host as the container reaches it. */
  readonly address?: string;
}

export type VolumeFlag =
  | {
      readonly kind: 'bind';
      readonly source: string;
      readonly target: string;
      readonly readOnly: boolean;
      readonly propagation: string;
    }
  | { readonly kind: 'anonymous'; readonly target: string };

export interface TmpfsFlag {
  readonly target: string;
  readonly options: readonly string[];
}

export interface DeviceFlag {
  readonly source: string;
  readonly target: string;
  readonly access: string;
}

const flagError = (flag: string, text: string, hint: string) =>
  new SpawnletError('ERR_FLAG_VALUE', `--${flag} does not take '${text}'`, { hint });

/** Names of containers are names of units and directories. */
export function parseName(text: string): string {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/.test(text) && !text.endsWith('.service')) return text;
  throw flagError(
    'name',
    text,
    'a name has letters, digits, _ . and -, begins with a letter or digit, at most 63',
  );
}

/** Bytes of `512m`, `1g`, `64k`, `1048576b`; powers of 1024, as podman has them. */
export function parseSize(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)([bkmgt]?)(?:i?b)?$/i.exec(text);
  const size = match ? Number(match[1]) * 1024 ** 'bkmgt'.indexOf((match[2] || 'b').toLowerCase()) : 0;
  if (Number.isSafeInteger(Math.floor(size)) && size >= 1) return Math.floor(size);
  throw flagError(flag, text, 'a size is a number with b, k, m or g behind it: 512m');
}

/** Docker's least, below which no program begins. */
const leastMemory = 6 * 1024 ** 2;

/** `--memory`. */
export function parseMemory(text: string): number {
  const size = parseSize('memory', text);
  if (size >= leastMemory) return size;
  throw flagError('memory', text, 'no container starts with less than 6m');
}

/** With fewer, crun cannot make a container on the bridge. */
const leastPids = 4;

/** `--pids-limit`. */
export function parsePids(text: string): number {
  const pids = parseCount('pids-limit', text, 1);
  if (pids >= leastPids) return pids;
  throw flagError('pids-limit', text, `no container starts with less than ${leastPids}`);
}

export function parseNumber(flag: string, text: string, least: number): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least) return value;
  throw flagError(flag, text, `a number of at least ${least}`);
}

/** {@link parseNumber} without a fraction; `unit` is told to who gives another. */
export function parseCount(flag: string, text: string, least: number, unit?: string): number {
  const value = /^\d+(\.0+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && Number.isSafeInteger(value)) return value;
  const behind = unit === undefined ? '' : `, in ${unit}`;
  throw flagError(flag, text, `a whole number of at least ${least}${behind}`);
}

/** An absolute path inside a container, without `.`, `..` and doubled slashes. */
export function parseTarget(flag: string, text: string): string {
  const parts = text.split('/').filter(part => part !== '' && part !== '.');
  if (text.startsWith('/') && parts.length > 0 && !parts.includes('..') && !/[\0\n]/.test(text))
    return `/${parts.join('/')}`;
  throw flagError(flag, text, 'a path inside the container is absolute, other than /, without ..');
}

const propagations = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];

/** `SRC:DST[:OPTIONS]`, or `DST` for a directory of the container's own; a relative source is taken from `directory`. */
export function parseVolume(text: string, directory: string): VolumeFlag {
  const [first = '', second, options = '', ...more] = text.split(':');
  const hint = 'as in -v /srv/www:/usr/share/nginx/html:ro';
  if (more.length > 0) throw flagError('volume', text, hint);
  if (second === undefined) return { kind: 'anonymous', target: parseTarget('volume', first) };
  if (!first.startsWith('/') && !first.startsWith('.')) {
    throw flagError(
      'volume',
      text,
      'volumes by name are not there yet: name a directory of the host, /PATH or ./PATH',
    );
  }
  let readOnly = false;
  let propagation = 'rprivate';
  for (const option of options.split(',').filter(Boolean)) {
    if (option === 'ro') readOnly = true;
    else if (propagations.includes(option)) propagation = option;
    // SELinux labels: nothing to do on hosts without SELinux, where podman ignores them too.
    else if (!['rw', 'z', 'Z'].includes(option))
      throw flagError(
        'volume',
        text,
        `the option ${option} is not known: ro, rw, ${propagations.join(', ')}`,
      );
  }
  const source = first.startsWith('/') ? first : `${directory}/${first}`;
  return { kind: 'bind', source, target: parseTarget('volume', second), readOnly, propagation };
}

/** `DST[:OPTIONS]`, options as for mount(8); Docker's `rw,noexec,nosuid,nodev` come first. */
export function parseTmpfs(text: string): TmpfsFlag {
  const [target = '', options = ''] = text.split(':', 2);
  const given = options.split(',').filter(Boolean);
  const known =
    /^(rw|ro|exec|noexec|suid|nosuid|dev|nodev|size=\d+[kmg%]?|mode=[0-7]{3,4}|uid=\d+|gid=\d+|nr_inodes=\d+[kmg]?)$/i;
  const unknown = given.find(option => !known.test(option));
  if (unknown !== undefined)
    throw flagError('tmpfs', text, `the option ${unknown} is not known: size=64m, mode=1777, ro, exec`);
  return { target: parseTarget('tmpfs', target), options: ['rw', 'noexec', 'nosuid', 'nodev', ...given] };
}

/** `SRC[:DST][:rwm]`. */
export function parseDevice(text: string): DeviceFlag {
  const [source = '', ...rest] = text.split(':');
  const access = rest.length > 0 && /^[rwm]{1,3}$/.test(rest.at(-1) ?? '') ? (rest.pop() ?? '') : 'rwm';
  if (!source.startsWith('/') || rest.length > 1)
    throw flagError('device', text, 'as in --device /dev/fuse:/dev/fuse:rwm');
  return { source, target: parseTarget('device', rest[0] ?? source), access };
}

/** `no`, `always`, `unless-stopped`, `on-failure[:N]`. */
export function parseRestart(text: string): RestartPolicy {
  const match = /^(no|always|unless-stopped|on-failure)(?::(\d+))?$/.exec(text);
  if (!match || (match[2] !== undefined && match[1] !== 'on-failure')) {
    throw flagError('restart', text, 'one of no, on-failure, on-failure:5, always, unless-stopped');
  }
  if (match[1] === 'no') return { kind: 'no' };
  // systemd starts no unit again that was stopped on purpose: `always` is what Docker calls unless-stopped.
  if (match[1] !== 'on-failure') return { kind: 'always' };
  return { kind: 'on-failure', ...(match[2] !== undefined && { retries: Number(match[2]) }) };
}

/** `NAME=value`, or `NAME` for the caller's own value; undefined where the caller has none. */
export function parseEnv(text: string, environment: NodeJS.ProcessEnv): string | undefined {
  const equals = text.indexOf('=');
  if (equals === 0 || text === '') throw flagError('env', text, 'as in -e NAME=value');
  if (equals > 0) return text;
  const value = environment[text];
  return value === undefined ? undefined : `${text}=${value}`;
}

/** Lines of an `--env-file`: blank lines and comments are left out, nothing is unquoted, as Docker reads it. */
export function parseEnvFile(text: string, environment: NodeJS.ProcessEnv): string[] {
  return text
    .split('\n')
    .map(line => line.replace(/\r$/, '').trimStart())
    .filter(line => line !== '' && !line.startsWith('#'))
    .flatMap(line => parseEnv(line, environment) ?? []);
}

/** `NAME=value` or `NAME`. */
export function parseLabel(text: string): readonly [string, string] {
  const equals = text.indexOf('=');
  if (equals === 0 || text === '') throw flagError('label', text, 'as in --label NAME=value');
  return equals < 0 ? [text, ''] : [text.slice(0, equals), text.slice(equals + 1)];
}

/** What `--security-opt` says: `no-new-privileges[:true]`, `seccomp=unconfined`, `seccomp=FILE`. */
export function parseSecurity(options: readonly string[]): { noNewPrivileges: boolean; seccomp?: string } {
  let noNewPrivileges = false;
  let seccomp: string | undefined;
  for (const option of options) {
    const [key = '', value = ''] = option.split(/[:=](.*)/s, 2);
    if (key === 'no-new-privileges' && ['', 'true', 'false'].includes(value))
      noNewPrivileges = value !== 'false';
    else if (key === 'seccomp' && value !== '') seccomp = value;
    else throw flagError('security-opt', option, 'no-new-privileges, seccomp=unconfined or seccomp=FILE');
  }
  return { noNewPrivileges, ...(seccomp !== undefined && { seccomp }) };
}

/** `--entrypoint`: one program, or a JSON list of words as podman takes it; empty clears the image's. */
export function parseEntrypoint(text: string): readonly string[] {
  if (text === '') return [];
  if (!text.startsWith('[')) return [text];
  try {
    const words: unknown = JSON.parse(text);
    if (Array.isArray(words) && words.every(word => typeof word === 'string')) return words;
  } catch {
    // What is no JSON is told as any other wrong value is.
  }
  throw flagError('entrypoint', text, 'a program, or a JSON list: ["sh", "-c"]');
}

/** An absolute directory inside a container. */
export function parseWorkdir(text: string): string {
  return text === '/' ? text : parseTarget('workdir', text);
}

/** A host name as hostname(7) has it. */
export function parseHostname(text: string): string {
  if (/^(?=.{1,64}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i.test(text))
    return text;
  throw flagError('hostname', text, 'letters, digits and -, at most 64');
}

const portHint = 'as in -p 8080:80, -p 127.0.0.1:5353:53/udp, -p 8000-8002:80-82 or -p 80';

const isPort = (port: number) => port >= 1 && port <= 65_535;

/** First and last of `8000-8002` or `80`; undefined if these are no ports. */
function parseRange(text: string): readonly [first: number, last: number] | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  return isPort(first) && isPort(last) && first <= last ? [first, last] : undefined;
}

/** `[[ADDRESS:][HOSTPORT]:]PORT[/udp]`; ranges have the same length on both sides. */
export function parsePublish(text: string): PortFlag[] {
  const [rest = '', protocol = 'tcp', ...more] = text.toLowerCase().split('/');
  const match = /^(?:(?:(\[[0-9a-f:.]+\]|[\d.]+):)?([\d-]*):)?([\d-]+)$/.exec(rest);
  const address = match?.[1]?.replace(/^\[|\]$/g, '');
  const inner = parseRange(match?.[3] ?? '');
  const outer = match?.[2] ? parseRange(match[2]) : 'any';
  if (protocol !== 'tcp' && protocol !== 'udp')
    throw flagError('publish', text, `tcp or udp, not ${JSON.stringify(protocol)}`);
  if (!inner || !outer || more.length > 0 || (address !== undefined && isIP(address) === 0))
    throw flagError('publish', text, portHint);
  const count = inner[1] - inner[0] + 1;
  if (outer !== 'any' && outer[1] - outer[0] + 1 !== count) throw flagError('publish', text, portHint);
  // All addresses of the host are no address.
  const one = address === '0.0.0.0' || address === '::' ? undefined : address;
  return Array.from({ length: count }, (_value, at) => ({
    protocol,
    ...(one !== undefined && { address: one }),
    ...(outer !== 'any' && { hostPort: outer[0] + at }),
    port: inner[0] + at,
  }));
}

/** Ports of an image's EXPOSE, published at any free ones: `80/tcp`, `8000-8002/udp`. SCTP is left out. */
export const exposedPorts = (exposed: readonly string[]): PortFlag[] =>
  exposed.filter(port => !port.endsWith('/sctp')).flatMap(parsePublish);

/** An IPv4 or IPv6 address. */
export function parseAddress(flag: string, text: string): string {
  if (isIP(text) !== 0 && !text.includes('%')) return text;
  throw flagError(flag, text, 'an address, as in 10.153.0.9 or fd00::9');
}

/** `NAME:ADDRESS`, or `NAME:host-gateway` for the host. */
export function parseHost(text: string): HostEntry {
  const at = text.indexOf(':');
  const [name, address] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1).replace(/^\[|\]$/g, '')];
  const gateway = address === 'host-gateway';
  if (/^[a-z0-9_]([a-z0-9._-]*[a-z0-9])?$/i.test(name) && (gateway || isIP(address) !== 0))
    return { name, ...(!gateway && { address }) };
  throw flagError('add-host', text, 'as in --add-host db:10.0.0.5 or --add-host host:host-gateway');
}

/** A time, in milliseconds. */
export function parseTime(flag: string, text: string): number {
  const time = parseDuration(text);
  if (time !== undefined) return time;
  throw flagError(flag, text, 'a time, as in 30s, 500ms or 1m30s');
}

/** `--health-cmd`: a command for the shell, a JSON list as the image's HEALTHCHECK has it, or `none`. */
export function parseHealthCommand(text: string): readonly string[] {
  if (text === 'none') return ['NONE'];
  if (!text.startsWith('[')) return ['CMD-SHELL', text];
  const words = parseEntrypoint(text);
  return /^(?:CMD|CMD-SHELL|NONE)$/.test(words[0] ?? '') ? words : ['CMD', ...words];
}

/** `--health-on-failure`. */
export function parseOnFailure(text: string): (typeof failureActions)[number] {
  const found = failureActions.find(action => action === text);
  if (found) return found;
  throw flagError('health-on-failure', text, `one of ${failureActions.join(', ')}`);
}
