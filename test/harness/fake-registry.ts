import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { CertificateFiles } from './certificate.ts';
import type { TestImage } from './images.ts';

/** One request as it came. */
export interface Seen {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
  readonly body: string;
}

/** Answers a request, or returns false to leave it to the next. */
export type Script = (
  request: Seen,
  response: ServerResponse,
) => boolean | undefined | Promise<boolean | undefined>;

export interface FakeRegistryOptions {
  /** By `repository:tag`. */
  readonly images?: Readonly<Record<string, TestImage>>;
  /** Asked first; the faults go here. */
  readonly script?: Script;
  readonly tls?: CertificateFiles;
}

/** A server on 127.0.0.1 that plays a registry, a token server or a blob store, as badly as a test wants. */
export interface FakeRegistry extends AsyncDisposable {
  readonly host: string;
  /** All requests, first to last. */
  readonly seen: readonly Seen[];
}

export async function startFakeRegistry(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  const seen: Seen[] = [];
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    void answer(request, response).catch((error: unknown) => {
      response.destroy(error as Error);
    });
  };
  const server: Server = options.tls
    ? createTlsServer(
        { key: readFileSync(options.tls.key), cert: readFileSync(options.tls.certificate) },
        listener,
      )
    : createServer(listener);
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const one: Seen = {
      method: request.method ?? '',
      path: request.url ?? '',
      authorization: request.headers.authorization,
      range: request.headers.range,
      body: (await buffer(request)).toString(),
    };
    seen.push(one);
    if (await options.script?.(one, response)) return;
    serve(one, response, options.images ?? {});
  }
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    [Symbol.asyncDispose]: () => closed(server),
  };
}

function closed(server: Server): Promise<void> {
  return new Promise(resolve => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

/** What an honest registry answers, `Range` included. */
export function serve(
  request: Seen,
  response: ServerResponse,
  images: Readonly<Record<string, TestImage>>,
): void {
  if (request.path === '/v2/') {
    response.writeHead(200).end('{}');
    return;
  }
  const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/?]+)/.exec(request.path);
  const [, repository = '', kind = '', name = ''] = match ?? [];
  for (const [key, image] of Object.entries(images)) {
    if (!key.startsWith(`${repository}:`)) continue;
    if (kind === 'manifests') {
      const digest = key === `${repository}:${name}` ? image.root.digest : name;
      const found = [...image.documents].find(([known]) => known === digest)?.[1];
      if (!found) continue;
      response.writeHead(200, {
        'content-type': found.mediaType,
        'content-length': found.bytes.length,
        'docker-content-digest': digest,
      });
      response.end(request.method === 'HEAD' ? undefined : found.bytes);
      return;
    }
    const blob = [...image.blobs].find(([known]) => known === name)?.[1];
    if (!blob) continue;
    sendBlob(request, response, blob);
    return;
  }
  response.writeHead(404, { 'content-type': 'application/json' });
  response.end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}');
}

/** The blob, or the part of it that is asked for. */
export function sendBlob(request: Seen, response: ServerResponse, blob: Buffer): void {
  const from = /^bytes=(\d+)-$/.exec(request.range ?? '');
  if (!from) {
    response.writeHead(200, { 'content-length': blob.length }).end(blob);
    return;
  }
  const start = Number(from[1]);
  response.writeHead(206, {
    'content-length': blob.length - start,
    'content-range': `bytes ${start}-${blob.length - 1}/${blob.length}`,
  });
  response.end(blob.subarray(start));
}

export interface TokenServerOptions {
  /** Where the token server is; the registry itself if not given. */
  readonly realm?: string;
  readonly username?: string;
  readonly password?: string;
  readonly identityToken?: string;
  /** The field that holds the token; `token` if not given. */
  readonly answerField?: 'token' | 'access_token';
  readonly expiresIn?: number;
  /** True for a token that is no longer accepted. */
  isSpent?(token: string): boolean;
}

/** Bearer authentication as Docker Hub has it: a 401 that points to `/token`, which gives tokens out. */
export function tokenAuth(options: TokenServerOptions = {}): Script {
  let given = 0;
  return (request, response) => {
    const url = new URL(request.path, 'http://registry');
    if (url.pathname === '/token') {
      if (!mayHaveToken(request, options)) {
        response.writeHead(401).end('{}');
        return true;
      }
      given += 1;
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({
          [options.answerField ?? 'token']: `token-${given}`,
          ...(options.expiresIn !== undefined && { expires_in: options.expiresIn }),
        }),
      );
      return true;
    }
    const token = /^Bearer (token-\d+)$/.exec(request.authorization ?? '')?.[1];
    if (token !== undefined && !options.isSpent?.(token)) return false;
    const realm = options.realm ?? '/token';
    const scope = /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(request.path)?.[1];
    response.writeHead(401, {
      'www-authenticate': `Bearer realm="${realm}",service="the service, of course"${scope === undefined ? '' : `,scope="repository:${scope}:pull,push"`}`,
    });
    response.end('{"errors":[{"code":"UNAUTHORIZED"}]}');
    return true;
  };
}

function mayHaveToken(request: Seen, options: TokenServerOptions): boolean {
  if (options.identityToken !== undefined)
    return (
      request.method === 'POST' &&
      new URLSearchParams(request.body).get('refresh_token') === options.identityToken
    );
  if (options.username === undefined) return true;
  const pair = `${options.username}:${options.password}`;
  return request.authorization === `Basic ${Buffer.from(pair).toString('base64')}`;
}
