import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { marshal } from './marshal.ts';
import { Framer } from './unmarshal.ts';
import type { Value } from './wire.ts';

/** Another implementation of the format, which says whether ours is right. */
interface Oracle {
  unmarshall(bytes: Buffer, options: object): { serial: number; body?: unknown[]; [field: string]: unknown };
  marshall(message: object): Buffer;
}
const oracle = createRequire(import.meta.url)('dbus-native/lib/message.js') as Oracle;

const call = { path: '/a/b', interface: 'x.y', member: 'Do', destination: 'z.w' };
const text = fc.string({ unit: 'binary' }).filter(t => t.isWellFormed() && !t.includes('\0'));

/** A type, a value of it for us, and what the other implementation makes of that value. */
interface Typed {
  readonly signature: string;
  readonly value: Value;
}
const basic: fc.Arbitrary<Typed> = fc.oneof(
  text.map(value => ({ signature: 's', value })),
  fc.nat(255).map(value => ({ signature: 'y', value })),
  fc.boolean().map(value => ({ signature: 'b', value })),
  fc.integer({ min: -32768, max: 32767 }).map(value => ({ signature: 'n', value })),
  fc.nat(65535).map(value => ({ signature: 'q', value })),
  fc.integer().map(value => ({ signature: 'i', value })),
  fc.nat(0xffffffff).map(value => ({ signature: 'u', value })),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(value => ({ signature: 'x', value })),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(value => ({ signature: 't', value })),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(value => ({ signature: 'd', value })),
  fc.uint8Array().map(bytes => ({ signature: 'ay', value: Buffer.from(bytes) })),
  fc.array(text).map(value => ({ signature: 'as', value })),
  fc.array(fc.tuple(text, fc.nat(9))).map(value => ({ signature: 'a(su)', value: value as Value })),
  fc.array(fc.bigInt({ min: 0n, max: 9n })).map(value => ({ signature: 'at', value })),
);
const compound: fc.Arbitrary<Typed> = fc.oneof(
  basic,
  fc.array(basic, { minLength: 1, maxLength: 4 }).map(items => ({
    signature: `(${items.map(item => item.signature).join('')})`,
    value: items.map(item => item.value),
  })),
);

test('what is written reads as the same arguments, here and by another implementation', () => {
  fc.assert(
    fc.property(fc.array(compound, { maxLength: 5 }), items => {
      const signature = items.map(item => item.signature).join('');
      const body = items.map(item => item.value);
      const bytes = marshal(7, { ...call, signature, body });
      const [message, ...more] = new Framer().push(bytes);
      assert.equal(more.length, 0);
      assert.deepEqual(message?.body(), body);
      const theirs = oracle.unmarshall(bytes, {});
      assert.deepEqual(theirs.body ?? [], body);
      assert.deepEqual([theirs.serial, theirs['path'], theirs['member']], [7, '/a/b', 'Do']);
    }),
    { numRuns: 500 },
  );
});

test('variants and dictionaries are read as their values', () => {
  const variants = [
    ['ActiveState', { signature: 's', value: 'active' }],
    ['MainPID', { signature: 'u', value: 12 }],
  ];
  const bytes = marshal(1, { ...call, signature: 'a(sv)', body: [variants] });
  assert.deepEqual(new Framer().push(bytes)[0]?.body(), [
    [
      ['ActiveState', 'active'],
      ['MainPID', 12],
    ],
  ]);
  const theirs = oracle.marshall({
    ...call,
    serial: 3,
    type: 4,
    signature: 'sa{sv}as',
    body: [
      'unit',
      [
        ['Id', ['s', 'a.service']],
        ['Job', ['(uo)', [5, '/job/5']]],
        ['T', ['t', 9n]],
      ],
      ['x'],
    ],
  });
  const [message] = new Framer().push(theirs);
  assert.equal(message?.type, 4);
  assert.deepEqual(message?.body(), [
    'unit',
    new Map<string, Value>([
      ['Id', 'a.service'],
      ['Job', [5, '/job/5']],
      ['T', 9n],
    ]),
    ['x'],
  ]);
});

test('messages are found wherever the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(text, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 50 }),
      (texts, step) => {
        const bytes = Buffer.concat(
          texts.map((t, at) => marshal(at + 1, { ...call, signature: 's', body: [t] })),
        );
        const framer = new Framer();
        const found: Value[] = [];
        for (let at = 0; at < bytes.length; at += step)
          for (const message of framer.push(bytes.subarray(at, at + step))) found.push(...message.body());
        assert.deepEqual(found, texts);
      },
    ),
  );
});

test('bytes that are no message are an error, never a hang or a crash', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 200 }), fc.nat(60), (noise, at) => {
      const bytes = marshal(1, {
        ...call,
        signature: 'a(sv)',
        body: [[['a', { signature: 'as', value: ['b', 'c'] }]]],
      });
      Buffer.from(noise).copy(bytes, at);
      try {
        for (const message of new Framer().push(bytes)) message.body();
      } catch (error) {
        assert.ok(error instanceof Error && error.name === 'WireError', String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

test('what a signature does not say is refused', () => {
  for (const [signature, body] of [
    ['s', [1]],
    ['s', ['a\0b']],
    ['s', ['\ud800']],
    ['u', ['1']],
    ['as', ['a']],
    ['ss', ['a']],
    ['v', ['a']],
    ['(su)', [['a']]],
    ['(su)', [['a', 1, 2]]],
  ] as const)
    assert.throws(() => marshal(1, { ...call, signature, body }), {
      name: 'WireError',
    });
});
