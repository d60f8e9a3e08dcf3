import type { Agent as HttpAgent, IncomingMessage, RequestOptions } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import { isErrno, SpawnletError } from '../host/error.ts';

export interface Exchange {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface HttpOptions {
  /** Where `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are. */
  readonly env: NodeJS.ProcessEnv;
  /** True for a host (with its port) whose certificate is not to be checked. */
  isInsecure(host: string): boolean;
  /** How long a server may say nothing, in milliseconds. */
  readonly stall: number;
}

/** A server that said nothing for too long. */
export class StallError extends Error {
  readonly code = 'ESTALLED';
}

/** One request at a time over connections that are kept: no redirects, no log-in, no retries. */
export interface Http extends Disposable {
  /** Resolves once the headers are there. The caller reads or destroys the body. */
  exchange(url: URL, exchange: Exchange, signal: AbortSignal): Promise<IncomingMessage>;
}

/** Connections to one server at once: as many layers as are pulled at once, and a manifest. */
const maxSockets = 8;

export async function openHttp(options: HttpOptions): Promise<Http> {
  const agents = new Map<string, HttpAgent | HttpsAgent>();
  const http = await import('node:http');
  let https: typeof import('node:https') | undefined;

  async function agentOf(url: URL, authorities: 'default' | 'system'): Promise<HttpAgent | HttpsAgent> {
    const insecure = options.isInsecure(url.host);
    const kind = url.protocol === 'http:' ? 'plain' : insecure ? 'unverified' : authorities;
    const key = `${kind} ${isLoopback(url.host)}`;
    const known = agents.get(key);
    if (known) return known;
    // As in Go and curl, no proxy stands between a machine and itself.
    const proxy = isLoopback(url.host) ? {} : { proxyEnv: options.env };
    const common = { keepAlive: true, maxSockets, scheduling: 'lifo', ...proxy } as const;
    let agent: HttpAgent | HttpsAgent;
    if (kind === 'plain') agent = new http.Agent(common);
    else {
      https ??= await import('node:https');
      const ca = kind === 'system' ? { ca: await allAuthorities() } : {};
      agent = new https.Agent({ ...common, ...ca, rejectUnauthorized: !insecure });
    }
    agents.set(key, agent);
    return agent;
  }

  return {
    async exchange(url, exchange, signal) {
      try {
        return await once(url, exchange, await agentOf(url, 'default'), signal);
      } catch (error) {
        if (!isErrno(error, ...unknownAuthority)) throw error;
        // Nothing was sent yet. The system's authorities take 90 ms to read, and hardly any registry needs them.
        return await once(url, exchange, await agentOf(url, 'system'), signal);
      }
    },
    [Symbol.dispose]() {
      for (const agent of agents.values()) agent.destroy();
    },
  };

  async function once(
    url: URL,
    exchange: Exchange,
    agent: HttpAgent | HttpsAgent,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    signal.throwIfAborted();
    const request = url.protocol === 'http:' ? http.request : https?.request;
    if (!request || (url.protocol !== 'http:' && url.protocol !== 'https:'))
      throw new SpawnletError('ERR_REGISTRY', `${url.protocol}// is not a registry's protocol`);
    return await new Promise<IncomingMessage>((resolve, reject) => {
      const settings: RequestOptions = {
        agent,
        method: exchange.method,
        headers: { 'user-agent': 'spawnlet', ...exchange.headers },
        signal,
      };
      const outgoing = request(url, settings);
      const watchdog = setTimeout(
        () => outgoing.destroy(new StallError(`no answer within ${options.stall / 1000} s`)),
        options.stall,
      );
      outgoing.once('error', error => {
        clearTimeout(watchdog);
        reject(signal.aborted ? (signal.reason as Error) : error);
      });
      outgoing.once('response', response => {
        clearTimeout(watchdog);
        // Whoever reads the body sees its error; one that comes while nobody reads must not end the process.
        response.on('error', () => undefined);
        resolve(response);
      });
      outgoing.end(exchange.body);
    });
  }
}

/** Addresses of this machine: what is sent to them is on no wire, so TLS is not asked for. */
export function isLoopback(host: string): boolean {
  const name = URL.parse(`http://${host}`)?.hostname ?? '';
  return name === 'localhost' || name === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(name);
}

/** What OpenSSL says of a certificate whose issuer it does not know. */
const unknownAuthority = [
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
];

async function allAuthorities(): Promise<string[]> {
  const { getCACertificates } = await import('node:tls');
  return [...new Set([...getCACertificates('default'), ...getCACertificates('system')])];
}

/** The chunks of a body; throws {@link StallError} when none comes for `stall` milliseconds while one is waited for. */
export async function* chunksOf(response: IncomingMessage, stall: number): AsyncGenerator<Buffer, void> {
  let waiting = true;
  const watchdog = setTimeout(() => {
    if (waiting) response.destroy(new StallError(`nothing came for ${stall / 1000} s`));
  }, stall);
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      // A slow reader is not a stalled server: the clock runs only between the reader's asking and the answer.
      waiting = false;
      yield chunk;
      waiting = true;
      watchdog.refresh();
    }
  } finally {
    clearTimeout(watchdog);
    response.destroy();
  }
}

/** The whole body, or undefined if it has more than `limit` bytes; no more than that is held. */
export async function readBody(
  response: IncomingMessage,
  limit: number,
  stall: number,
): Promise<Buffer | undefined> {
  if (Number(response.headers['content-length'] ?? 0) > limit) {
    response.destroy();
    return undefined;
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunksOf(response, stall)) {
    size += chunk.length;
    if (size > limit) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Reads a small body to its end, so that its connection can serve again; a larger one is cut off. */
export async function drain(response: IncomingMessage, stall: number): Promise<void> {
  await readBody(response, 64 * 1024, stall).catch(() => undefined);
}

/** A URL for people: no query and no user, both of which can hold credentials. */
export function shownUrl(url: URL): string {
  return `${url.origin}${url.pathname}`;
}
