import { refuse } from './entry.ts';

/** The fields of one 512-byte header block: V7, ustar, star, GNU. */
export interface Header {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  /** The type flag's character. */
  readonly type: string;
  readonly target: string;
  readonly major: number;
  readonly minor: number;
}

export const blockSize = 512;

export function isZero(block: Buffer, at: number): boolean {
  for (let i = at; i < at + blockSize; i++) if (block[i] !== 0) return false;
  return true;
}

/** Parses the block at `at`; throws `ERR_LAYER_HEADER` where a field cannot be what it says. */
export function parseHeader(block: Buffer, at: number): Header {
  verifyChecksum(block, at);
  const magic = block.toString('latin1', at + 257, at + 265);
  const posix = magic.startsWith('ustar\0');
  const gnu = magic === 'ustar  \0';
  const star = posix && block.toString('latin1', at + 508, at + 512) === 'tar\0';
  const prefix = posix ? text(block, at + 345, star ? 131 : 155) : '';
  const name = text(block, at, 100);
  const type = String.fromCharCode(block[at + 156] ?? 0);
  const device = posix || gnu ? type === '3' || type === '4' : false;
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(block, at + 100, 8, 'mode') & 0o7777,
    uid: number(block, at + 108, 8, 'uid'),
    gid: number(block, at + 116, 8, 'gid'),
    size: number(block, at + 124, 12, 'size'),
    mtime: number(block, at + 136, 12, 'mtime'),
    type,
    target: text(block, at + 157, 100),
    major: device ? number(block, at + 329, 8, 'device') : 0,
    minor: device ? number(block, at + 337, 8, 'device') : 0,
  };
}

/** Some old programs summed up signed bytes; both are taken. */
function verifyChecksum(block: Buffer, at: number): void {
  let unsigned = 8 * 0x20;
  let high = 0;
  for (let i = at; i < at + blockSize; i++) {
    if (i === at + 148) i += 8;
    const byte = block[i] ?? 0;
    unsigned += byte;
    high += byte >> 7;
  }
  const stated = number(block, at + 148, 8, 'checksum');
  if (stated !== unsigned && stated !== unsigned - 256 * high)
    throw refuse(
      'ERR_LAYER_HEADER',
      'a header whose checksum is wrong: this is no tar archive, or a damaged one',
    );
}

function text(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at);
  return block.toString('latin1', at, end === -1 || end > at + length ? at + length : end);
}

/** Octal digits between spaces and NULs, or, with the first bit set, a big-endian two's complement number. */
function number(block: Buffer, at: number, length: number, field: string): number {
  const first = block[at] ?? 0;
  if (first & 0x80) return base256(block, at, length, field);
  let value = 0;
  let i = at;
  const end = at + length;
  while (i < end && (block[i] === 0x20 || block[i] === 0)) i++;
  for (; i < end; i++) {
    const byte = block[i] ?? 0;
    if (byte === 0 || byte === 0x20) break;
    if (byte < 0x30 || byte > 0x37) throw refuse('ERR_LAYER_HEADER', `a ${field} that is no octal number`);
    value = value * 8 + byte - 0x30;
  }
  return value;
}

function base256(block: Buffer, at: number, length: number, field: string): number {
  const negative = block[at] === 0xff;
  let value = negative ? -1 : (block[at] ?? 0) & 0x7f;
  for (let i = at + 1; i < at + length; i++) {
    value = value * 256 + (block[i] ?? 0);
    if (!Number.isSafeInteger(value)) throw refuse('ERR_LAYER_HEADER', `a ${field} beyond 53 bits`);
  }
  return value;
}
