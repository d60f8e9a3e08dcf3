import {
  alignmentOf,
  alignments,
  endOfType,
  messageType,
  type Outgoing,
  type Value,
  type Variant,
  WireError,
} from './wire.ts';

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
