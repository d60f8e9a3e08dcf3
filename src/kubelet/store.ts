import { join } from 'node:path';
import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import type { HostStep } from '../host/step.ts';
import type { PodEngine } from '../pod/spec/engine-limits.ts';
import { parseManifest } from '../pod/spec/manifest.ts';
import { type ManifestKind, type ManifestObject, manifestKinds, validate } from '../pod/spec/validate.ts';
import { type ManifestFile, readManifests } from './manifests.ts';
import { wantedBy } from './wanted.ts';

/** Manifests of `pod apply`: each document in a file of its own, word for word, where the agent reads it. */

const fileName = ({ kind, namespace, name }: Pick<ManifestObject, 'kind' | 'namespace' | 'name'>) =>
  `${kind.toLowerCase()}-${namespace}-${name}.yaml`;

export interface Stored {
  readonly object: ManifestObject;
  readonly path: string;
}

/**
 * Where the documents of files are to lie.
 *
 * @throws ERR_MANIFEST with all that is wrong in them
 */
export async function storedAs(
  sources: readonly ManifestFile[],
  directory: string,
  fallback: PodEngine,
): Promise<Stored[]> {
  const documents = await Promise.all(sources.map(({ path, text }) => parseManifest(text, path)));
  return validate(documents.flat(), fallback).map(object => ({
    object,
    path: join(directory, fileName(object)),
  }));
}

/** Writes them; a document that is there already in the same words is left. */
export const applySteps = (stored: readonly Stored[], directory: string): HostStep[] => [
  { do: 'make-directory', path: directory, mode: 0o700 },
  ...stored.map(
    ({ object, path }): HostStep => ({
      do: 'write-file',
      path,
      content: object.document.text,
      mode: 0o600,
      ...(object.kind === 'Secret' && { shown: `(${object.kind} ${object.name}: not shown)\n` }),
    }),
  ),
];

/**
 * What the directory asks for once they are there: checked as a whole before anything is written.
 *
 * @throws ERR_MANIFEST if they are not right together with what is there
 */
export async function wantedAfter(
  files: Files,
  stored: readonly Stored[],
  directory: string,
  nodeName: string,
  fallback: PodEngine,
) {
  const paths = new Set(stored.map(({ path }) => path));
  const others = (await readManifests(files, directory)).filter(({ path }) => !paths.has(path));
  const own = stored.map(({ object, path }) => ({ path, text: object.document.text }));
  return wantedBy([...others, ...own], nodeName, fallback);
}

/** `pod/web`, `Deployment/web`: a kind and a name. @throws ERR_USAGE */
export function parseTarget(text: string): { readonly kind: ManifestKind; readonly name: string } {
  const [word = '', name, ...more] = text.includes('/') ? text.split('/') : ['Pod', text];
  const plain = word.toLowerCase().replace(/s$/, '');
  const kind = manifestKinds.find(each => each.toLowerCase() === plain || shortNames[each] === plain);
  if (kind && name && more.length === 0) return { kind: kind as ManifestKind, name };
  throw new SpawnletError('ERR_USAGE', `${JSON.stringify(text)} is no KIND/NAME`, {
    hint: `KIND is one of ${manifestKinds.join(', ')}; without one it is a pod`,
  });
}

const shortNames: Readonly<Record<string, string>> = {
  Pod: 'po',
  Deployment: 'deploy',
  DaemonSet: 'd',
  StatefulSet: 'st',
  ConfigMap: 'cm',
  PersistentVolumeClaim: 'pvc',
};

/** An object as its manifest names it. */
export interface ObjectName {
  readonly kind: ManifestKind;
  readonly name: string;
  readonly namespace: string;
}

/** The objects of files. @throws ERR_MANIFEST */
export async function objectsIn(sources: readonly ManifestFile[]): Promise<ObjectName[]> {
  const documents = await Promise.all(sources.map(({ path, text }) => parseManifest(text, path)));
  return validate(documents.flat(), 'crun').map(({ kind, name, namespace }) => ({ kind, name, namespace }));
}

/** Steps that take an object away; an object of a file that has others stays. @throws ERR_NO_OBJECT, ERR_MANIFEST_SHARED */
export async function removeSteps(files: Files, target: ObjectName, directory: string): Promise<HostStep[]> {
  const what = `${target.kind} ${target.name}`;
  const others: ManifestKind[] = [];
  for (const { path, text } of await readManifests(files, directory)) {
    const documents = await parseManifest(text, path);
    const isIt = documents.filter(document => isOf(document, target));
    const kinds = manifestKinds as readonly ManifestKind[];
    others.push(...kinds.filter(kind => documents.some(each => isOf(each, { ...target, kind }))));
    if (isIt.length === 0) continue;
    if (documents.length === 1) return [{ do: 'remove', path }];
    throw new SpawnletError('ERR_MANIFEST_SHARED', `${path} has ${what} and other documents`, {
      hint: `take it out of the file: ${path}`,
    });
  }
  const [other] = others;
  const but = other === undefined ? '' : `, but there is a ${other} ${target.name}`;
  throw new SpawnletError('ERR_NO_OBJECT', `there is no ${what} in namespace ${target.namespace}${but}`, {
    hint: other === undefined ? `ls ${directory}` : `spawnlet pod rm ${other.toLowerCase()}/${target.name}`,
  });
}

/** Of a document that may be wrong otherwise: it can be removed all the same. */
function isOf(
  { kind, root }: Awaited<ReturnType<typeof parseManifest>>[number],
  target: ObjectName,
): boolean {
  const metadata = root.kind === 'map' ? root.entries.get('metadata') : undefined;
  const word = (key: string) => {
    const node = metadata?.kind === 'map' ? metadata.entries.get(key) : undefined;
    return node?.kind === 'scalar' && typeof node.value === 'string' ? node.value : undefined;
  };
  return (
    kind === target.kind &&
    word('name') === target.name &&
    (word('namespace') ?? 'default') === target.namespace
  );
}
