import { refuse } from './entry.ts';

const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50;

/** What the next bytes are: a field to gather, or bytes to pass by. */
type Expect = 'magic' | 'skip-size' | 'descriptor' | 'block' | 'pass';

/**
 * Cuts a zstd stream (RFC 8878) so that no piece goes beyond the end of a frame. Node's decompressor takes what follows
 * a frame within one write for garbage and ends there (nodejs/node#64741); pzstd and zstd:chunked write many frames.
 * Throws where the stream ends inside of a frame, which Node lets pass too.
 */
export async function* splitFrames(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const reader: Reader = { expect: 'magic', need: 4, have: 0, value: 0, after: 'magic', checksum: 0 };
  for await (const chunk of chunks) {
    let from = 0;
    let at = 0;
    while (at < chunk.length) {
      if (reader.expect === 'pass') {
        const taken = Math.min(reader.need - reader.have, chunk.length - at);
        reader.have += taken;
        at += taken;
      } else reader.value += (chunk[at++] ?? 0) * 2 ** (8 * reader.have++);
      if (!advance(reader)) continue;
      yield chunk.subarray(from, at);
      from = at;
    }
    if (at > from) yield chunk.subarray(from, at);
  }
  if (reader.expect !== 'magic' || reader.have !== 0)
    throw refuse('ERR_LAYER_COMPRESSION', 'a zstd stream that ends inside of a frame');
}

interface Reader {
  expect: Expect;
  /** Bytes of what is expected, and how many of them have come. */
  need: number;
  have: number;
  /** Of a field: what has come, as a little-endian number. */
  value: number;
  /** What follows bytes that are passed by. */
  after: 'magic' | 'block';
  /** Bytes behind the last block of the frame. */
  checksum: number;
}

/** Goes on from every field that is whole; true at the end of a frame. */
function advance(reader: Reader): boolean {
  let atEnd = false;
  while (reader.have === reader.need) {
    const { value } = reader;
    switch (reader.expect) {
      case 'magic':
        if (value === frameMagic) expectNext(reader, 'descriptor', 1);
        else if ((value & 0xfffffff0) >>> 0 === skippableMagic) expectNext(reader, 'skip-size', 4);
        else throw refuse('ERR_LAYER_COMPRESSION', 'bytes that are no zstd frame');
        break;
      case 'skip-size':
        pass(reader, value, 'magic');
        break;
      case 'descriptor': {
        const single = (value >> 5) & 1;
        const dictionary = [0, 1, 2, 4][value & 3] ?? 0;
        const content = [single, 2, 4, 8][value >> 6] ?? 0;
        reader.checksum = (value >> 2) & 1 ? 4 : 0;
        pass(reader, 1 - single + dictionary + content, 'block');
        break;
      }
      case 'block': {
        const type = (value >> 1) & 3;
        if (type === 3) throw refuse('ERR_LAYER_COMPRESSION', 'a zstd block of a reserved type');
        const size = type === 1 ? 1 : value >>> 3;
        if (value & 1) pass(reader, size + reader.checksum, 'magic');
        else pass(reader, size, 'block');
        break;
      }
      case 'pass':
        atEnd = reader.after === 'magic';
        if (atEnd) expectNext(reader, 'magic', 4);
        else expectNext(reader, 'block', 3);
        break;
    }
  }
  return atEnd;
}

function expectNext(reader: Reader, expect: Expect, need: number): void {
  Object.assign(reader, { expect, need, have: 0, value: 0 });
}

function pass(reader: Reader, bytes: number, after: 'magic' | 'block'): void {
  expectNext(reader, 'pass', bytes);
  reader.after = after;
}
