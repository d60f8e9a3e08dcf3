/** `kind: Machine` in YAML, and its value. */
import { dirname } from 'node:path';
import { SpawnletError } from '../host/error.ts';
import type { Json } from '../host/step.ts';
import { type Fault, Faults, parseYaml, tellFaults } from '../host/yaml.ts';
import { type MachineBody, machineBody } from './fields.ts';
import { whyNoName } from './names.ts';
import { choice, Expected, text } from './shape.ts';
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
  if (source.length > longestText) throw refused([{ line: 1, path: '', text: 'is longer than 1 MiB' }], file);
  const specs: MachineSpec[] = [];
  const faults: Fault[] = [];
  // Anchors, aliases and tags make a small text large, or another type.
  for (const document of await parseYaml(source, { aliases: 'refused' })) {
    try {
      const root = document.root();
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

const refused = (faults: readonly Fault[], file: string) =>
  new SpawnletError('ERR_MACHINE_FILE', tellFaults(faults, file, mostFaults), {
    hint: 'spawnlet machine schema prints every field, for editors too',
  });

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
