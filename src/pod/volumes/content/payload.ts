/** What is in the files of a volume, checked: their paths come from users, and from objects that others may write. */
import { SpawnletError } from '../../../host/error.ts';
import type { ConfigMap, Secret } from '../../api/kubernetes.ts';
import type { PodName } from '../facts.ts';
import type { Source } from './sources.ts';

/** Where a volume's content comes from. */
export interface VolumeObjects {
  /** Undefined if there is none of that name. */
  configMap(namespace: string, name: string, signal: AbortSignal): Promise<ConfigMap | undefined>;
  secret(namespace: string, name: string, signal: AbortSignal): Promise<Secret | undefined>;
  /** A token of the pod's account, which is still good for a while: it may be asked for more often than it is issued. */
  token(pod: PodName, request: TokenRequest, signal: AbortSignal): Promise<string>;
}

export interface TokenRequest {
  /** Empty for the API server itself. */
  readonly audience: string;
  readonly seconds: number;
}

export interface PayloadFile {
  readonly content: Uint8Array;
  readonly mode: number;
  readonly uid: number;
}

/** Files by their paths: relative, clean, no one a directory of another, none that begins with two dots. */
export type Payload = ReadonlyMap<string, PayloadFile>;

/** Bytes of a path and of a name in it, as Kubernetes limits them. */
const maxPath = 4096;
const maxName = 255;

/**
 * What the sources of a volume have now. A later one replaces a file of an earlier one.
 * @throws ERR_VOLUME_OBJECT if an object or a key is not there, ERR_VOLUME_CONTENT if a path cannot be.
 */
export async function payloadOf(
  pod: PodName,
  sources: readonly Source[],
  objects: VolumeObjects,
  signal: AbortSignal,
): Promise<Payload> {
  const payload = new Map<string, PayloadFile>();
  for (const source of sources)
    for (const [path, file] of await filesOf(pod, source, objects, signal))
      payload.set(cleanPath(path), file);
  for (const path of payload.keys())
    for (const above of pathsAbove(path)) if (payload.has(above)) throw refused(path, `${above} is a file`);
  return payload;
}

type Files = readonly (readonly [path: string, file: PayloadFile])[];

async function filesOf(
  pod: PodName,
  source: Source,
  objects: VolumeObjects,
  signal: AbortSignal,
): Promise<Files> {
  if (source.kind === 'text') return [[source.path, fileOf(source.text, source.mode)]];
  if (source.kind === 'token') {
    const { path, mode, uid, audience, seconds } = source;
    const token = await objects.token(pod, { audience, seconds }, signal);
    return [[path, { ...fileOf(token, mode), uid }]];
  }
  const { kind, name, optional, items } = source;
  const data =
    kind === 'secret'
      ? secretData(await objects.secret(pod.namespace, name, signal))
      : configData(await objects.configMap(pod.namespace, name, signal));
  if (!data && !optional) throw missing(kind, name, pod);
  if ('mode' in items)
    return [...(data ?? [])].map(([key, content]) => [key, { content, mode: items.mode, uid: 0 }]);
  return items.flatMap(({ key, path, mode }): Files => {
    const content = data?.get(key);
    if (content) return [[path, { content, mode, uid: 0 }]];
    if (optional) return [];
    throw missing(kind, name, pod, key);
  });
}

const fileOf = (text: string, mode: number): PayloadFile => ({ content: Buffer.from(text), mode, uid: 0 });

type Data = ReadonlyMap<string, Uint8Array>;

function configData(object: ConfigMap | undefined): Data | undefined {
  if (!object) return undefined;
  const texts = Object.entries(object.data ?? {}).map(([key, text]) => [key, Buffer.from(text)] as const);
  return new Map([...texts, ...decoded(object.binaryData)]);
}

const secretData = (object: Secret | undefined): Data | undefined => object && new Map(decoded(object.data));

const decoded = (data: { readonly [key: string]: string } = {}) =>
  Object.entries(data).map(([key, base64]) => [key, Buffer.from(base64, 'base64')] as const);

const words = { 'config-map': 'configmap', secret: 'secret' };

function missing(kind: 'config-map' | 'secret', name: string, { namespace }: PodName, key?: string) {
  const object = `${words[kind]} "${namespace}/${name}"`;
  return new SpawnletError(
    'ERR_VOLUME_OBJECT',
    key === undefined ? `${object} not found` : `${object} has no key ${JSON.stringify(key)}`,
    { hint: 'apply it, or set optional: true where the pod can do without' },
  );
}

/** A path as it is written on the disk. */
function cleanPath(path: string): string {
  const names = path.split('/').filter(name => name !== '' && name !== '.');
  if (path.startsWith('/')) throw refused(path, 'it is absolute');
  if (names.length === 0) throw refused(path, 'it is empty');
  if (path.includes('\0')) throw refused(path, 'it has a NUL');
  if (names.includes('..')) throw refused(path, "it has '..' in it");
  if (names[0]?.startsWith('..')) throw refused(path, "it begins with '..'");
  if (Buffer.byteLength(path) > maxPath || names.some(name => Buffer.byteLength(name) > maxName))
    throw refused(path, 'it is too long');
  return names.join('/');
}

/** `a/b` and `a` for `a/b/c`. */
function* pathsAbove(path: string): Generator<string> {
  for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) yield path.slice(0, at);
}

const refused = (path: string, why: string) =>
  new SpawnletError('ERR_VOLUME_CONTENT', `${JSON.stringify(path)} cannot be a file of a volume: ${why}`, {
    hint: 'a path is relative, has no .. in it and is not that of another file with more behind it',
  });
