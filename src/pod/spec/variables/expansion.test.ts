import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { expandVariables, namesWithoutValue } from './expansion.ts';

const values = new Map([
  ['A', 'a'],
  ['B', '$(A)'],
  ['', 'nothing'],
  ['$(A', 'odd'],
]);
const expand = (text: string) => expandVariables(text, name => values.get(name));

test('names are replaced, once, and everything else stays', () => {
  for (const [text, expanded] of [
    ['$(A)', 'a'],
    ['x$(A)y$(A)', 'xaya'],
    ['$(B)', '$(A)'],
    ['$(C)', '$(C)'],
    ['$$(A)', '$(A)'],
    ['$$$(A)', '$a'],
    ['$$', '$'],
    ['$', '$'],
    ['a$', 'a$'],
    ['$A', '$A'],
    ['${A}', '${A}'],
    ['$(A', '$(A'],
    ['$($(A)', 'odd'],
    ['$()', 'nothing'],
    ['$(A)$', 'a$'],
    ['$€(A)', '$€(A)'],
    ['$(C) $(A', '$(C) $(A'],
    ['', ''],
  ] as const)
    assert.equal(expand(text), expanded, text);
});

test('names without a value are told', () => {
  assert.deepEqual(namesWithoutValue('$(A)/$(C)/$$(D)/$(E)', values), ['C', 'E']);
});

test('a text without a dollar is as it was, and dollars that are doubled come out once', () => {
  fc.assert(
    fc.property(fc.string(), text => {
      assert.equal(expand(text.replaceAll('$', '')), text.replaceAll('$', ''));
      assert.equal(expand(text.replaceAll('$', '$$$$')), text);
    }),
  );
});
