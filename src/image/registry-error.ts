import type { IncomingMessage } from 'node:http';
import { messageOf, SpawnletError } from '../host/error.ts';
import { readBody, shownUrl } from './http.ts';

/** The error for an answer that is none of 200, 206, 401 and 403. `name` is what was asked for, `registry` as it was written. */
export async function refusalOf(
  name: string,
  registry: string,
  url: URL,
  response: IncomingMessage,
  stall: number,
): Promise<SpawnletError> {
  const status = response.statusCode ?? 0;
  const said = await saidBy(response, stall);
  if (status === 404)
    return new SpawnletError('ERR_IMAGE_NOT_FOUND', `${name} is not in the registry${said}`, {
      hint: `check the name and the tag; ${registry} was asked`,
    });
  if (status === 429)
    return new SpawnletError('ERR_REGISTRY', `${url.host} lets no more be pulled for now${said}`, {
      hint: 'wait, or log in: registries allow more to users they know',
    });
  return new SpawnletError('ERR_REGISTRY', `${shownUrl(url)} answered ${status}${said}`, {
    hint: status >= 500 ? 'the registry is in trouble; try again later' : 'ask who runs the registry',
  });
}

/** The error for no answer, or half of one. */
export function broken(url: URL, error: unknown): SpawnletError {
  if (error instanceof SpawnletError) return error;
  return new SpawnletError('ERR_REGISTRY', `no answer from ${shownUrl(url)}: ${wordsOf(error)}`, {
    hint: hintFor(codeOf(error), url.host),
    cause: error,
  });
}

/** What an error says; of OpenSSL's, the reason without the numbers and files around it. */
function wordsOf(error: unknown): string {
  const said = messageOf(error);
  const reason = /:SSL routines:[^:]*:([^:\n]+)/.exec(said)?.[1];
  if (reason === undefined) return said;
  // The record that came is none of TLS.
  return reason === 'wrong version number' ? 'it does not speak TLS' : `TLS failed, ${reason}`;
}

/** The code of a system's error, else an empty string. */
export function codeOf(error: unknown): string {
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

/** The first message of the registry's JSON error behind a colon, as one line without control characters. */
export async function saidBy(response: IncomingMessage, stall: number): Promise<string> {
  try {
    const body = await readBody(response, 64 * 1024, stall);
    const parsed = JSON.parse(body?.toString() ?? '') as { errors?: { message?: unknown }[] } | null;
    const message = parsed?.errors?.[0]?.message;
    if (typeof message !== 'string') return '';
    const line = message.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, 200);
    return line === '' ? '' : `: ${line}`;
  } catch {
    return '';
  }
}
