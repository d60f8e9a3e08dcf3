import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Children } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import { Secret } from './secret.ts';

/** What to log in with. */
export type Credential =
  | { readonly kind: 'basic'; readonly username: string; readonly password: Secret }
  /** A refresh token of OAuth 2, which `docker login` keeps for registries that give one. */
  | { readonly kind: 'identity-token'; readonly token: Secret };

export interface CredentialOptions {
  readonly files: Files;
  readonly children: Children;
  readonly env: NodeJS.ProcessEnv;
  /** The one file to read, of `--authfile`; REGISTRY_AUTH_FILE of `env` if not given. */
  readonly authFile?: string | undefined;
}

/** The key that `docker login` uses for Docker Hub. */
const dockerHubKey = 'https://index.docker.io/v1/';

/**
 * Looks up who to be at a registry, in podman's and docker's files, in podman's order: containers-auth.json(5). The
 * entry with the longest matching path wins within a file; the first file that knows the registry wins.
 */
export async function findCredential(
  registry: string,
  repository: string,
  options: CredentialOptions,
  signal: AbortSignal,
): Promise<Credential | undefined> {
  const named = options.authFile ?? options.env['REGISTRY_AUTH_FILE'];
  for (const path of named ? [named] : defaultFiles(options.env)) {
    const text = await options.files.read(path);
    if (text === undefined && named)
      throw new SpawnletError('ERR_AUTH_FILE', `there is no file ${path} with credentials`, {
        hint: `podman login --authfile ${path} ${registry}`,
      });
    if (text === undefined) continue;
    const found = await findInFile(parseFile(text, path), path, registry, repository, options, signal);
    if (found) return found;
  }
  return undefined;
}

/** The files that are read, first to last. */
export function defaultFiles(env: NodeJS.ProcessEnv): string[] {
  const home = env['HOME'] || homedir();
  return [
    env['XDG_RUNTIME_DIR'] ? join(env['XDG_RUNTIME_DIR'], 'containers/auth.json') : undefined,
    `/run/containers/${process.getuid?.() ?? 0}/auth.json`,
    join(env['XDG_CONFIG_HOME'] || join(home, '.config'), 'containers/auth.json'),
    join(env['DOCKER_CONFIG'] || join(home, '.docker'), 'config.json'),
  ].filter(path => path !== undefined);
}

interface AuthFile {
  readonly auths: ReadonlyMap<string, unknown>;
  readonly credHelpers: ReadonlyMap<string, unknown>;
  readonly credsStore: unknown;
}

function parseFile(text: string, path: string): AuthFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Without the parser's message as cause: it quotes the file.
    throw broken(path, 'it is not JSON');
  }
  const fields = tableOf(value);
  return {
    auths: tableOf(fields.get('auths')),
    credHelpers: tableOf(fields.get('credHelpers')),
    credsStore: fields.get('credsStore'),
  };
}

function tableOf(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(typeof value === 'object' && value !== null ? Object.entries(value) : []);
}

function broken(path: string, why: string): SpawnletError {
  return new SpawnletError('ERR_AUTH_FILE', `${path} cannot be used: ${why}`, {
    hint: `write it again with 'podman login --authfile ${path}' or 'docker login'`,
  });
}

async function findInFile(
  file: AuthFile,
  path: string,
  registry: string,
  repository: string,
  options: CredentialOptions,
  signal: AbortSignal,
): Promise<Credential | undefined> {
  const helper = file.credHelpers.get(registry);
  if (helper !== undefined) return await askHelper(helper, path, registry, options, signal);
  for (const key of keysFor(registry, repository)) {
    const entry = file.auths.get(key) ?? legacyEntry(file.auths, key);
    const credential = entry === undefined ? undefined : parseEntry(entry, why => broken(path, why));
    if (credential) return credential;
  }
  if (file.credsStore === undefined || file.credsStore === '') return undefined;
  return await askHelper(file.credsStore, path, registry, options, signal);
}

/** `host/a/b`, `host/a`, `host`. */
export function keysFor(registry: string, repository: string): string[] {
  const parts = [registry, ...repository.split('/')];
  return parts.map((_, index) => parts.slice(0, parts.length - index).join('/'));
}

/** docker writes URLs as keys: only their host counts. */
function legacyEntry(auths: ReadonlyMap<string, unknown>, key: string): unknown {
  if (key.includes('/')) return undefined;
  for (const [name, entry] of auths) {
    const isUrl = /^https?:\/\//.test(name);
    const host = name.replace(/^https?:\/\//, '').split('/')[0];
    if ((isUrl || /\/v[12]\/?$/.test(name) || !name.includes('/')) && hostKey(host ?? '') === key)
      return entry;
  }
  return undefined;
}

function hostKey(host: string): string {
  return host === 'index.docker.io' || host === 'registry-1.docker.io' ? 'docker.io' : host;
}

/**
 * An entry of `auths`; undefined for the empty one that docker leaves when a helper keeps the password.
 *
 * @param broken the error for what is wrong in it, which is not quoted
 */
export function parseEntry(entry: unknown, broken: (why: string) => Error): Credential | undefined {
  const fields = tableOf(entry);
  const identity = fields.get('identitytoken');
  if (typeof identity === 'string' && identity !== '')
    return { kind: 'identity-token', token: new Secret(identity) };
  const auth = fields.get('auth');
  if (auth === undefined || auth === '') return plainEntry(fields);
  const decoded = typeof auth === 'string' ? Buffer.from(auth, 'base64').toString() : '';
  const colon = decoded.indexOf(':');
  if (colon < 1) throw broken('an "auth" in it is not the base64 of USER:PASSWORD');
  // docker pads old entries with NUL.
  const password = decoded.slice(colon + 1).replace(/\0+$/, '');
  return { kind: 'basic', username: decoded.slice(0, colon), password: new Secret(password) };
}

/** As docker wrote it once, and Kubernetes still takes it. */
function plainEntry(fields: ReadonlyMap<string, unknown>): Credential | undefined {
  const [username, password] = [fields.get('username'), fields.get('password')];
  if (typeof username !== 'string' || typeof password !== 'string' || username === '') return undefined;
  return { kind: 'basic', username, password: new Secret(password) };
}

/** Runs `docker-credential-NAME get`, the protocol of docker-credential-helpers. */
async function askHelper(
  name: unknown,
  path: string,
  registry: string,
  options: CredentialOptions,
  signal: AbortSignal,
): Promise<Credential | undefined> {
  if (typeof name !== 'string' || !/^[A-Za-z0-9][\w.-]*$/.test(name))
    throw broken(path, 'it names a credential helper that is not a name');
  const program = `docker-credential-${name}`;
  const result = await options.children.capture([program, 'get'], {
    input: registry === 'docker.io' ? dockerHubKey : registry,
    env: options.env,
    signal,
  });
  if (result.code !== 0) {
    if (/credentials not found/i.test(result.stdout.toString())) return undefined;
    throw new SpawnletError('ERR_CREDENTIAL_HELPER', `${program} ended with ${result.code}`, {
      hint: `run it by hand: echo ${registry} | ${program} get`,
    });
  }
  let answer: ReadonlyMap<string, unknown>;
  try {
    answer = tableOf(JSON.parse(result.stdout.toString()));
  } catch {
    throw new SpawnletError('ERR_CREDENTIAL_HELPER', `${program} did not answer in JSON`);
  }
  const username = answer.get('Username');
  const secret = answer.get('Secret');
  if (typeof username !== 'string' || typeof secret !== 'string' || secret === '') return undefined;
  if (username === '<token>') return { kind: 'identity-token', token: new Secret(secret) };
  return { kind: 'basic', username, password: new Secret(secret) };
}
