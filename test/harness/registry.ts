import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { ended, systemChildren } from '../../src/host/child.ts';
import type { TestImage } from './images.ts';

export interface RegistryOptions {
  /** `127.0.0.1:0`, a free port, if not given. */
  readonly address?: string;
  /** Who may use it; everybody if not given. */
  readonly login?: Login;
  /** Words before the command, to start it elsewhere: `['nsenter', '--net=/run/netns/lab']`. */
  readonly prefix?: readonly string[];
  /** A directory to keep the images in; it stays. Without it, one is made and removed. */
  readonly storage?: string;
  /** PEM files, for TLS. */
  readonly tls?: { readonly certificate: string; readonly key: string };
}

export interface Login {
  readonly username: string;
  readonly password: string;
}

/** Debian's docker-registry, running. */
export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:43561`: what stands before the slash in a reference. */
  readonly host: string;
  readonly pid: number;
  /** Pushes an image over the registry's API. `name` is `repository:tag`. Gives the reference to pull it by. */
  push(name: string, image: TestImage): Promise<string>;
}

/** Starts a registry and waits until it listens. */
export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const directory = await mkdtemp(join(tmpdir(), 'spawnlet-registry-'));
  const config = join(directory, 'config.json');
  const storage = options.storage ?? join(directory, 'storage');
  const htpasswd = join(directory, 'htpasswd');
  if (options.login) await writeFile(htpasswd, await htpasswdLine(options.login));
  // JSON is YAML, which is what the registry reads.
  await writeFile(
    config,
    JSON.stringify({
      version: 0.1,
      log: { level: 'info', formatter: 'json', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
      http: {
        addr: options.address ?? '127.0.0.1:0',
        ...(options.tls && { tls: options.tls }),
      },
      ...(options.login && { auth: { htpasswd: { realm: 'test', path: htpasswd } } }),
    }),
  );
  // It ends with the test that started it, also if that is killed.
  const tied = [
    '--pdeathsig',
    'KILL',
    ...(options.prefix ?? []),
    '/usr/bin/docker-registry',
    'serve',
    config,
  ];
  const child = spawn('setpriv', tied, { stdio: ['ignore', 'ignore', 'pipe'] });
  const end = ended(child).catch(() => 127);
  const stop = async () => {
    child.kill('SIGTERM');
    await end;
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const host = await listening(child);
    return {
      host,
      pid: child.pid ?? 0,
      async push(name, image) {
        await pushImage(host, name, image, options.login);
        return `${host}/${name}`;
      },
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The address in the line that the registry logs when it listens. */
async function listening(child: ChildProcess): Promise<string> {
  const { stderr } = child;
  if (!stderr) throw new Error('the registry has no stderr');
  const said: string[] = [];
  const lines = createInterface({ input: stderr });
  for await (const line of lines) {
    said.push(line);
    const match = /listening on (\S+?:\d+)/.exec(line);
    if (!match?.[1]) continue;
    lines.close();
    stderr.resume();
    return match[1];
  }
  throw new Error(`docker-registry did not start; is the package docker-registry there?\n${said.join('\n')}`);
}

/** bcrypt is all that the registry takes; perl's crypt has it on every Debian. */
async function htpasswdLine(login: Login): Promise<string> {
  const { stdout } = await systemChildren.capture(
    ['perl', '-e', 'print crypt(<STDIN>, q($2y$05$spawnletspawnletspawne))'],
    { input: login.password },
  );
  return `${login.username}:${stdout.toString()}\n`;
}

/** Pushes to any registry at `host` that speaks plain http. */
export async function pushImage(host: string, name: string, image: TestImage, login?: Login): Promise<void> {
  const colon = name.lastIndexOf(':');
  const repository = name.slice(0, colon);
  const tag = name.slice(colon + 1);
  for (const [digest, bytes] of image.blobs) {
    if ((await call(host, 'HEAD', `/v2/${repository}/blobs/${digest}`, login)).status === 200) continue;
    const { location } = await call(host, 'POST', `/v2/${repository}/blobs/uploads/`, login, 202);
    const target = new URL(location, `http://${host}`);
    target.searchParams.set('digest', digest);
    await call(host, 'PUT', target.pathname + target.search, login, 201, bytes);
  }
  for (const [digest, { mediaType, bytes }] of image.documents)
    await call(host, 'PUT', `/v2/${repository}/manifests/${digest}`, login, 201, bytes, mediaType);
  const root = image.documents.get(image.root.digest);
  if (root)
    await call(host, 'PUT', `/v2/${repository}/manifests/${tag}`, login, 201, root.bytes, root.mediaType);
}

async function call(
  host: string,
  method: string,
  path: string,
  login?: Login,
  expected?: number,
  body?: Buffer,
  type = 'application/octet-stream',
): Promise<{ status: number; location: string }> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = request(`http://${host}${path}`, {
      method,
      headers: {
        'content-type': type,
        'content-length': body?.length ?? 0,
        ...(login && {
          authorization: `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`,
        }),
      },
    });
    outgoing.once('response', resolve).once('error', reject).end(body);
  });
  const status = response.statusCode ?? 0;
  const text = await buffer(response);
  if (expected !== undefined && status !== expected)
    throw new Error(`${method} ${path} answered ${status} instead of ${expected}: ${text.toString()}`);
  return { status, location: response.headers.location ?? '' };
}
