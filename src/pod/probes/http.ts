import type { IncomingMessage, RequestOptions } from 'node:http';
import { messageOf } from '../../host/error.ts';
import { type Answer, authority, failure, kept, mostOutput, success, userAgent } from './answer.ts';
import type { HttpHandler } from './handler.ts';

const mostRedirects = 10;

/** One request: where to, and as which host. */
interface Request {
  readonly url: URL;
  /** As it goes over the wire: a path of the spec is not put in order. */
  readonly target: string;
  readonly host: string;
  readonly headers: readonly string[];
}

export interface HttpReply {
  readonly status: number;
  readonly location: string | undefined;
  readonly body: string;
}

/** What an HTTP request line can hold, of whatever the spec has as path. */
function targetOf(path: string): string {
  const [bare = ''] = path.split('#', 1);
  const printable = bare.replace(/[^\x21-\x7e]+/gu, text => encodeURIComponent(text.toWellFormed()));
  return printable.startsWith('/') ? printable : `/${printable}`;
}

/** The headers of the spec, and those that a probe has of its own unless the spec has them. */
function headersOf({ headers }: HttpHandler, agent: string): string[] {
  const has = (name: string) => headers.some(([own]) => own.toLowerCase() === name);
  const given = headers.filter(([name, value]) => {
    const lower = name.toLowerCase();
    return lower !== 'host' && !(lower === 'accept' && value === '');
  });
  return [
    ...given.flat(),
    ...(has('user-agent') ? [] : ['User-Agent', agent]),
    ...(has('accept') ? [] : ['Accept', '*/*']),
  ];
}

function firstRequest(handler: HttpHandler, agent: string): Request {
  const { scheme, host, port, path, headers } = handler;
  const target = targetOf(path);
  const address = authority(host, port);
  const [, asHost = address] = headers.find(([name]) => name.toLowerCase() === 'host') ?? [];
  return {
    url: new URL(`${scheme}://${address}${target}`),
    target,
    host: asHost,
    headers: headersOf(handler, agent),
  };
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= mostOutput) break;
  }
  return kept(Buffer.concat(chunks));
}

/** Sends it over a connection of its own, with no proxy between; whose certificate it is does not matter. */
async function send({ url, target, host, headers }: Request, signal: AbortSignal): Promise<HttpReply> {
  const { request } = url.protocol === 'https:' ? await import('node:https') : await import('node:http');
  const options: RequestOptions & { rejectUnauthorized: boolean } = {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port || (url.protocol === 'https:' ? 443 : 80),
    path: target,
    headers: ['Host', host, ...headers, 'Connection', 'close'],
    agent: false,
    rejectUnauthorized: false,
    signal,
  };
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent = request(options, resolve).once('error', reject);
  sent.end();
  const response = await promise;
  try {
    return {
      status: response.statusCode ?? 0,
      location: response.headers.location,
      body: await bodyOf(response),
    };
  } finally {
    sent.on('error', () => undefined).destroy();
  }
}

const redirects = new Set([301, 302, 303, 307, 308]);

/** The request that a reply leads to; undefined if it leads to none. A host that the spec named stays on its host. */
function redirected(former: Request, { status, location }: HttpReply): Request | undefined {
  if (!redirects.has(status) || !location) return undefined;
  const url = new URL(location, former.url);
  const relative = !/^(?:[a-z][a-z\d+.-]*:|\/\/)/i.test(location);
  return { ...former, url, target: `${url.pathname}${url.search}`, host: relative ? former.host : url.host };
}

/**
 * The reply to a GET, after redirects on the same host; one that leads elsewhere is given as it is.
 *
 * @throws what kept it from being asked
 */
export async function getOverHttp(
  handler: HttpHandler,
  purpose: 'probe' | 'lifecycle',
  signal: AbortSignal,
): Promise<HttpReply> {
  let request = firstRequest(handler, userAgent(purpose));
  const { hostname } = request.url;
  for (let count = 0; ; count++) {
    const reply = await send(request, signal);
    const next = redirected(request, reply);
    if (!next || next.url.hostname !== hostname) return reply;
    if (count === mostRedirects - 1) throw new Error(`stopped after ${mostRedirects} redirects`);
    request = next;
  }
}

/** Succeeds with a status from 200 to 399. What the server says is shown on success only: it may be secret. */
export async function askHttp(handler: HttpHandler, signal: AbortSignal): Promise<Answer> {
  try {
    const { status, body } = await getOverHttp(handler, 'probe', signal);
    if (status >= 300 && status < 400)
      return { kind: 'warning', output: `Probe terminated redirects, Response body: ${body}` };
    return status >= 200 && status < 400
      ? success(body)
      : failure(`HTTP probe failed with statuscode: ${status}`);
  } catch (error) {
    signal.throwIfAborted();
    const url = `${handler.scheme}://${authority(handler.host, handler.port)}${targetOf(handler.path)}`;
    return failure(`Get "${url}": ${messageOf(error)}`);
  }
}
