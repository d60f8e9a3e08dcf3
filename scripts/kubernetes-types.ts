/**
 * Makes `src/pod/api/vMINOR.ts` of Kubernetes' OpenAPI document: the types of its objects for the compiler, and the same
 * as data for the check of manifests. The document is in the Go module k8s.io/kubernetes, whose directory is told by
 * `go mod download -json k8s.io/kubernetes@v1.36.3`:
 *
 *     node scripts/kubernetes-types.ts DIRECTORY/api/openapi-spec/swagger.json 1.36.3
 */
import { readFileSync, writeFileSync } from 'node:fs';

interface Property {
  readonly $ref?: string;
  readonly type?: string;
  readonly format?: string;
  readonly items?: Property;
  readonly additionalProperties?: Property;
}

interface Definition {
  readonly properties?: { readonly [name: string]: Property };
  readonly required?: readonly string[];
  readonly 'x-kubernetes-group-version-kind'?: readonly { group: string; version: string; kind: string }[];
}

const core = 'io.k8s.api.core.v1';
const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';

/** What an agent reads and writes. All that these refer to is in the file, too. */
const roots = [
  ...['ConfigMap', 'Event', 'Namespace', 'Node', 'NodeList', 'PersistentVolume', 'PersistentVolumeClaim'].map(
    kind => `${core}.${kind}`,
  ),
  ...['Pod', 'PodList', 'Secret', 'Service', 'ServiceAccount'].map(kind => `${core}.${kind}`),
  ...['Deployment', 'DaemonSet', 'StatefulSet'].map(kind => `io.k8s.api.apps.v1.${kind}`),
  'io.k8s.api.batch.v1.Job',
  'io.k8s.api.coordination.v1.Lease',
  'io.k8s.api.node.v1.RuntimeClass',
  'io.k8s.api.authentication.v1.TokenRequest',
  'io.k8s.api.authentication.v1.TokenReview',
  'io.k8s.api.authorization.v1.SubjectAccessReview',
  'io.k8s.api.certificates.v1.CertificateSigningRequest',
  `${meta}.Status`,
  `${meta}.WatchEvent`,
];

/** Definitions that are values of their own: as TypeScript's type. */
const scalars: { readonly [name: string]: string } = {
  Quantity: 'string',
  Time: 'string',
  MicroTime: 'string',
  IntOrString: 'number | string',
  FieldsV1: '{ readonly [key: string]: unknown }',
  RawExtension: '{ readonly [key: string]: unknown }',
};

const primitives: { readonly [type: string]: string } = {
  string: 'string',
  bytes: 'string',
  boolean: 'boolean',
  int32: 'number',
  int64: 'number',
};

const widest = 110;
const [document, version] = process.argv.slice(2);
const minor = /^(\d+\.\d+)\.\d+$/.exec(version ?? '')?.[1];
if (document === undefined || minor === undefined)
  throw new Error('usage: node scripts/kubernetes-types.ts SWAGGER.JSON VERSION');
const { definitions } = JSON.parse(readFileSync(document, 'utf8')) as {
  readonly definitions: { readonly [name: string]: Definition };
};

const nameOf = (ref: string) => ref.replace('#/definitions/', '');
const shortOf = (name: string) => name.slice(name.lastIndexOf('.') + 1);

/** Full names by the short ones, which are what the file uses. */
function reachable(): Map<string, string> {
  const found = new Map<string, string>();
  const rest = [...roots];
  for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
    const known = found.get(shortOf(name));
    if (known === name) continue;
    if (known !== undefined) throw new Error(`${known} and ${name} have one short name`);
    found.set(shortOf(name), name);
    for (const property of Object.values(definitionOf(name).properties ?? {})) {
      const { $ref } = property.items ?? property.additionalProperties ?? property;
      if ($ref !== undefined) rest.push(nameOf($ref));
    }
  }
  return new Map([...found].toSorted(([one], [other]) => (one < other ? -1 : 1)));
}

function definitionOf(name: string): Definition {
  const definition = definitions[name];
  if (definition === undefined) throw new Error(`the document does not define ${name}`);
  return definition;
}

/** `Container[]`, `string{}`, `int32`: a type as the table has it. */
function typeOf(property: Property): string {
  if (property.items) return `${typeOf(property.items)}[]`;
  if (property.additionalProperties) return `${typeOf(property.additionalProperties)}{}`;
  if (property.$ref !== undefined) return shortOf(nameOf(property.$ref));
  if (property.type === 'integer' && property.format !== undefined) return property.format;
  if (property.type === 'string' && property.format === 'byte') return 'bytes';
  if (property.type === 'string' || property.type === 'boolean') return property.type;
  throw new Error(`cannot tell the type of ${JSON.stringify(property)}`);
}

/** The same for the compiler. */
function typeScriptOf(type: string): string {
  if (type.endsWith('[]')) return `readonly ${typeScriptOf(type.slice(0, -2))}[]`;
  if (type.endsWith('{}')) return `{ readonly [key: string]: ${typeScriptOf(type.slice(0, -2))} }`;
  return primitives[type] ?? type;
}

const fieldName = (name: string) => (/^[A-Za-z_]\w*$/.test(name) ? name : `'${name}'`);

const interfaces: string[] = [];
const table: string[] = [];
const kinds: string[] = [];
for (const [short, name] of reachable()) {
  const { properties, required = [], 'x-kubernetes-group-version-kind': groups } = definitionOf(name);
  const scalar = scalars[short];
  if (scalar !== undefined) interfaces.push(`export type ${short} = ${scalar};`);
  if (properties === undefined) continue;
  const fields = Object.entries(properties).map(([field, property]) => {
    const isRequired = required.includes(field);
    return { field, type: typeOf(property), mark: isRequired ? '!' : '', optional: isRequired ? '' : '?' };
  });
  const lines = fields.map(
    ({ field, type, optional }) => `  readonly ${fieldName(field)}${optional}: ${typeScriptOf(type)};`,
  );
  interfaces.push([`export interface ${short} {`, ...lines, '}'].join('\n'));
  const row = `'${fields.map(({ field, type, mark }) => `${field}:${type}${mark}`).join(' ')}',`;
  table.push(short.length + row.length + 4 > widest ? `  ${short}:\n    ${row}` : `  ${short}: ${row}`);
  const [own, ...others] = groups ?? [];
  if (own === undefined || others.length > 0) continue;
  kinds.push(`  ${own.kind}: '${own.group === '' ? '' : `${own.group}/`}${own.version}',`);
}

writeFileSync(
  `src/pod/api/v${minor}.ts`,
  `// Generated by scripts/kubernetes-types.ts from the OpenAPI document of Kubernetes ${version}. Not to be edited.

${interfaces.join('\n\n')}

/** Of Kubernetes, whose API this is. */
export const version = '${version}';

/** The apiVersion of each kind. */
export const kinds = {
${kinds.join('\n')}
} as const;

/** The fields of each type, as \`name:type\`: \`[]\` is a list, \`{}\` a map with texts for keys, \`!\` is required. */
export const fields = {
${table.join('\n')}
} as const;
`,
);
