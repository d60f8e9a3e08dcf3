/** Manifests: the documents of a file, each with the kind that it says it is and the text that it was written in. */
import { type Fault, Faults, type Node, parseYaml, type Scalar } from '../../host/yaml.ts';
import { lineOf, type Path } from './path.ts';

/** One document of a file. Nothing of it is checked but that it can be read. */
export interface ManifestDocument {
  /** Where it was read from, as a person knows it. */
  readonly file: string;
  /** As it was written, comments included; a file of its own may hold it. */
  readonly text: string;
  readonly root: Node;
  /** What kept it from being read; its root is null then. */
  readonly faults: readonly Fault[];
  /** Empty where the document does not say. */
  readonly apiVersion: string;
  readonly kind: string;
  /** The line of a place, or of the nearest one around it. */
  lineOf(path: Path): number;
}

/** A file of manifests larger than this is none: an object of the API has at most 1.5 MiB. */
const longestText = 8 * 1024 * 1024;

/** The documents of a file, in YAML or JSON. Documents of nothing but comments are left out. Throws nothing of its own. */
export async function parseManifest(source: string, file: string): Promise<readonly ManifestDocument[]> {
  if (source.length > longestText) {
    const faults = [{ line: 1, path: '', text: `is longer than ${longestText / 1024 ** 2} MiB` }];
    return [documentOf(file, '', unread, faults)];
  }
  const documents: ManifestDocument[] = [];
  for (const document of await parseYaml(source, { aliases: 'followed', plain: plainValue })) {
    try {
      const root = document.root();
      if (root.kind === 'scalar' && root.value === null) continue;
      documents.push(documentOf(file, document.text, root, []));
    } catch (error) {
      if (!(error instanceof Faults)) throw error;
      documents.push(documentOf(file, document.text, unread, error.list));
    }
  }
  return documents;
}

const unread: Node = { line: 1, kind: 'scalar', value: null };

function documentOf(file: string, text: string, root: Node, faults: readonly Fault[]): ManifestDocument {
  const word = (key: string) => {
    const node = root.kind === 'map' ? root.entries.get(key) : undefined;
    return node?.kind === 'scalar' && typeof node.value === 'string' ? node.value : '';
  };
  const lines = { lineOf: (path: Path) => lineOf(root, path) };
  return { file, text, root, faults, apiVersion: word('apiVersion'), kind: word('kind'), ...lines };
}

const words = new Map<string, Scalar>([
  ...['', '~', 'null', 'Null', 'NULL'].map(word => [word, null] as const),
  ...['y', 'Y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON'].map(
    word => [word, true] as const,
  ),
  ...['n', 'N', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF'].map(
    word => [word, false] as const,
  ),
]);
const integer = /^(?<sign>[+-]?)(?:0(?<base>[xXbBoO])(?<digits>[0-9a-fA-F]+)|0(?<octal>[0-7]+)|\d+)$/;
const float = /^[+-]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][+-]?\d+)?$/;

/**
 * What a word without quotes is to Kubernetes, whose parser speaks YAML 1.1 but for times and numbers to the base 60: `0644`
 * is an octal number, `yes` is true. undefined for a number that JSON cannot hold.
 */
export function plainValue(word: string): Scalar | undefined {
  const known = words.get(word);
  if (known !== undefined) return known;
  if (/^[+-]?\.(?:inf|Inf|INF|nan|NaN|NAN)$/.test(word)) return undefined;
  const bare = /^[\d.+-]/.test(word) ? word.replaceAll('_', '') : word;
  const parts = integer.exec(bare)?.groups;
  const { base, digits, octal, sign } = parts ?? {};
  const code = base === undefined ? octal && `0o${octal}` : `0${base.toLowerCase()}${digits}`;
  const value = Number(code ?? bare);
  if (code !== undefined && !Number.isNaN(value)) return whole(sign === '-' ? -value : value);
  if (parts && base === undefined) return whole(value);
  return float.test(bare) ? value : word;
}

const whole = (value: number) => (Number.isSafeInteger(value) ? value : undefined);
