import type { IncomingMessage } from 'node:http';

/** How often a question is asked before the answer is an error. */
export const maxTries = 5;
const longestWait = 60_000;

/** Milliseconds before the next try, after so many: 2 s, 4 s, 8 s, to 60 s. */
export function backOff(tries: number): number {
  return Math.min(1000 * 2 ** tries, longestWait);
}

/** What may go away by itself: an overloaded server (by its status), a broken connection (by its error). */
export function isTransient(failure: unknown): boolean {
  if (typeof failure === 'number') return [408, 429, 500, 502, 503, 504].includes(failure);
  const code = failure instanceof Error && 'code' in failure ? failure.code : undefined;
  // ECONNREFUSED, ENOTFOUND and EAI_AGAIN are not: a wrong port or name is wrong a minute later too, and where no name
  // server is in reach a question takes long enough.
  return ['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ESTALLED', 'ENETUNREACH', 'EHOSTUNREACH'].includes(
    String(code),
  );
}

/**
 * What `Retry-After` asks for, in milliseconds: seconds or a date. Undefined if it does not ask, `too-long` if nobody
 * would wait for it.
 */
export function retryAfter(response: IncomingMessage, now: number): number | 'too-long' | undefined {
  const value = response.headers['retry-after'];
  if (value === undefined) return undefined;
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  if (!Number.isFinite(wait)) return undefined;
  return wait > longestWait ? 'too-long' : Math.max(0, wait);
}
