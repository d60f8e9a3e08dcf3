import assert from 'node:assert/strict';
import { it } from 'node:test';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { SpawnletError } from '../../host/error.ts';
import { splitFrames } from './zstd-frames.ts';

const skippable = (size: number) => {
  const frame = Buffer.alloc(8 + size, 'x');
  frame.writeUInt32LE(0x184d2a53, 0);
  frame.writeUInt32LE(size, 4);
  return frame;
};

async function split(stream: Buffer, chunk: number): Promise<Buffer[]> {
  const chunks = async function* () {
    for (let at = 0; at < stream.length; at += chunk) yield stream.subarray(at, at + chunk);
  };
  const pieces: Buffer[] = [];
  for await (const piece of splitFrames(chunks())) pieces.push(piece);
  return pieces;
}

const frame = fc.oneof(
  fc.integer({ min: 0, max: 400_000 }).map(size => zstdCompressSync(Buffer.alloc(size, 'ab'))),
  fc.uint8Array({ maxLength: 3000 }).map(bytes => zstdCompressSync(bytes)),
  fc.nat(300).map(skippable),
);

it('no piece goes beyond the end of a frame, and the pieces are the stream', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(frame, { maxLength: 5 }),
      fc.integer({ min: 1, max: 5000 }),
      async (frames, chunk) => {
        const pieces = await split(Buffer.concat(frames), chunk);
        assert.deepEqual(Buffer.concat(pieces), Buffer.concat(frames));
        let at = 0;
        const ends = new Set(frames.map(one => (at += one.length)));
        at = 0;
        for (const piece of pieces) {
          for (let inside = at + 1; inside < at + piece.length; inside++) assert.ok(!ends.has(inside));
          at += piece.length;
        }
      },
    ),
  );
});

it('a stream that is cut anywhere but between frames is refused', async () => {
  const one = zstdCompressSync(Buffer.from('hello '.repeat(1000)));
  assert.equal(zstdDecompressSync(one).length, 6000);
  for (let length = 1; length < one.length; length++)
    await assert.rejects(split(one.subarray(0, length), 7), SpawnletError);
  await assert.rejects(split(Buffer.concat([one, Buffer.from('junk')]), 7), SpawnletError);
});
