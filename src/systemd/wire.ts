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

/** The specification's limit for one message, bytes. */
export const maxMessage = 128 * 1024 * 1024;

const headerSize = 16;
const maxDepth = 64;

const alignments: Record<string, number> = {
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

function alignmentOf(signature: string, at: number): number {
  const alignment = alignments[signature[at] ?? ''];
  if (alignment === undefined) throw new WireError(`no type at ${at} of signature '${signature}'`);
  return alignment;
}

/** Where the complete type that begins at `at` ends. */
function endOfType(signature: string, at: number, depth = 0): number {
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

class Writer {
  #bytes = Buffer.allocUnsafe(512);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  result(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #room(size: number): number {
    const at = this.#length;
    if (at + size > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, at + size));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    this.#length = at + size;
    return at;
  }

  align(boundary: number): void {
    const size = -this.#length & (boundary - 1);
    const at = this.#room(size);
    this.#bytes.fill(0, at, at + size);
  }

  uint32(value: number): void {
    this.align(4);
    const at = this.#room(4);
    this.#bytes.writeUInt32LE(value, at);
  }

  patch(at: number, value: number): void {
    this.#bytes.writeUInt32LE(value, at);
  }

  byte(value: number): void {
    const at = this.#room(1);
    this.#bytes.writeUInt8(value, at);
  }

  text(value: Value | undefined, short: boolean): void {
    if (typeof value !== 'string') throw new WireError(`a string is wanted, not ${typeof value}`);
    if (value.includes('\0')) throw new WireError('a string holds a NUL');
    if (!value.isWellFormed()) throw new WireError('a string is not Unicode');
    const size = Buffer.byteLength(value);
    if (short) this.byte(size);
    else this.uint32(size);
    const at = this.#room(size + 1);
    this.#bytes.write(value, at);
    this.#bytes[at + size] = 0;
  }

  number(type: string, value: Value | undefined): void {
    if (type === 'x' || type === 't') {
      const wide = typeof value === 'number' ? BigInt(value) : value;
      if (typeof wide !== 'bigint') throw new WireError(`a number is wanted, not ${typeof value}`);
      this.align(8);
      const at = this.#room(8);
      if (type === 'x') this.#bytes.writeBigInt64LE(wide, at);
      else this.#bytes.writeBigUInt64LE(wide, at);
      return;
    }
    if (typeof value !== 'number') throw new WireError(`a number is wanted, not ${typeof value}`);
    const size = alignments[type] ?? 4;
    this.align(size);
    const at = this.#room(size);
    if (type === 'd') this.#bytes.writeDoubleLE(value, at);
    else if (type === 'i') this.#bytes.writeInt32LE(value, at);
    else if (type === 'u') this.#bytes.writeUInt32LE(value, at);
    else if (type === 'n') this.#bytes.writeInt16LE(value, at);
    else if (type === 'q') this.#bytes.writeUInt16LE(value, at);
    else this.#bytes.writeUInt8(value, at);
  }

  /** Writes one complete type and gives where the next begins. */
  value(signature: string, at: number, value: Value | undefined): number {
    const type = signature[at] ?? '';
    switch (type) {
      case 's':
      case 'o':
        this.text(value, false);
        return at + 1;
      case 'g':
        this.text(value, true);
        return at + 1;
      case 'b':
        this.uint32(value === true ? 1 : 0);
        return at + 1;
      case 'v': {
        if (!isVariant(value)) throw new WireError('a variant is wanted');
        this.text(value.signature, true);
        if (this.value(value.signature, 0, value.value) !== value.signature.length)
          throw new WireError(`a variant holds one value, not '${value.signature}'`);
        return at + 1;
      }
      case '(':
      case '{': {
        const close = type === '(' ? ')' : '}';
        if (!Array.isArray(value)) throw new WireError('a structure is wanted');
        const members: readonly Value[] = value;
        this.align(8);
        let next = at + 1;
        let index = 0;
        while (signature[next] !== close) next = this.value(signature, next, members[index++]);
        if (index !== members.length) throw new WireError(`${members.length} members for '${signature}'`);
        return next + 1;
      }
      case 'a': {
        this.array(signature, at + 1, value);
        return endOfType(signature, at);
      }
      default:
        alignmentOf(signature, at);
        this.number(type, value);
        return at + 1;
    }
  }

  array(signature: string, element: number, value: Value | undefined): void {
    this.uint32(0);
    const patchAt = this.#length - 4;
    this.align(alignmentOf(signature, element));
    const start = this.#length;
    if (value instanceof Uint8Array) {
      const at = this.#room(value.length);
      this.#bytes.set(value, at);
    } else {
      const items = value instanceof Map ? [...value] : value;
      if (!Array.isArray(items)) throw new WireError('an array is wanted');
      for (const item of items) this.value(signature, element, item);
    }
    this.patch(patchAt, this.#length - start);
  }
}

function isVariant(value: Value | undefined): value is Variant {
  return (
    typeof value === 'object' &&
    'signature' in value &&
    typeof value.signature === 'string' &&
    'value' in value
  );
}

/** A method call as bytes. */
export function marshal(serial: number, message: Outgoing): Buffer {
  const writer = new Writer();
  for (const byte of [0x6c, messageType.call, 0, 1]) writer.byte(byte);
  writer.uint32(0);
  writer.uint32(serial);
  const fields: Value[] = [
    [1, { signature: 'o', value: message.path }],
    [2, { signature: 's', value: message.interface }],
    [3, { signature: 's', value: message.member }],
  ];
  if (message.destination !== undefined) fields.push([6, { signature: 's', value: message.destination }]);
  const signature = message.signature ?? '';
  if (signature !== '') fields.push([8, { signature: 'g', value: signature }]);
  writer.value('a(yv)', 0, fields);
  writer.align(8);
  const start = writer.length;
  let at = 0;
  for (const value of message.body ?? []) at = writer.value(signature, at, value);
  if (at !== signature.length) throw new WireError(`too few arguments for '${signature}'`);
  writer.patch(4, writer.length - start);
  return writer.result();
}

class Reader {
  readonly #bytes: Buffer;
  readonly #little: boolean;
  #at: number;
  #depth = 0;

  constructor(bytes: Buffer, at: number, little: boolean) {
    this.#bytes = bytes;
    this.#at = at;
    this.#little = little;
  }

  /** Moves on by `size` after aligning and gives where that began. */
  #take(boundary: number, size: number): number {
    const at = this.#at + (-this.#at & (boundary - 1));
    if (at + size > this.#bytes.length) throw new WireError('a value runs past the end of its message');
    this.#at = at + size;
    return at;
  }

  #uint32(): number {
    const at = this.#take(4, 4);
    return this.#little ? this.#bytes.readUInt32LE(at) : this.#bytes.readUInt32BE(at);
  }

  #text(size: number): string {
    const at = this.#take(1, size + 1);
    return this.#bytes.toString('utf8', at, at + size);
  }

  #number(type: string): Value {
    const size = alignments[type] ?? 4;
    const at = this.#take(size, size);
    const bytes = this.#bytes;
    if (type === 'y') return bytes.readUInt8(at);
    if (type === 'd') return this.#little ? bytes.readDoubleLE(at) : bytes.readDoubleBE(at);
    if (type === 'x') return this.#little ? bytes.readBigInt64LE(at) : bytes.readBigInt64BE(at);
    if (type === 't') return this.#little ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at);
    const signed = type === 'n' || type === 'i';
    if (signed) return this.#little ? bytes.readIntLE(at, size) : bytes.readIntBE(at, size);
    return this.#little ? bytes.readUIntLE(at, size) : bytes.readUIntBE(at, size);
  }

  all(signature: string): Value[] {
    const values: Value[] = [];
    let at = 0;
    while (at < signature.length) {
      values.push(this.value(signature, at));
      at = endOfType(signature, at);
    }
    return values;
  }

  value(signature: string, at: number): Value {
    const type = signature[at] ?? '';
    switch (type) {
      case 's':
      case 'o':
        return this.#text(this.#uint32());
      case 'g':
        return this.#text(this.#bytes.readUInt8(this.#take(1, 1)));
      case 'b':
        return this.#uint32() !== 0;
      case 'v': {
        const inner = this.#text(this.#bytes.readUInt8(this.#take(1, 1)));
        if (endOfType(inner, 0) !== inner.length) throw new WireError(`a variant of '${inner}'`);
        return this.#nested(() => this.value(inner, 0));
      }
      case '(':
      case '{': {
        this.#take(8, 0);
        return this.#nested(() => this.all(signature.slice(at + 1, endOfType(signature, at) - 1)));
      }
      case 'a':
        return this.#nested(() => this.#array(signature, at + 1));
      default:
        alignmentOf(signature, at);
        return this.#number(type);
    }
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > maxDepth) throw new WireError('a value is nested too deeply');
    const value = read();
    this.#depth--;
    return value;
  }

  #array(signature: string, element: number): Value {
    const size = this.#uint32();
    const start = this.#take(alignmentOf(signature, element), 0);
    const end = start + size;
    if (end > this.#bytes.length) throw new WireError('an array runs past the end of its message');
    if (signature[element] === 'y') {
      this.#at = end;
      return Buffer.from(this.#bytes.subarray(start, end));
    }
    const items: Value[] = [];
    while (this.#at < end) {
      const before = this.#at;
      items.push(this.value(signature, element));
      if (this.#at === before) throw new WireError('an array of nothing');
    }
    if (this.#at !== end) throw new WireError('an array ends inside an element');
    return signature[element] === '{' ? new Map(items as [Value, Value][]) : items;
  }
}

const fieldNames = ['', 'path', 'interface', 'member', 'errorName', 'replySerial', '', 'sender', 'signature'];

function unmarshal(bytes: Buffer): Incoming {
  const little = bytes[0] === 0x6c;
  const read32 = (at: number) => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const found: Record<string, Value> = {};
  for (const field of new Reader(bytes, 12, little).value('a(yv)', 0) as Value[]) {
    const [code, value] = field as [number, Value];
    const name = fieldNames[code];
    if (name) found[name] = value;
  }
  const text = (name: string) => (typeof found[name] === 'string' ? found[name] : '');
  const bodyAt = bytes.length - read32(4);
  return {
    type: bytes[1] ?? 0,
    serial: read32(8),
    replySerial: typeof found['replySerial'] === 'number' ? found['replySerial'] : 0,
    path: text('path'),
    interface: text('interface'),
    member: text('member'),
    errorName: text('errorName'),
    sender: text('sender'),
    // The body is aligned to 8 from the start of the message, so offsets in it count from there.
    body: () => new Reader(bytes, bodyAt, little).all(text('signature')),
  };
}

/** Cuts a stream of bytes into messages. */
export class Framer {
  #pending: Buffer[] = [];
  #size = 0;
  #wanted = headerSize;

  /** The messages that `chunk` completes. Throws {@link WireError} when the stream is no D-Bus. */
  push(chunk: Buffer): Incoming[] {
    this.#pending.push(chunk);
    this.#size += chunk.length;
    if (this.#size < this.#wanted) return [];
    let bytes = this.#pending.length === 1 ? chunk : Buffer.concat(this.#pending);
    const messages: Incoming[] = [];
    for (;;) {
      this.#wanted = bytes.length < headerSize ? headerSize : sizeOf(bytes);
      if (bytes.length < this.#wanted) break;
      messages.push(unmarshal(bytes.subarray(0, this.#wanted)));
      bytes = bytes.subarray(this.#wanted);
    }
    this.#pending = bytes.length > 0 ? [bytes] : [];
    this.#size = bytes.length;
    return messages;
  }
}

function sizeOf(header: Buffer): number {
  const order = header[0];
  if ((order !== 0x6c && order !== 0x42) || header[3] !== 1)
    throw new WireError('the peer does not speak D-Bus 1');
  const read32 = (at: number) => (order === 0x6c ? header.readUInt32LE(at) : header.readUInt32BE(at));
  const fields = read32(12);
  const size = headerSize + Math.ceil(fields / 8) * 8 + read32(4);
  if (size > maxMessage) throw new WireError(`a message of ${size} bytes`);
  return size;
}
