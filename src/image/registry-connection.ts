import type { IncomingMessage } from 'node:http';
import type { Clock } from '../host/clock.ts';
import { SpawnletError } from '../host/error.ts';
import { Authorization } from './authorization.ts';
import type { Credential } from './credentials.ts';
import { mediaTypes } from './document.ts';
import { drain, type Exchange, type Http, isLoopback, openHttp, shownUrl } from './http.ts';
import { formatReference, type RegistryReference } from './reference.ts';
import { broken, codeOf, refusalOf, saidBy } from './registry-error.ts';
import { backOff, isTransient, maxTries, retryAfter } from './retry.ts';

export interface RegistryOptions {
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** True for a host (with its port) that may be spoken to without TLS, or with a certificate nobody knows. */
  isInsecure(host: string): boolean;
  credential(registry: string, repository: string): Promise<Credential | undefined>;
  /** How long a server may say nothing, in milliseconds; 60 s if not given. */
  readonly stall?: number;
  /** Milliseconds until a manifest is given up, with all that is tried again. Two minutes if not given. */
  readonly patience?: number;
}

/** What a registry gave, and where it was. */
export interface Answer {
  readonly response: IncomingMessage;
  readonly url: URL;
}

const maxRedirects = 10;
const accept = [
  mediaTypes.ociManifest,
  mediaTypes.ociIndex,
  mediaTypes.dockerManifest,
  mediaTypes.dockerIndex,
].join(', ');

/** Opens no connection until the first question. */
export async function openConnection(
  reference: RegistryReference,
  options: RegistryOptions,
): Promise<RegistryConnection> {
  const stall = options.stall ?? 60_000;
  const http = await openHttp({ env: options.env, isInsecure: host => options.isInsecure(host), stall });
  return new RegistryConnection(reference, options, http, stall);
}

/** Questions to the registry of a reference: finds it, logs in, follows redirects, waits and tries again. */
export class RegistryConnection implements Disposable {
  readonly #reference: RegistryReference;
  readonly #options: RegistryOptions;
  readonly #http: Http;
  /** How long the registry may say nothing, in milliseconds. */
  readonly stall: number;
  #session: Promise<{ base: URL; authorization: Authorization }> | undefined;

  constructor(reference: RegistryReference, options: RegistryOptions, http: Http, stall: number) {
    this.#reference = reference;
    this.#options = options;
    this.#http = http;
    this.stall = stall;
  }

  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]();
  }

  /** Asks until the registry answers with 200 or 206. `path` begins with `/v2/`. */
  async ask(
    path: string,
    method: 'GET' | 'HEAD',
    signal: AbortSignal,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
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
        if (!isTransient(error) || tries === maxTries) throw broken(url, error);
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
      await drain(response, this.stall);
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
      await drain(response, this.stall);
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
      await drain(response, this.stall);
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
      stall: this.stall,
      registry: base,
      repository,
      credential: () => this.#options.credential(registry, repository),
      allowsPlain: host => isLoopback(host) || this.#options.isInsecure(host),
    });
  }

  async #refusal(authorization: Authorization, url: URL, response: IncomingMessage): Promise<SpawnletError> {
    if (response.statusCode === 403)
      return authorization.denied(`it answered 403${await saidBy(response, this.stall)}`);
    const { registry } = this.#reference;
    return refusalOf(formatReference(this.#reference), registry, url, response, this.stall);
  }
}
