/** YAML, and JSON with it, as nodes that know their lines; and the telling of what is wrong with them. */
import type { LineCounter, ParsedNode, Scalar as ScalarNode, YAMLMap } from 'yaml';

export type Scalar = string | number | boolean | null;

/** A node of a document, whatever it was written in. Lines count from 1; 0 where there is none. */
export type Node = {
  readonly line: number;
} /** `written`: the word, where the value has another one: `yes` for true, `0644` for 420. */ & (
  | { readonly kind: 'scalar'; readonly value: Scalar; readonly written?: string }
  | { readonly kind: 'list'; readonly items: readonly Node[] }
  | { readonly kind: 'map'; readonly entries: ReadonlyMap<string, Node> }
);

/** One thing that is wrong: where, what, and what would be right. */
export interface Fault {
  readonly line: number;
  /** `spec.limits.memory`; empty for the document. */
  readonly path: string;
  readonly text: string;
  /** What would be right there: `a whole number of at least 1`; it is part of the text, too. */
  readonly expected?: string;
}

/** All that is wrong with a node. */
export class Faults extends Error {
  readonly list: readonly Fault[];

  constructor(list: readonly Fault[]) {
    super(list.map(({ path, text }) => `${path} ${text}`).join('; '));
    this.list = list;
  }
}

/** Faults as a person reads them: one on each line, in the order of the file, not more than `most`. */
export function tellFaults(faults: readonly Fault[], file: string, most: number): string {
  const told = faults
    .toSorted((one, other) => one.line - other.line)
    .slice(0, most)
    .map(({ line, path, text }) => `${file}:${line}: ${`${path} ${text}`.trim()}`);
  return [...told, ...(faults.length > most ? [`and ${faults.length - most} more`] : [])].join('\n  ');
}

export interface Dialect {
  /** Whether anchors, aliases, `<<` and the tags of YAML's own types may be used. */
  readonly aliases: 'followed' | 'refused';
  /** What a word without quotes is, undefined if no value can hold it; YAML 1.2 decides if this is not given. */
  readonly plain?: (word: string) => Scalar | undefined;
}

/** One document of a text. */
export interface YamlDocument {
  /** As it was written, with its comments, without the line that parts it from the one before. */
  readonly text: string;
  /** The document as a node; null for one of comments. Throws {@link Faults}. */
  root(): Node;
}

/** No person writes more in one document; aliases make so many of a few lines. */
const mostNodes = 200_000;
const deepest = 100;
const tags = ['str', 'int', 'float', 'bool', 'null', 'map', 'seq'].map(name => `tag:yaml.org,2002:${name}`);

/** The documents of a text: none of an empty one. */
export async function parseYaml(source: string, dialect: Dialect): Promise<readonly YamlDocument[]> {
  const yaml = await import('yaml');
  const lines = new yaml.LineCounter();
  // Its own search for keys that are there twice takes seconds for the keys of a megabyte.
  const parsed = yaml.parseAllDocuments(source, { lineCounter: lines, merge: false, uniqueKeys: false });
  const documents = 'empty' in parsed ? [] : parsed;
  const starts = documents.map(({ range: [start] }, index) => (index === 0 ? 0 : start));
  return documents.map((document, index) => ({
    text: source.slice(starts[index], starts[index + 1]).replace(/^---[ \t]*\r?\n/, ''),
    root() {
      const [error] = document.errors;
      if (error === undefined) return new Reader(yaml, lines, dialect).read(document.contents, 1, 0);
      const message = error.message.split('\n', 1)[0]?.replace(/ at line \d+, column \d+:?$/, '') ?? '';
      const { line } = lines.linePos(error.pos[0]);
      throw new Faults([{ line: Math.max(1, line), path: '', text: `is not YAML: ${message}` }]);
    },
  }));
}

/** Reads one document: remembers what its anchors name, and how much it has read. */
class Reader {
  readonly #yaml: typeof import('yaml');
  readonly #lines: LineCounter;
  readonly #dialect: Dialect;
  readonly #anchors = new Map<string, ParsedNode>();
  #count = 0;

  constructor(yaml: typeof import('yaml'), lines: LineCounter, dialect: Dialect) {
    this.#yaml = yaml;
    this.#lines = lines;
    this.#dialect = dialect;
  }

  read(node: ParsedNode | null, above: number, depth: number): Node {
    if (node === null) return { line: above, kind: 'scalar', value: null };
    const line = Math.max(1, this.#lines.linePos(node.range[0]).line);
    if (++this.#count > mostNodes)
      throw wrong(line, `has more than ${mostNodes} values, with what its aliases add`);
    if (depth > deepest) throw wrong(line, `is nested deeper than ${deepest} levels`);
    const isFollowed = this.#dialect.aliases === 'followed';
    if (this.#yaml.isAlias(node)) {
      if (!isFollowed) throw wrong(line, `has an alias, *${node.source}: write out what it stands for`);
      const target = this.#anchors.get(node.source);
      if (target) return this.read(target, line, depth + 1);
      throw wrong(line, `has an alias, *${node.source}, with no anchor before it`);
    }
    if (node.anchor !== undefined && !isFollowed)
      throw wrong(line, `has an anchor, &${node.anchor}, which nothing may refer to`);
    if (node.tag !== undefined && !(isFollowed && tags.includes(node.tag)))
      throw wrong(line, `has a tag, ${node.tag}: leave it out`);
    const read = this.#valueOf(node, line, depth);
    // Not before: what is inside cannot stand for the whole.
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    return read;
  }

  #valueOf(node: ParsedNode, line: number, depth: number): Node {
    const { isMap, isScalar, isSeq } = this.#yaml;
    if (isScalar(node)) {
      const value = this.#scalarOf(node, line);
      const { source } = node;
      const isOther = value !== null && isPlain(node) && String(value) !== source;
      return { line, kind: 'scalar', value, ...(isOther && { written: source }) };
    }
    if (isSeq(node))
      return { line, kind: 'list', items: node.items.map(item => this.read(item, line, depth + 1)) };
    if (isMap(node)) return { line, kind: 'map', entries: this.#entriesOf(node, line, depth) };
    throw wrong(line, 'has something that is no value');
  }

  #entriesOf(node: YAMLMap.Parsed, line: number, depth: number): Map<string, Node> {
    const entries = new Map<string, Node>();
    const merged: Node[] = [];
    for (const { key, value } of node.items) {
      const name = this.read(key, line, depth + 1);
      if (name.kind !== 'scalar' || name.value === null) throw wrong(name.line, 'has a key that is no text');
      const each = this.read(value, name.line, depth + 1);
      const text = String(name.value);
      if (
        this.#dialect.aliases === 'followed' &&
        this.#yaml.isScalar(key) &&
        key.source === '<<' &&
        isPlain(key)
      )
        merged.push(...(each.kind === 'list' ? each.items : [each]));
      else if (entries.has(text)) throw wrong(name.line, `has the key ${text} twice`);
      else entries.set(text, each);
    }
    for (const each of merged) {
      if (each.kind !== 'map') throw wrong(each.line, 'has a << of something that is no mapping');
      for (const [name, value] of each.entries) if (!entries.has(name)) entries.set(name, value);
    }
    return entries;
  }

  #scalarOf(node: ScalarNode, line: number): Scalar {
    const { plain } = this.#dialect;
    const value = plain && isPlain(node) && node.source !== undefined ? plain(node.source) : node.value;
    if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
    if (typeof value === 'number') return value;
    throw wrong(line, `has ${node.source ?? 'something'}, which is no value; in quotes it is a text`);
  }
}

const isPlain = ({ type, tag }: ScalarNode) => tag === undefined && type === 'PLAIN';

const wrong = (line: number, text: string) => new Faults([{ line, path: '', text }]);
