import { SpawnletError } from '../../host/error.ts';
import { type Credential, parseEntry } from '../../image/credentials.ts';
import type { Pod, Secret } from '../api/kubernetes.ts';

/** Credentials of Secrets that a pod names for the pull of its images: matched to an image as the kubelet has it. */

/** The Secrets that a pod names, and the names of those that are not there. */
export interface PullSecrets {
  readonly found: readonly Secret[];
  readonly missing: readonly string[];
}

/** @param secret one of the pod's namespace */
export function pullSecretsOf(pod: Pod, secret: (name: string) => Secret | undefined): PullSecrets {
  const found: Secret[] = [];
  const missing: string[] = [];
  for (const { name } of pod.spec?.imagePullSecrets ?? []) {
    if (!name) continue;
    const one = secret(name);
    if (one) found.push(one);
    else missing.push(name);
  }
  return { found, missing };
}

interface Entry {
  /** Host with port if there is one, and a path that begins what it is good for. */
  readonly key: string;
  readonly credential: Credential;
}

/** Where the Secrets of each type keep their table of registries. */
const tables: Readonly<Record<string, (data: Readonly<Record<string, string>>) => unknown>> = {
  'kubernetes.io/dockerconfigjson': data => fieldOf(parsed(data['.dockerconfigjson']), 'auths'),
  'kubernetes.io/dockercfg': data => parsed(data['.dockercfg']),
};

/** Of a text that may hold passwords: what is wrong in it is not quoted. */
function parsed(base64: string | undefined): unknown {
  try {
    return JSON.parse(Buffer.from(base64 ?? '', 'base64').toString());
  } catch {
    return undefined;
  }
}

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? new Map(Object.entries(value)).get(name) : undefined;

/**
 * The credentials of Secrets that are good for an image: those of the longest path first.
 *
 * @param image `docker.io/library/nginx`, without tag
 * @throws ERR_AUTH_FILE for an entry whose "auth" is not what docker writes; it names the Secret
 */
export function credentialsFor(secrets: readonly Secret[], image: string): Credential[] {
  const entries = secrets.flatMap(secret => entriesOf(secret));
  return entries
    .filter(({ key }) => matches(key, image))
    .toSorted((a, b) => (a.key < b.key ? 1 : a.key > b.key ? -1 : 0))
    .map(({ credential }) => credential);
}

function entriesOf({ metadata, type = '', data = {} }: Secret): Entry[] {
  const table = tables[type]?.(data);
  if (typeof table !== 'object' || table === null) return [];
  return Object.entries(table).flatMap(([location, entry]: [string, unknown]) => {
    const credential = parseEntry(entry, why => unusable(metadata?.name ?? '', why));
    return credential ? [{ key: keyOf(location), credential }] : [];
  });
}

const unusable = (name: string, why: string) =>
  new SpawnletError('ERR_AUTH_FILE', `the Secret ${name} cannot be used: ${why}`, {
    hint: `kubectl create secret docker-registry ${name} --dry-run=client -o yaml …`,
  });

/** What docker writes as a URL stands for its host; `/v1/` and `/v2/` are the registry's API and no path. */
function keyOf(location: string): string {
  const plain = location.replace(/^https?:\/\//, '').replace(/[?#].*$/, '');
  const slash = plain.indexOf('/');
  const host = slash === -1 ? plain : plain.slice(0, slash);
  const path = (slash === -1 ? '' : plain.slice(slash)).replace(/^\/v[12](?=\/)/, '');
  const name = /^(?:index|registry-1)\.docker\.io$/.test(host) ? 'docker.io' : host;
  return path === '/' ? name : `${name}${path}`;
}

/** Each label of a key's host may have `*`, which stands for no dot; the port is the same; its path begins the image's. */
function matches(key: string, image: string): boolean {
  const [wanted, own] = [partsOf(key), partsOf(image)];
  return (
    wanted.port === own.port &&
    wanted.labels.length === own.labels.length &&
    wanted.labels.every((label, at) => isLike(label, own.labels[at] ?? '')) &&
    own.path.startsWith(wanted.path)
  );
}

function partsOf(text: string) {
  const slash = text.indexOf('/');
  const host = slash === -1 ? text : text.slice(0, slash);
  const [, name = host, port = ''] = /^(.*?)(?::(\d+))?$/.exec(host) ?? [];
  return { labels: name.split('.'), port, path: slash === -1 ? '' : text.slice(slash) };
}

/** `*` is any text; in time that grows with the product of their lengths, whatever they say. */
function isLike(pattern: string, text: string): boolean {
  /** Where what is matched so far may end. */
  let ends = new Set([0]);
  for (const sign of pattern) {
    const next = new Set<number>();
    if (sign === '*') for (let at = Math.min(...ends); at <= text.length; at++) next.add(at);
    else for (const at of ends) if (sign === text[at]) next.add(at + 1);
    ends = next;
  }
  return ends.has(text.length);
}
