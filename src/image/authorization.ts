import type { IncomingMessage } from 'node:http';
import type { Clock } from '../host/clock.ts';
import { SpawnletError } from '../host/error.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { Credential } from './credentials.ts';
import { drain, type Http, readBody, shownUrl } from './http.ts';
import { Secret } from './secret.ts';

/** Tokens are said to live this many seconds if the server does not tell; never taken for less. */
const minLifetime = 60;
const maxTokenAnswer = 1024 * 1024;
const maxRedirects = 5;

export interface AuthorizationOptions {
  readonly http: Http;
  readonly clock: Clock;
  readonly stall: number;
  /** Where the registry is; says whether a realm may be plain http. */
  readonly registry: URL;
  readonly repository: string;
  /** Asked for once, when the registry first wants to know who asks. */
  credential(): Promise<Credential | undefined>;
  /** True for a token server that may be spoken to without TLS. */
  allowsPlain(host: string): boolean;
}

/** Logs in to one registry for one repository: keeps the header that worked, and renews it when it has run out. */
export class Authorization {
  readonly #options: AuthorizationOptions;
  #credential: Promise<Credential | undefined> | undefined;
  #header: { readonly value: Secret; readonly until: number } | undefined;
  #renewal: Promise<void> | undefined;

  constructor(options: AuthorizationOptions) {
    this.#options = options;
  }

  /** For the `authorization` header of a request to the registry itself; never for another host. */
  header(): string | undefined {
    if (!this.#header || this.#header.until <= this.#options.clock.now()) return undefined;
    return this.#header.value.reveal();
  }

  /**
   * Answers a 401 to a request that was sent with `tried`. Requests that fail side by side share one renewal.
   * Throws `ERR_UNAUTHORIZED` when there is no way to log in.
   */
  async renew(response: IncomingMessage, tried: string | undefined, signal: AbortSignal): Promise<void> {
    const challenges = parseChallenges(response.headersDistinct['www-authenticate'] ?? []);
    if (this.header() !== undefined && this.header() !== tried) return;
    this.#renewal ??= this.#logIn(challenges, signal).finally(() => {
      this.#renewal = undefined;
    });
    await this.#renewal;
  }

  async #logIn(challenges: readonly Challenge[], signal: AbortSignal): Promise<void> {
    this.#header = undefined;
    this.#credential ??= this.#options.credential();
    const credential = await this.#credential;
    const bearer = challenges.find(challenge => challenge.scheme === 'bearer');
    if (bearer) {
      this.#header = await this.#fetchToken(bearer, credential, signal);
      return;
    }
    if (!challenges.some(challenge => challenge.scheme === 'basic'))
      throw this.denied('it offers no way to log in that is known here (bearer or basic)');
    if (credential?.kind !== 'basic') throw this.denied('it wants a user and a password');
    this.#header = { value: basic(credential), until: Number.POSITIVE_INFINITY };
  }

  /** The token protocol of the distribution project: GET with a password or without, POST with a refresh token. */
  async #fetchToken(
    challenge: Challenge,
    credential: Credential | undefined,
    signal: AbortSignal,
  ): Promise<{ value: Secret; until: number }> {
    const realm = this.#checkRealm(challenge.parameters.get('realm') ?? '');
    const service = challenge.parameters.get('service');
    const scope = pullOnly(
      challenge.parameters.get('scope') ?? `repository:${this.#options.repository}:pull`,
    );
    const asked = this.#options.clock.now();
    let response: IncomingMessage;
    if (credential?.kind === 'identity-token') {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: 'spawnlet',
        scope,
        refresh_token: credential.token.reveal(),
      });
      if (service !== undefined) form.set('service', service);
      response = await this.#options.http.exchange(
        realm,
        {
          method: 'POST',
          headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
          body: form.toString(),
        },
        signal,
      );
    } else {
      if (service !== undefined) realm.searchParams.set('service', service);
      realm.searchParams.set('scope', scope);
      if (credential) realm.searchParams.set('account', credential.username);
      response = await this.#get(realm, credential && basic(credential), signal);
    }
    return await this.#readToken(realm, response, asked);
  }

  async #get(realm: URL, secret: Secret | undefined, signal: AbortSignal): Promise<IncomingMessage> {
    let url = realm;
    for (let redirects = 0; ; redirects += 1) {
      const headers = {
        accept: 'application/json',
        ...(secret && url.origin === realm.origin && { authorization: secret.reveal() }),
      };
      const response = await this.#options.http.exchange(url, { method: 'GET', headers }, signal);
      const { location } = response.headers;
      if (![301, 302, 303, 307, 308].includes(response.statusCode ?? 0) || location === undefined)
        return response;
      await drain(response, this.#options.stall);
      if (redirects === maxRedirects) throw this.#failed(realm, 'it redirects in circles');
      url = this.#checkRealm(location, url);
    }
  }

  async #readToken(
    realm: URL,
    response: IncomingMessage,
    asked: number,
  ): Promise<{ value: Secret; until: number }> {
    const status = response.statusCode ?? 0;
    const body = await readBody(response, maxTokenAnswer, this.#options.stall);
    if (status === 401 || status === 403 || status === 400)
      throw this.denied(`the token server ${shownUrl(realm)} answered ${status}`);
    if (status !== 200 || !body) throw this.#failed(realm, `it answered ${status}`);
    let answer: unknown;
    try {
      answer = JSON.parse(body.toString());
    } catch {
      // The parser's message quotes the text, and the text holds a token.
      throw this.#failed(realm, 'its answer is not JSON');
    }
    const fields = new Map(Object.entries(typeof answer === 'object' && answer !== null ? answer : {}));
    const token = fields.get('token') || fields.get('access_token');
    if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token))
      throw this.#failed(realm, 'its answer holds no token');
    const told = fields.get('expires_in');
    const seconds = typeof told === 'number' && told > minLifetime ? told : minLifetime;
    return { value: new Secret(`Bearer ${token}`), until: asked + seconds * 1000 };
  }

  /** A realm gets the password, so it needs TLS where the registry has it. */
  #checkRealm(text: string, base?: URL): URL {
    const realm = URL.parse(text, base?.href);
    if (!realm || (realm.protocol !== 'https:' && realm.protocol !== 'http:'))
      throw this.#failed(this.#options.registry, 'its token server has no valid address');
    const plainAllowed = this.#options.registry.protocol === 'http:' || this.#options.allowsPlain(realm.host);
    if (realm.protocol === 'http:' && !plainAllowed)
      throw this.#failed(
        this.#options.registry,
        `it sends passwords to ${shownUrl(realm)}, without encryption; this is refused`,
      );
    realm.username = '';
    realm.password = '';
    return realm;
  }

  /** `ERR_UNAUTHORIZED`, with where credentials are looked for. */
  denied(why: string): SpawnletError {
    const { registry, repository } = this.#options;
    return new SpawnletError(
      'ERR_UNAUTHORIZED',
      `${registry.host} does not let ${repository} be pulled: ${why}`,
      {
        hint: `log in with 'podman login ${registry.host}' or 'docker login ${registry.host}', or name a file of theirs in REGISTRY_AUTH_FILE; registries also say this for images that do not exist`,
      },
    );
  }

  #failed(url: URL, why: string): SpawnletError {
    return new SpawnletError('ERR_REGISTRY', `no token from ${shownUrl(url)}: ${why}`, {
      hint: 'ask who runs the registry',
    });
  }
}

function basic(credential: { readonly username: string; readonly password: Secret }): Secret {
  const pair = `${credential.username}:${credential.password.reveal()}`;
  return new Secret(`Basic ${Buffer.from(pair).toString('base64')}`);
}

/** The scope that the registry asks for, cut down to reading: a token that leaks can then not be used to push. */
export function pullOnly(scope: string): string {
  return scope
    .split(' ')
    .map(part => part.replace(/^(repository(?:\([^)]*\))?:.+):[a-z*,]+$/, '$1:pull'))
    .join(' ');
}
