import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { isErrno, messageOf, SpawnletError } from '../../host/error.ts';
import { chunksOf, isLoopback, openHttp, shownUrl } from '../http.ts';
import { checkUrl, isUrl } from './source.ts';

/** How long a server may say nothing, in milliseconds. */
const stall = 60_000;
const redirectMax = 5;
const redirects = [301, 302, 303, 307, 308];

const failed = (url: URL, why: string, cause?: unknown) =>
  new SpawnletError('ERR_TREE_FETCH', `${shownUrl(url)} could not be fetched: ${why}`, {
    hint: 'check the URL, the network, and a proxy in HTTPS_PROXY if there is one; or fetch the file and name that',
    cause,
  });

/**
 * Fetches a URL into a new file. What it redirects to has to be a URL that {@link checkUrl} takes, and not this machine if
 * it did not begin here. Throws `ERR_TREE_FETCH`; the file is then to be removed.
 */
export async function fetchFile(
  from: string,
  path: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<void> {
  using http = await openHttp({ env, isInsecure: () => false, stall });
  let url = checkUrl(from);
  const beganHere = isLoopback(url.host);
  for (let hops = 0; ; hops++) {
    let response: IncomingMessage;
    try {
      response = await http.exchange(url, { method: 'GET' }, signal);
    } catch (cause) {
      signal.throwIfAborted();
      throw failed(url, messageOf(cause), cause);
    }
    const { statusCode = 0, headers } = response;
    if (redirects.includes(statusCode) && headers.location !== undefined) {
      response.destroy();
      if (hops === redirectMax) throw failed(url, 'it leads on and on');
      url = checkUrl(URL.parse(headers.location, url.href)?.href ?? headers.location);
      if (isLoopback(url.host) && !beganHere) throw failed(url, 'another host led here');
      continue;
    }
    if (statusCode !== 200) {
      response.destroy();
      throw failed(url, `the server answered ${statusCode}`);
    }
    await save(response, url, path, signal);
    return;
  }
}

async function save(response: IncomingMessage, url: URL, path: string, signal: AbortSignal): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  try {
    for await (const chunk of chunksOf(response, stall)) {
      signal.throwIfAborted();
      await file.writeFile(chunk);
    }
  } catch (cause) {
    signal.throwIfAborted();
    if (isErrno(cause, 'ENOSPC', 'EDQUOT')) throw cause;
    throw failed(url, messageOf(cause), cause);
  }
}

/** SHA-256 in hex of a file. Throws `ERR_TREE_SOURCE` if it cannot be read. */
export async function sha256Of(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { signal, highWaterMark: 2 ** 20 }))
      hash.update(chunk as Buffer);
  } catch (cause) {
    signal.throwIfAborted();
    throw new SpawnletError('ERR_TREE_SOURCE', `${path} cannot be read: ${messageOf(cause)}`, {
      hint: 'check the path; a relative one begins at the working directory',
      cause,
    });
  }
  return hash.digest('hex');
}

/** The file that a location names: itself, or what is fetched from it to `path`. */
export async function localFile(
  location: string,
  path: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<string> {
  if (!isUrl(location)) return location;
  await fetchFile(location, path, env, signal);
  return path;
}
