import { sha256 } from '../host/digest.ts';

/** Names and hardware addresses of the links that spawnlet makes for machines. */

/** Bytes of an interface's name, without its NUL: IFNAMSIZ - 1 of the kernel. */
export const maxLinkName = 15;

/** spawnlet's own bridge, and the unit that makes it. */
export const natBridge = 'spawnlet0';
export const natUnit = 'spawnlet-nat.service';

/**
 * What a link of a machine is: the end on the host, and the end that is moved into the machine. That of a container has a
 * name of its own on the host alone.
 */
export type LinkRole = 'outer' | 'inner' | 'container';

const prefixes = { outer: 'vs', inner: 'vi', container: 'vc' } as const;

/** Letters of RFC 4648's base32hex in lower case: a name is one file name on every file system. */
const letters = '0123456789abcdefghijklmnopqrstuv';

/** The first letters of a digest, five bits each. */
function digestLetters(text: string, count: number): string {
  const bytes = sha256(text);
  return Array.from(bytes.subarray(0, count), byte => letters[byte & 31]).join('');
}

/**
 * The name of a link of a machine: `vs-web` for its first one, `vs1-web` for the next. A machine whose name does not fit
 * gets its beginning and 45 bits of a digest behind a `+`, which no machine has in its name: `vs+bui7k2m0q9ad`.
 */
export function linkName(role: LinkRole, machine: string, index: number): string {
  const prefix = `${prefixes[role]}${index === 0 ? '' : index}`;
  const plain = `${prefix}-${machine}`;
  if (Buffer.byteLength(plain) <= maxLinkName) return plain;
  const digest = digestLetters(machine, 9);
  const room = maxLinkName - prefix.length - 1 - digest.length;
  return `${prefix}+${machine.slice(0, room)}${digest}`;
}

/**
 * The hardware address of a link that was given none: the same at every start, another on every host. Locally
 * administered and of one station: 02:….
 *
 * @param hostId /etc/machine-id of the host
 */
export function stableMac(hostId: string, machine: string, index: number): string {
  const bytes = sha256(`${hostId}\n${machine}\n${index}`);
  const tail = Array.from(bytes.subarray(0, 5), byte => byte.toString(16).padStart(2, '0'));
  return ['02', ...tail].join(':');
}
