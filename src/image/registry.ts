import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Clock } from '../host/clock.ts';
import { messageOf, SpawnletError } from '../host/error.ts';
import { Authorization } from './authorization.ts';
import { resumedBlob } from './blob.ts';
import type { Credential } from './credentials.ts';
import { maxDocumentSize, mediaTypes } from './document.ts';
import { drain, type Exchange, type Http, isLoopback, openHttp, readBody, shownUrl } from './http.ts';
import type { Descriptor, Digest } from './manifest.ts';
import { formatReference, isDigest, type RegistryReference } from './reference.ts';
import { backOff, isTransient, maxTries, retryAfter } from './retry.ts';
import type { Document, Source } from './source.ts';

export interface RegistryOptions {
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** True for a host (with its port) that may be spoken to without TLS, or with a certificate nobody knows. */
  isInsecure(host: string): boolean;
  credential(registry: string, repository: string): Promise<Credential | undefined>;
  /** How long a server may say nothing, in milliseconds; 60 s if not given. */
  readonly stall?: number;
}

const maxRedirects = 10;
/** All that a document takes, however slowly it comes, in milliseconds. */
const documentDeadline = 120_000;
const accept = [
  mediaTypes.ociManifest,
  mediaTypes.ociIndex,
  mediaTypes.dockerManifest,
  mediaTypes.dockerIndex,
].join(', ');

/**
 * The image that a reference names in a registry: the pull side of the OCI distribution specification 1.1. Opens no
 * connection until the first question.
 */
export async function openRegistry(
  reference: RegistryReference,
  options: RegistryOptions,
): Promise<Registry> {
  const stall = options.stall ?? 60_000;
  const http = await openHttp({ env: options.env, isInsecure: host => options.isInsecure(host), stall });
  return new Registry(reference, options, http, stall);
}

export class Registry implements Source {
  readonly name: string;
  readonly #reference: RegistryReference;
  readonly #options: RegistryOptions;
  readonly #http: Http;
  readonly #stall: number;
  #session: Promise<{ base: URL; authorization: Authorization }> | undefined;

  constructor(reference: RegistryReference, options: RegistryOptions, http: Http, stall: number) {
    this.name = formatReference(reference);
    this.#reference = reference;
    this.#options = options;
    this.#http = http;
    this.#stall = stall;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#http[Symbol.dispose]();
  }

  /**
   * Throws `ERR_IMAGE_NOT_FOUND`, `ERR_UNAUTHORIZED`, `ERR_REGISTRY`; `ERR_DIGEST` if the bytes are not those whose
   * digest was asked for.
   */
  async document(digest: Digest | undefined, signal: AbortSignal): Promise<Document> {
    const wanted = digest ?? this.#reference.digest;
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(documentDeadline)]);
    const { response, url } = await this.#ask(this.#manifestPath(wanted), 'GET', deadline);
    const bytes = await readBody(response, maxDocumentSize, this.#stall).catch((error: unknown) => {
      throw this.#broken(url, error);
    });
    if (!bytes)
      throw new SpawnletError(
        'ERR_REGISTRY',
        `the manifest of ${this.name} is over ${maxDocumentSize} bytes`,
      );
    const mediaType = (response.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '';
    const actual: Digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const told = wanted ?? headerDigest(response);
    if (told !== undefined && told !== actual)
      throw new SpawnletError(
        'ERR_DIGEST',
        `${this.#reference.registry} sent a manifest with digest ${actual} for ${told}`,
        { hint: 'the registry, or a proxy before it, is broken or lies' },
      );
    return { mediaType, digest: actual, bytes };
  }

  /** The digest that the tag has now, by a HEAD request, which Docker Hub does not count against its limits. */
  async head(signal: AbortSignal): Promise<Digest | undefined> {
    if (this.#reference.digest) return this.#reference.digest;
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(documentDeadline)]);
    const { response } = await this.#ask(this.#manifestPath(undefined), 'HEAD', deadline);
    await drain(response, this.#stall);
    return headerDigest(response);
  }

  /**
   * The bytes as they come, at most `descriptor.size`. A connection that breaks is opened again where it broke.
   * An error while reading is `ERR_REGISTRY`.
   */
  async blob(descriptor: Descriptor, signal: AbortSignal): Promise<Readable> {
    if (descriptor.size === 0) return Readable.from([]);
    const path = `/v2/${this.#reference.repository}/blobs/${descriptor.digest}`;
    const open = (offset: number) =>
      this.#ask(path, 'GET', signal, offset > 0 ? { range: `bytes=${offset}-` } : {}).then(
        ({ response }) => response,
      );
    const options = { descriptor, open, clock: this.#options.clock, stall: this.#stall, name: this.name };
    return await resumedBlob(options, signal);
  }

  #manifestPath(digest: Digest | undefined): string {
    return `/v2/${this.#reference.repository}/manifests/${digest ?? this.#reference.tag ?? 'latest'}`;
  }

  /** Asks the registry until it answers with 200 or 206: logs in, follows redirects, waits and tries again. */
  async #ask(
    path: string,
    method: 'GET' | 'HEAD',
    signal: AbortSignal,
    headers: Record<string, string> = {},
  ): Promise<{ response: IncomingMessage; url: URL }> {
    for (let tries = 1; ; tries += 1) {
      let url = new URL(`https://${this.#reference.registry}${path}`);
      let wait: number;
      try {
        const session = await this.#connect(signal);
        url = new URL(path, session.base);
        const response = await this.#authorized(
          session.authorization,
          url,
          { method, headers: { accept, ...headers } },
          signal,
        );
        const status = response.statusCode ?? 0;
        if (status === 200 || status === 206) return { response, url };
        const asked = retryAfter(response, this.#options.clock.now());
        const refusal = await this.#refusal(session.authorization, url, response);
        if (!isTransient(status) || tries === maxTries) throw refusal;
        if (asked === 'too-long') throw refusal;
        wait = asked ?? backOff(tries);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (error instanceof SpawnletError) throw error;
        if (!isTransient(error) || tries === maxTries) throw this.#broken(url, error);
        wait = backOff(tries);
      }
      await this.#options.clock.sleep(wait, signal);
    }
  }

  async #authorized(
    authorization: Authorization,
    url: URL,
    exchange: Exchange,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    for (let renewals = 0; ; renewals += 1) {
      const header = authorization.header();
      const { response, own } = await this.#redirected(url, exchange, header, signal);
      // A 401 of another host is not about the registry's password.
      if (response.statusCode !== 401 || !own) return response;
      await drain(response, this.#stall);
      if (renewals === 2 || (renewals > 0 && header !== undefined))
        throw authorization.denied('it does not accept this user or password');
      await authorization.renew(response, header, signal);
    }
  }

  /** Follows redirects. The authorization goes to the registry itself and to no other host (CVE-2020-15157). */
  async #redirected(
    start: URL,
    exchange: Exchange,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<{ response: IncomingMessage; own: boolean }> {
    let url = start;
    let own = true;
    for (let redirects = 0; ; redirects += 1) {
      const headers = { ...exchange.headers, ...(own && authorization !== undefined && { authorization }) };
      const response = await this.#http.exchange(url, { ...exchange, headers }, signal);
      const { location } = response.headers;
      if (![301, 302, 303, 307, 308].includes(response.statusCode ?? 0) || location === undefined)
        return { response, own };
      await drain(response, this.#stall);
      const next = URL.parse(location, url.href);
      if (!next || redirects === maxRedirects)
        throw new SpawnletError('ERR_REGISTRY', `${shownUrl(start)} redirects to nowhere or in circles`);
      if (next.protocol !== 'https:' && url.protocol === 'https:' && !this.#options.isInsecure(next.host))
        throw new SpawnletError(
          'ERR_REGISTRY',
          `${shownUrl(start)} redirects to ${shownUrl(next)}, without encryption; this is refused`,
        );
      next.username = '';
      next.password = '';
      own &&= next.origin === start.origin;
      url = next;
    }
  }

  /** Where the registry is, found once: only a host that may be insecure is asked whether it speaks plain http. */
  #connect(signal: AbortSignal): Promise<{ base: URL; authorization: Authorization }> {
    this.#session ??= this.#findBase(signal).then(
      base => ({ base, authorization: this.#authorization(base) }),
      (error: unknown) => {
        this.#session = undefined;
        throw error;
      },
    );
    return this.#session;
  }

  async #findBase(signal: AbortSignal): Promise<URL> {
    const { registry } = this.#reference;
    const secure = new URL(`https://${registry === 'docker.io' ? 'registry-1.docker.io' : registry}/`);
    if (!isLoopback(registry) && !this.#options.isInsecure(registry)) return secure;
    const plain = new URL(`http://${registry}/`);
    try {
      const response = await this.#http.exchange(new URL('/v2/', plain), { method: 'GET' }, signal);
      await drain(response, this.#stall);
      // A server that wants TLS answers 400, or sends the client to its https address.
      const status = response.statusCode ?? 0;
      return status === 400 || (status >= 300 && status < 400) ? secure : plain;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      const code = codeOf(error);
      if (code === 'ECONNRESET' || code === 'EPIPE' || code.startsWith('HPE_')) return secure;
      // Without a port in the name the two protocols have ports of their own.
      if (code === 'ECONNREFUSED' && plain.port === '') return secure;
      throw error;
    }
  }

  #authorization(base: URL): Authorization {
    const { registry, repository } = this.#reference;
    return new Authorization({
      http: this.#http,
      clock: this.#options.clock,
      stall: this.#stall,
      registry: base,
      repository,
      credential: () => this.#options.credential(registry, repository),
      allowsPlain: host => isLoopback(host) || this.#options.isInsecure(host),
    });
  }

  async #refusal(authorization: Authorization, url: URL, response: IncomingMessage): Promise<SpawnletError> {
    const status = response.statusCode ?? 0;
    const told = await registryMessage(response, this.#stall);
    const said = told === '' ? '' : `: ${told}`;
    if (status === 404)
      return new SpawnletError('ERR_IMAGE_NOT_FOUND', `${this.name} is not in the registry${said}`, {
        hint: `check the name and the tag; ${this.#reference.registry} was asked`,
      });
    if (status === 403) return authorization.denied(`it answered 403${said}`);
    if (status === 429)
      return new SpawnletError('ERR_REGISTRY', `${url.host} lets no more be pulled for now${said}`, {
        hint: 'wait, or log in: registries allow more to users they know',
      });
    return new SpawnletError('ERR_REGISTRY', `${shownUrl(url)} answered ${status}${said}`, {
      hint: status >= 500 ? 'the registry is in trouble; try again later' : 'ask who runs the registry',
    });
  }

  #broken(url: URL, error: unknown): SpawnletError {
    if (error instanceof SpawnletError) return error;
    return new SpawnletError('ERR_REGISTRY', `no answer from ${shownUrl(url)}: ${messageOf(error)}`, {
      hint: hintFor(codeOf(error), url.host),
      cause: error,
    });
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

function hintFor(code: string, host: string): string {
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `is ${host} spelled right, and does DNS work here?`;
  if (code === 'ECONNREFUSED') return `nothing listens at ${host}; is the registry running?`;
  if (/CERT|SIGNATURE|ALTNAME/.test(code))
    return `the certificate of ${host} is not trusted here: put its authority into /usr/local/share/ca-certificates and run update-ca-certificates`;
  if (/SSL|EPROTO/.test(code))
    return `does ${host} speak TLS? If not, and if you trust the network, list it under insecureRegistries in /etc/spawnlet/config.yaml, or use --tls-verify=false`;
  return 'check the network, and a proxy in HTTPS_PROXY if there is one';
}

function headerDigest(response: IncomingMessage): Digest | undefined {
  const value = response.headers['docker-content-digest'];
  return typeof value === 'string' && isDigest(value) ? value : undefined;
}

/** The first message of the registry's JSON error, as one line without control characters. */
async function registryMessage(response: IncomingMessage, stall: number): Promise<string> {
  try {
    const body = await readBody(response, 64 * 1024, stall);
    const parsed = JSON.parse(body?.toString() ?? '') as { errors?: { message?: unknown }[] } | null;
    const message = parsed?.errors?.[0]?.message;
    if (typeof message !== 'string') return '';
    return message.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, 200);
  } catch {
    return '';
  }
}
