/** What names, keys and numbers of the API may look like. Each function says why a value is none, or nothing. */
import { isIP } from 'node:net';

type Why = string | undefined;

const label = '[a-z0-9](?:[-a-z0-9]*[a-z0-9])?';
const quoted = (value: string) => (value.length > 80 ? `'${value.slice(0, 80)}…'` : `'${value}'`);

function matching(value: string, pattern: RegExp, longest: number, wanted: string): Why {
  if (value === '') return 'is missing';
  if (value.length > longest) return `is longer than ${longest} characters`;
  return pattern.test(value) ? undefined : `does not take ${quoted(value)}: ${wanted}`;
}

const labelPattern = new RegExp(`^${label}$`);
const subdomainPattern = new RegExp(`^${label}(?:\\.${label})*$`);
const searchPattern = /^_?[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?(?:\._?[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?)*$/;

/** Names of containers, volumes, namespaces, hosts. */
export const whyNoLabel = (value: string): Why =>
  matching(value, labelPattern, 63, 'lower-case letters, digits and -, with a letter or digit at both ends');

/** Names of most objects. */
export const whyNoSubdomain = (value: string): Why =>
  matching(
    value,
    subdomainPattern,
    253,
    'lower-case letters, digits, - and ., with a letter or digit at both ends',
  );

/** Domains in which names are looked for. */
export const whyNoSearch = (value: string): Why =>
  matching(value, searchPattern, 253, 'a domain of lower-case letters, digits, -, _ and .');

/** Keys of labels and annotations, names of conditions: `example.org/name`. */
export function whyNoQualifiedName(value: string): Why {
  const [name = '', prefix, ...more] = value.split('/').toReversed();
  if (more.length > 0) return `does not take ${quoted(value)}: a name, or a domain, / and a name`;
  if (prefix !== undefined && whyNoSubdomain(prefix) !== undefined)
    return `does not take ${quoted(value)}: the part before / is a domain such as example.org`;
  return matching(name, /^[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/, 63, nameWanted);
}

const nameWanted = 'letters, digits, -, _ and ., with a letter or digit at both ends';

export function whyNoLabelValue(value: string): Why {
  return value === ''
    ? undefined
    : matching(value, /^[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/, 63, nameWanted);
}

/** Names of ports. */
export function whyNoPortName(value: string): Why {
  const wanted = 'lower-case letters, digits and single - between them, at least one letter';
  return matching(value, /^(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*$/, 15, wanted);
}

/** Names of variables, and what is put before them. */
export const whyNoVariable = (value: string): Why =>
  matching(value, /^[ -<>-~]+$/, 32_768, 'printable ASCII characters other than =');

/** Keys in ConfigMaps and Secrets: names of files. */
export function whyNoKey(value: string): Why {
  if (value === '.' || value === '..' || value.startsWith('..'))
    return `does not take ${quoted(value)}: a key does not begin with .., and is not .`;
  return matching(value, /^[-._a-zA-Z0-9]+$/, 253, 'letters, digits, -, _ and .');
}

export const whyNoHeader = (value: string): Why =>
  matching(value, /^[-A-Za-z0-9]+$/, 32_768, 'letters, digits and -');

export const whyNoAddress = (value: string): Why =>
  isIP(value) === 0 || value.includes('%')
    ? `does not take ${quoted(value)}: an IPv4 or IPv6 address`
    : undefined;

/** A whole number between two, both included. */
export function whyNotWithin(value: number, least: number, most: number): Why {
  if (value >= least && value <= most) return undefined;
  const range = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`;
  return `does not take ${value}: a whole number ${range}`;
}

export const whyNoPort = (value: number): Why => whyNotWithin(value, 1, 65_535);

/** Users and groups by number. */
export const whyNoId = (value: number): Why => whyNotWithin(value, 0, 2 ** 31 - 1);

/** Modes of files. */
export const whyNoMode = (value: number | undefined): Why =>
  value === undefined || (value >= 0 && value <= 0o777)
    ? undefined
    : `does not take ${value}: from 0 to 0777, in octal with a 0 before it`;

/** A port by number or by name. */
export const whyNoPortReference = (value: number | string): Why =>
  typeof value === 'number' ? whyNoPort(value) : whyNoPortName(value);

/** A path that leads nowhere above its beginning. */
export const whyClimbing = (value: string): Why =>
  value.split('/').includes('..') ? `does not take ${quoted(value)}: .. may not be in it` : undefined;

/** A path below a directory. */
export function whyNoPathBelow(value: string): Why {
  if (value.startsWith('/')) return `does not take ${quoted(value)}: a path without / before it`;
  return whyClimbing(value);
}

/** The path of a file in a volume, where names with .. before them are the agent's own. */
export function whyNoFile(value: string): Why {
  if (value === '') return 'is missing';
  return (
    whyNoPathBelow(value) ??
    (value.startsWith('..') ? `does not take ${quoted(value)}: it begins with ..` : undefined)
  );
}
