import {
  alignmentOf,
  alignments,
  endOfType,
  type Incoming,
  maxDepth,
  type Value,
  WireError,
} from './wire.ts';

/** The specification's limit for one message, bytes. */
export const maxMessage = 128 * 1024 * 1024;

const headerSize = 16;

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
