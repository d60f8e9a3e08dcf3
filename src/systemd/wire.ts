/**
 * D-Bus messages to bytes and back: the part of the D-Bus specification 0.41 that systemd speaks, without file
 * descriptors. Bodies are decoded only when somebody asks, since a private connection to systemd carries every
 * signal of every unit.
 *
 * 64-bit integers are bigint, `ay` is a Buffer, a dictionary is a Map, a variant that is read is its value.
 */

export type Value = string | number | bigint | boolean | Uint8Array | Variant | ValueMap | readonly Value[];
export type ValueMap = ReadonlyMap<Value, Value>;

/** A value that carries its type: what is written where a signature says `v`. */
export interface Variant {
  readonly signature: string;
  readonly value: Value;
}

export const messageType = { call: 1, reply: 2, error: 3, signal: 4 } as const;

export interface Outgoing {
  readonly destination?: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly Value[];
}

export interface Incoming {
  readonly type: number;
  readonly serial: number;
  readonly replySerial: number;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly errorName: string;
  readonly sender: string;
  /** Decodes the arguments; throws {@link WireError} if they do not fit their signature. */
  body(): Value[];
}

/** The peer sent bytes that are no D-Bus message, or a value does not fit its signature. */
export class WireError extends Error {
  override readonly name = 'WireError';
}

/** How deep values may be nested: the specification's limit. */
export const maxDepth = 64;

/** Boundary of each type, bytes from the start of the message. */
export const alignments: Record<string, number> = {
  y: 1,
  b: 4,
  n: 2,
  q: 2,
  i: 4,
  u: 4,
  h: 4,
  x: 8,
  t: 8,
  d: 8,
  s: 4,
  o: 4,
  g: 1,
  a: 4,
  v: 1,
  '(': 8,
  '{': 8,
};

export function alignmentOf(signature: string, at: number): number {
  const alignment = alignments[signature[at] ?? ''];
  if (alignment === undefined) throw new WireError(`no type at ${at} of signature '${signature}'`);
  return alignment;
}

/** Where the complete type that begins at `at` ends. */
export function endOfType(signature: string, at: number, depth = 0): number {
  const type = signature[at];
  if (depth > maxDepth) throw new WireError('a signature is nested too deeply');
  if (type === 'a') return endOfType(signature, at + 1, depth + 1);
  if (type === '(' || type === '{') {
    const close = type === '(' ? ')' : '}';
    let next = at + 1;
    while (next < signature.length && signature[next] !== close) next = endOfType(signature, next, depth + 1);
    if (next >= signature.length) throw new WireError(`signature '${signature}' does not end`);
    return next + 1;
  }
  alignmentOf(signature, at);
  return at + 1;
}
