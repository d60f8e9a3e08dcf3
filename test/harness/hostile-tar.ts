/** Archives block by block: also what no program would write. Text is bytes, one character each (latin1). */

export interface RawHeader {
  readonly name: string;
  /** `0` if not given. */
  readonly type?: string;
  /** Numbers become octal digits; text goes in as it is. */
  readonly mode?: number | string;
  readonly uid?: number | string;
  readonly gid?: number | string;
  readonly size?: number | string;
  readonly mtime?: number | string;
  readonly target?: string;
  readonly major?: number | string;
  readonly minor?: number | string;
  readonly prefix?: string;
  /** `ustar\0` and version `00` if not given. */
  readonly magic?: string;
  /** The right one if not given. */
  readonly checksum?: number;
}

const blockSize = 512;

export function rawHeader(header: RawHeader): Buffer {
  const block = Buffer.alloc(blockSize);
  const put = (value: number | string, at: number, length: number) => {
    const text = typeof value === 'string' ? value : `${value.toString(8).padStart(length - 1, '0')}\0`;
    block.write(text, at, length, 'latin1');
  };
  put(header.name, 0, 100);
  put(header.mode ?? 0o644, 100, 8);
  put(header.uid ?? 0, 108, 8);
  put(header.gid ?? 0, 116, 8);
  put(header.size ?? 0, 124, 12);
  put(header.mtime ?? 0, 136, 12);
  put(header.type ?? '0', 156, 1);
  put(header.target ?? '', 157, 100);
  put(header.magic ?? 'ustar\x0000', 257, 8);
  put(header.major ?? 0, 329, 8);
  put(header.minor ?? 0, 337, 8);
  put(header.prefix ?? '', 345, 155);
  block.write('        ', 148);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(`${(header.checksum ?? sum).toString(8).padStart(6, '0')}\0 `, 148, 8);
  return block;
}

export function padded(content: string | Buffer): Buffer {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content;
  return Buffer.concat([bytes, Buffer.alloc((blockSize - (bytes.length % blockSize)) % blockSize)]);
}

/** A header and its data. */
export function raw(header: RawHeader, content: string | Buffer = ''): Buffer {
  const size = Buffer.isBuffer(content) ? content.length : content.length;
  return Buffer.concat([rawHeader({ size, ...header }), padded(content)]);
}

export const file = (name: string, content: string | Buffer = '', header: Partial<RawHeader> = {}) =>
  raw({ name, ...header }, content);
export const directory = (name: string, header: Partial<RawHeader> = {}) =>
  raw({ name: `${name}/`, type: '5', mode: 0o755, ...header });
export const symlink = (name: string, target: string) => raw({ name, type: '2', target, mode: 0o777 });
export const hardlink = (name: string, target: string) => raw({ name, type: '1', target });
export const whiteout = (path: string) => file(path.replace(/[^/]*$/, '.wh.$&'));
export const opaque = (path: string) => file(path === '' ? '.wh..wh..opq' : `${path}/.wh..wh..opq`);

/** `LENGTH KEY=VALUE\n`. */
export function paxRecord(key: string, value: string): string {
  for (let length = key.length + value.length + 4; ; length++) {
    const record = `${length} ${key}=${value}\n`;
    if (record.length === length) return record;
  }
}

/** A PAX header for the next member (`x`), or for all (`g`). */
export function pax(records: Readonly<Record<string, string>>, type: 'x' | 'g' = 'x'): Buffer {
  const text = Object.entries(records)
    .map(([key, value]) => paxRecord(key, value))
    .join('');
  return raw({ name: 'PaxHeaders/0', type }, text);
}

/** GNU's long name (`L`) or link target (`K`). */
export const gnuLong = (type: 'L' | 'K', text: string) => raw({ name: '././@LongLink', type }, `${text}\0`);

/** A big-endian number with the first bit set. */
export function base256(value: bigint, length: number): string {
  const bytes = Buffer.alloc(length);
  let rest = BigInt.asUintN(length * 8, value);
  for (let at = length - 1; at >= 0; at--) {
    bytes[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  return bytes.toString('latin1');
}

export const endOfArchive = Buffer.alloc(2 * blockSize);

export function archive(...members: readonly Buffer[]): Buffer {
  return Buffer.concat([...members, endOfArchive]);
}
