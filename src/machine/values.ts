/** Texts of a machine's settings: flags and documents write them alike. Parsers throw {@link Expected}. */
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { parseSize as parseBytes } from '../app/request.ts';
import { allCapabilities } from '../engine/capabilities.ts';
import { SpawnletError } from '../host/error.ts';
import { Expected } from './shape.ts';
import {
  type Addressing,
  type DeviceNode,
  type PrivateUsers,
  type ProfileName,
  type PublishedPort,
  profileNames,
} from './spec.ts';

/** A parser of texts of this form. */
export const matching =
  (pattern: RegExp, expected: string) =>
  (text: string): string => {
    if (pattern.test(text)) return text;
    throw new Expected(expected);
  };

/** One line: unit files and settings hold no other. */
export function parseLine(text: string): string {
  if (/^[^\u0000-\u001f\u007f]*$/.test(text) && text.isWellFormed()) return text;
  throw new Expected('one line of text, without control characters');
}

/** A path of the host; a relative one is taken from `directory`. */
export function parseHostPath(text: string, directory: string): string {
  if (text === '') throw new Expected('a path');
  return resolve(directory, parseLine(text));
}

/** A path inside of a machine, without `.` and doubled slashes. */
export function parseInnerPath(text: string): string {
  const parts = parseLine(text)
    .split('/')
    .filter(part => part !== '' && part !== '.');
  if (text.startsWith('/') && parts.length > 0 && !parts.includes('..')) return `/${parts.join('/')}`;
  throw new Expected('a path inside of the machine: absolute, other than /, without ..');
}

/** Bytes of `512m`, `1G`; powers of 1024. */
export function parseSize(text: string): number {
  try {
    return parseBytes('memory', text);
  } catch (error) {
    if (!(error instanceof SpawnletError)) throw error;
    throw new Expected(error.hint);
  }
}

/** The shortest text of that many bytes. */
export function formatSize(bytes: number): string {
  const unit = ['T', 'G', 'M', 'K'].find((_, at) => bytes % 1024 ** (4 - at) === 0);
  return unit === undefined ? String(bytes) : `${bytes / 1024 ** ('BKMGT'.indexOf(unit))}${unit}`;
}

const largestUid = 2 ** 32 - 2;

/** `no`, `pick`, `BASE` or `BASE:COUNT`. */
export function parsePrivateUsers(text: string): PrivateUsers {
  if (text === 'no' || text === 'pick') return { kind: text };
  const match = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(text);
  const base = Number(match?.[1]);
  const count = Number(match?.[2] ?? 65_536);
  if (match && base > 0 && count > 0 && base + count - 1 <= largestUid) return { kind: 'range', base, count };
  throw new Expected('no, pick, or BASE[:COUNT] of UIDs, as in 524288:65536');
}

export function formatPrivateUsers(users: PrivateUsers): string {
  if (users.kind !== 'range') return users.kind;
  return users.count === 65_536 ? String(users.base) : `${users.base}:${users.count}`;
}

/** `[ADDRESS:]HOSTPORT:PORT[/tcp|udp]`; IPv6 addresses in brackets. */
export function parsePort(text: string): PublishedPort {
  const match = /^(?:(\[[0-9a-f:.]+\]|[\d.]+):)?(\d{1,5}):(\d{1,5})(?:\/(tcp|udp))?$/i.exec(text);
  const address = match?.[1]?.replace(/^\[|\]$/g, '').toLowerCase();
  const [hostPort, port] = [Number(match?.[2]), Number(match?.[3])];
  const isPort = (each: number) => each >= 1 && each <= 65_535;
  if (!match || !isPort(hostPort) || !isPort(port) || (address !== undefined && isIP(address) === 0))
    throw new Expected('[ADDRESS:]HOSTPORT:PORT[/udp], as in 8080:80 or 127.0.0.1:5353:53/udp');
  const protocol = match[4]?.toLowerCase() === 'udp' ? 'udp' : 'tcp';
  return { protocol, ...(address !== undefined && { address }), hostPort, port };
}

export function formatPort({ address, hostPort, port, protocol }: PublishedPort): string {
  const host = address === undefined ? '' : `${address.includes(':') ? `[${address}]` : address}:`;
  return `${host}${hostPort}:${port}${protocol === 'udp' ? '/udp' : ''}`;
}

/** An address with the length of its prefix. */
export function parseCidr(text: string): string {
  const [address = '', bits = '', ...more] = text.split('/');
  const version = isIP(address);
  if (more.length === 0 && version !== 0 && !address.includes('%') && /^\d{1,3}$/.test(bits)) {
    if (Number(bits) >= 1 && Number(bits) <= (version === 4 ? 32 : 128)) return text;
  }
  throw new Expected('an address with its prefix, as in 192.0.2.7/24 or 2001:db8::7/64');
}

export function parseAddress(text: string): string {
  if (isIP(text) !== 0 && !text.includes('%')) return text;
  throw new Expected('an IPv4 or IPv6 address');
}

/** In lower case, with colons. A group address or none at all is no interface's. */
export function parseMac(text: string): string {
  const mac = text.toLowerCase().replaceAll('-', ':');
  const first = Number.parseInt(mac.slice(0, 2), 16);
  if (/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) && first % 2 === 0 && mac !== '00:00:00:00:00:00')
    return mac;
  throw new Expected('the address of one interface, as in 02:00:00:00:00:01 (the first byte is even)');
}

/** A name that the kernel takes for an interface or bridge. */
export const parseInterfaceName = matching(
  /^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}$/,
  'the name of an interface: letters, digits, _ . and -, at most 15',
);

/** systemd-nspawn puts `vz-` before it. */
export const parseZone = matching(
  /^[A-Za-z0-9_-]{1,12}$/,
  'the name of a zone: letters, digits, _ and -, at most 12',
);

/** `PATH[:ACCESS]`, access of `rwm`. */
export function parseDevice(text: string): DeviceNode {
  const match = /^(\/dev\/.+?)(?::([rwm]{1,3}))?$/.exec(parseLine(text));
  const path = match?.[1] ?? '';
  if (match && !path.split('/').includes('..')) {
    const wanted = match[2] ?? 'rwm';
    return { path, access: ['r', 'w', 'm'].filter(letter => wanted.includes(letter)).join('') };
  }
  throw new Expected('a device node and its access, as in /dev/fuse or /dev/ttyUSB0:rw');
}

export const formatDevice = ({ path, access }: DeviceNode): string =>
  access === 'rwm' && !/:[rwm]{1,3}$/.test(path) ? path : `${path}:${access}`;

/** With or without `CAP_`, in any case; `all` too. */
export function parseCapability(text: string): string {
  const upper = text.toUpperCase();
  if (upper === 'ALL') return 'all';
  const name = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (allCapabilities.includes(name)) return name;
  throw new Expected('a name of capabilities(7), as in CAP_NET_ADMIN');
}

export function parseProfile(text: string): ProfileName {
  const found = profileNames.find(name => name === text);
  if (found) return found;
  throw new Expected(`one of ${profileNames.join(', ')}; spawnlet machine profiles explains them`);
}

export const parseVariable = matching(
  /^[A-Za-z_][A-Za-z0-9_]*$/,
  'the name of a variable: letters, digits and _, no digit first',
);

/** systemd.exec(5): the name of a file, and of no other directory. */
export const parseCredentialId = matching(
  /^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,255}$/,
  'the name of a credential: letters, digits, _ . and -',
);

/** systemd's rule for users that it makes itself. */
export const parseUserName = matching(
  /^[a-z_][a-z0-9_-]{0,30}$/,
  'the name of a user or group: small letters, digits, _ and -, no digit first, at most 31',
);

export const parsePasswordHash = matching(
  /^(\$[A-Za-z0-9]+\$[!-9;-~]+|[!*])$/,
  'a hash as crypt(3) writes it ($y$…, $6$…): mkpasswd, or openssl passwd -6',
);

export const parseSshKey = (text: string): string =>
  matching(
    /^(\S.* )?(ssh-[a-z0-9-]+|ecdsa-sha2-nistp\d+|sk-[\w@.-]+) [A-Za-z0-9+/]{16,}={0,2}( .*)?$/,
    'a line of a .pub file, as in ssh-ed25519 AAAA… me@home',
  )(parseLine(text.trim()));

export const parseTimezone = matching(
  /^[A-Za-z0-9_+-]+(\/[A-Za-z0-9_+-]+)*$/,
  'a name of the time zone database, as in Europe/Berlin',
);

export const parseLocale = matching(
  /^[A-Za-z]+(_[A-Za-z]+)?(\.[A-Za-z0-9-]+)?(@[A-Za-z]+)?$/,
  'a locale, as in C.UTF-8 or de_DE.UTF-8',
);

export function parseHostname(text: string): string {
  if (/^(?=.{1,64}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i.test(text))
    return text;
  throw new Expected('a host name: letters, digits and -, at most 64');
}

/** mount(8)'s options of a tmpfs. */
export const parseTmpfsOptions = matching(
  /^$|^(rw|ro|exec|noexec|suid|nosuid|dev|nodev|size=\d+[kmg%]?|mode=[0-7]{3,4}|uid=\d+|gid=\d+|nr_inodes=\d+[kmg]?)(,(?!$)(rw|ro|exec|noexec|suid|nosuid|dev|nodev|size=\d+[kmg%]?|mode=[0-7]{3,4}|uid=\d+|gid=\d+|nr_inodes=\d+[kmg]?))*$/i,
  'options of mount(8): size=64m, mode=1777, nr_inodes=1k, ro, noexec, nosuid, nodev',
);

export const unaddressed: Addressing = { addresses: [], gateways: [], dns: [] };
