import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { healthRequest, healthStatus } from './health-message.ts';

const reply = (...message: number[]): Buffer => Buffer.from([0, 0, 0, 0, message.length, ...message]);

test('a request is a frame with the service in field 1', () => {
  assert.deepEqual([...healthRequest('')], [0, 0, 0, 0, 0]);
  assert.deepEqual([...healthRequest('ab')], [0, 0, 0, 0, 4, 0x0a, 2, 0x61, 0x62]);
  const long = healthRequest('x'.repeat(300));
  assert.deepEqual([...long.subarray(0, 8)], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
});

test('a reply is read whatever else is in it', () => {
  const table = [
    [reply(0x08, 1), 'SERVING'],
    [reply(0x08, 2), 'NOT_SERVING'],
    [reply(0x08, 3), 'SERVICE_UNKNOWN'],
    [reply(), 'UNKNOWN'],
    [reply(0x08, 0x81, 0x00), 'SERVING'],
    [reply(0x08, 77), 'UNKNOWN'],
    // Fields that are not known: a text, a varint, 8 and 4 bytes.
    [reply(0x12, 2, 1, 1, 0x18, 0x80, 1, 0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0x2d, 0, 0, 0, 0, 0x08, 1), 'SERVING'],
    // The last one counts.
    [reply(0x08, 1, 0x08, 2), 'NOT_SERVING'],
  ] as const;
  for (const [bytes, status] of table) assert.equal(healthStatus(bytes), status);
});

test('bytes that are no reply are told from one', () => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from([0, 0, 0, 0, 9, 0x08, 1]),
    Buffer.from([1, 0, 0, 0, 2, 0x08, 1]),
    reply(0x08),
    reply(0x08, 0x80),
    reply(0x12, 9, 1),
    reply(0x0b, 1),
  ])
    assert.equal(healthStatus(bytes), undefined);
});

test('hostile bytes are read to an end', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), bytes => {
      healthStatus(Buffer.from(bytes));
      healthStatus(reply(...bytes));
    }),
  );
});
