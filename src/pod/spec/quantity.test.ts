import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  formatBytes,
  formatMillis,
  formatQuantity,
  millisOf,
  parseQuantity,
  quantityOf,
  unitsOf,
} from './quantity.ts';

test('bytes are read with every suffix', () => {
  assert.equal(unitsOf('0'), 0);
  assert.equal(unitsOf('128974848'), 128_974_848);
  assert.equal(unitsOf('1.5Gi'), 1.5 * 1024 ** 3);
  assert.equal(unitsOf('129e6'), 129_000_000);
  assert.equal(unitsOf('129M'), 129_000_000);
  assert.equal(unitsOf('123Mi'), 123 * 1024 ** 2);
  assert.equal(unitsOf('2E'), Number.MAX_SAFE_INTEGER);
  assert.equal(unitsOf('2E3'), 2000);
  assert.equal(unitsOf('2e-3'), 1);
  assert.equal(unitsOf('+1k'), 1000);
  assert.equal(unitsOf('-1Ki'), -1024);
  assert.equal(unitsOf('-1.5'), -2);
});

test('processors are read as millicores, rounded up', () => {
  assert.equal(millisOf('100m'), 100);
  assert.equal(millisOf('0.1'), 100);
  assert.equal(millisOf('2'), 2000);
  assert.equal(millisOf('1.0001'), 1001);
  assert.equal(millisOf('1u'), 1);
  assert.equal(millisOf('.5'), 500);
  assert.equal(millisOf('1.'), 1000);
});

test('what is no quantity is none', () => {
  for (const text of [
    '',
    '.',
    '+',
    'm',
    '1 Gi',
    '1gi',
    '1K',
    '1kb',
    '1e',
    '1ee3',
    '1.2.3',
    '0x10',
    '1k5',
    'NaN',
    '−1',
  ])
    assert.equal(parseQuantity(text), undefined, text);
  assert.equal(parseQuantity('1'.repeat(65)), undefined);
  assert.throws(() => unitsOf('much'), /"much" is no quantity/);
});

test('an exponent of any size costs nothing', () => {
  assert.equal(unitsOf('1e999999999'), Number.MAX_SAFE_INTEGER);
  assert.equal(quantityOf('1e-999999999').nano, 1n);
  assert.equal(quantityOf('0e999999999').nano, 0n);
});

test('a quantity is written as the API writes it', () => {
  for (const [text, written] of [
    ['1.5Gi', '1536Mi'],
    ['1024Mi', '1Gi'],
    ['1000Mi', '1000Mi'],
    ['0.5Ki', '512'],
    ['0.3Mi', '314572800m'],
    ['9810.85P', '9810850T'],
    ['2000m', '2'],
    ['1500m', '1500m'],
    ['0.1', '100m'],
    ['1000k', '1M'],
    ['1200k', '1200k'],
    ['12e3', '12e3'],
    ['1200e2', '120e3'],
    ['1e0', '1'],
    ['0Mi', '0'],
    ['-2000m', '-2'],
    ['1Ei', '1Ei'],
  ] as const)
    assert.equal(formatQuantity(quantityOf(text)), written, text);
  assert.equal(formatBytes(100 * 1024 ** 2), '100Mi');
  assert.equal(formatMillis(1500), '1500m');
});

const quantity = fc.record({
  nano: fc.bigInt(-(2n ** 90n), 2n ** 90n),
  format: fc.constantFrom('binary' as const, 'decimal' as const, 'exponent' as const),
});

test('what is written is read as the same amount, and written the same again', () => {
  fc.assert(
    fc.property(quantity, each => {
      const text = formatQuantity(each);
      const read = quantityOf(text);
      assert.equal(read.nano, each.nano);
      assert.equal(formatQuantity(read), text);
    }),
  );
});

test('no text makes the reader throw, and all it takes is written in a form that it takes', () => {
  const characters = fc.constantFrom(...Array.from('0123456789.+-eEinumkKMGTP '));
  fc.assert(
    fc.property(fc.string({ unit: characters, maxLength: 12 }), text => {
      const read = parseQuantity(text);
      if (read) assert.notEqual(parseQuantity(formatQuantity(read)), undefined, text);
    }),
    { numRuns: 1000 },
  );
});
