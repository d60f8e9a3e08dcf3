/** `kind: Machine` in YAML, and its value. */
import { dirname } from 'node:path';
import type { LineCounter, ParsedNode, Document as YamlDocument } from 'yaml';
import { SpawnletError } from '../host/error.ts';
import type { Json } from '../host/step.ts';
import { type MachineBody, machineBody } from './fields.ts';
import { whyNoName } from './names.ts';
import { choice, Expected, type Fault, Faults, type Node, text } from './shape.ts';
import type { MachineSpec } from './spec.ts';
import { needed, record } from './structure.ts';

export const apiVersion = 'spawnlet.io/v1alpha1';

/** More than any machine needs, and little to parse. */
const longestText = 1024 * 1024;

const name = text(
  value => {
    const why = whyNoName(value);
    if (why === undefined) return value;
    throw new Expected(why);
  },
  value => value,
  { pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$', maxLength: 63 },
);

/** A whole document; the JSON schema is made of it. */
export const machineDocument = record<{
  apiVersion: typeof apiVersion;
  kind: 'Machine';
  metadata: { name: string };
  spec: MachineBody;
}>({
  apiVersion: needed(choice([apiVersion])),
  kind: needed(choice(['Machine'])),
  metadata: needed(record({ name: needed(name, 'of its unit, its directory and its host, too') })),
  spec: needed(machineBody),
});

/**
 * The machines of a text: one for each of its YAML documents. Relative paths are taken from the file's directory. All that
 * is wrong is told at once, with file, line and field.
 *
 * @throws ERR_MACHINE_FILE
 */
export async function parseMachines(source: string, file: string): Promise<MachineSpec[]> {
  const { LineCounter, parseAllDocuments } = await import('yaml');
  if (source.length > longestText) throw refused([{ line: 1, path: '', text: 'is longer than 1 MiB' }], file);
  const lines = new LineCounter();
  const documents = parseAllDocuments(source, { lineCounter: lines, merge: false, strict: true });
  const specs: MachineSpec[] = [];
  const faults: Fault[] = [];
  for (const document of 'empty' in documents ? [] : documents) {
    try {
      const root = await nodeOfYaml(document, lines);
      if (root.kind === 'scalar' && root.value === null) continue;
      const { metadata, spec } = machineDocument.read(root, { path: '', directory: dirname(file) });
      if (specs.some(other => other.name === metadata.name))
        throw new Faults([{ line: root.line, path: 'metadata.name', text: `is ${metadata.name} twice` }]);
      specs.push({ name: metadata.name, ...spec });
    } catch (error) {
      if (!(error instanceof Faults)) throw error;
      faults.push(...error.list);
    }
  }
  if (faults.length > 0) throw refused(faults, file);
  if (specs.length > 0) return specs;
  throw refused([{ line: 1, path: '', text: 'has no document' }], file);
}

/** {@link parseMachines} of a text with one document. */
export async function parseMachine(source: string, file: string): Promise<MachineSpec> {
  const [spec, ...more] = await parseMachines(source, file);
  if (spec && more.length === 0) return spec;
  throw refused([{ line: 1, path: '', text: `has ${more.length + 1} documents; one is wanted here` }], file);
}

/** At most so many are told at once. */
const mostFaults = 10;

function refused(faults: readonly Fault[], file: string): SpawnletError {
  const told = faults
    .toSorted((one, other) => one.line - other.line)
    .slice(0, mostFaults)
    .map(fault => `${file}:${fault.line}: ${`${fault.path} ${fault.text}`.trim()}`);
  const more = faults.length > mostFaults ? [`and ${faults.length - mostFaults} more`] : [];
  return new SpawnletError('ERR_MACHINE_FILE', [...told, ...more].join('\n  '), {
    hint: 'spawnlet machine schema prints every field, for editors too',
  });
}

/** A YAML document as a {@link Node}. Anchors, aliases and tags are refused: they make a small text large, or another type. */
async function nodeOfYaml(document: YamlDocument.Parsed, lines: LineCounter): Promise<Node> {
  const { isAlias, isMap, isScalar, isSeq } = await import('yaml');
  const lineOf = (offset: number) => Math.max(1, lines.linePos(offset).line);
  const [error] = document.errors;
  if (error) {
    const message = error.message.split('\n', 1)[0]?.replace(/ at line \d+, column \d+:?$/, '') ?? '';
    throw new Faults([{ line: lineOf(error.pos[0]), path: '', text: `is not YAML: ${message}` }]);
  }
  function walk(node: ParsedNode | null, line: number): Node {
    if (node === null) return { line, kind: 'scalar', value: null };
    const own = lineOf(node.range[0]);
    const wrong = (what: string) => new Faults([{ line: own, path: '', text: what }]);
    if (isAlias(node)) throw wrong(`has an alias, *${node.source}: write out what it stands for`);
    if (node.anchor !== undefined) throw wrong(`has an anchor, &${node.anchor}, which nothing may refer to`);
    if (node.tag !== undefined) throw wrong(`has a tag, ${node.tag}: leave it out`);
    if (isScalar(node)) {
      const { value } = node;
      if (
        value === null ||
        typeof value === 'string' ||
        typeof value === 'number' ||
        typeof value === 'boolean'
      )
        return { line: own, kind: 'scalar', value };
      throw wrong('has something that is no value');
    }
    if (isSeq(node)) return { line: own, kind: 'list', items: node.items.map(item => walk(item, own)) };
    if (!isMap(node)) throw wrong('has something that is no value');
    const entries = node.items.map(({ key, value }) => {
      const read = walk(key, own);
      if (read.kind !== 'scalar' || read.value === null) throw wrong('has a key that is no text');
      return [String(read.value), walk(value, read.line)] as const;
    });
    return { line: own, kind: 'map', entries: new Map(entries) };
  }
  return walk(document.contents, 1);
}

/** The document of a spec as a value: what is as it is anyway is left out. */
export function documentOf({ name: own, ...spec }: MachineSpec): Json {
  return machineDocument.write({ apiVersion, kind: 'Machine', metadata: { name: own }, spec });
}

/** The shortest document that {@link parseMachine} makes the same value of. */
export async function formatMachine(spec: MachineSpec): Promise<string> {
  const { stringify } = await import('yaml');
  // Readers of YAML 1.1 take `no` and `8080:80` for other things than texts.
  return stringify(documentOf(spec), { compat: 'yaml-1.1', lineWidth: 0 });
}
