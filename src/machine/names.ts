import { SpawnletError } from '../host/error.ts';

/** The longest name of a unit, without the byte that ends it; systemd.unit(5). */
const longestUnit = 255;

/** The mount unit of a machine's tree, in which each `-` becomes `\x2d`. */
const mountUnitLength = (name: string) =>
  'var-lib-machines-.mount'.length + name.length + 3 * (name.split('-').length - 1);

/** Why this cannot be the name of a machine; undefined if it can. */
export function whyNoName(text: string): string | undefined {
  if (text.length === 0) return 'a name has at least one character';
  // One label of DNS; systemd's machine names take 64.
  if (text.length > 63) return 'a name has at most 63 characters: it is a label of DNS, too';
  if (/[A-Z]/.test(text)) return 'a name has small letters only: DNS does not tell them from capitals';
  if (!/^[a-z0-9-]+$/.test(text))
    return 'a name has letters, digits and -, no others: it is a host name, too';
  if (text.startsWith('-') || text.endsWith('-')) return 'a name begins and ends with a letter or digit';
  if (mountUnitLength(text) > longestUnit)
    return 'a name has fewer - than this one: each takes 4 bytes in the name of a unit';
  if (reserved.includes(text)) return `${text} is another word for the host itself`;
  return undefined;
}

const reserved = ['localhost', 'host'];

/**
 * The name of a machine: of its unit, its directory, its host name. Interfaces have names of their own (15 bytes).
 *
 * @throws ERR_MACHINE_NAME
 */
export function parseMachineName(text: string): string {
  const why = whyNoName(text);
  if (why === undefined) return text;
  throw new SpawnletError(
    'ERR_MACHINE_NAME',
    `${JSON.stringify(text.slice(0, 80))} is no name of a machine`,
    {
      hint: why,
    },
  );
}

/** Of a snapshot: the name of a directory. */
export function parseSnapshotName(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(text)) return text;
  throw new SpawnletError(
    'ERR_MACHINE_NAME',
    `${JSON.stringify(text.slice(0, 80))} is no name of a snapshot`,
    {
      hint: 'letters, digits, _ . and -, no sign first, at most 63',
    },
  );
}
