import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { linesOf, parseProgress } from './progress.ts';

test('lines come whole, however they are cut into chunks', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('a', 'b c', '', '\n', '\r', '\r\n')), parts => {
      const text = `${parts.join('')}\n`;
      const heard: string[] = [];
      const take = linesOf(line => heard.push(line));
      for (const part of [...parts, '\n']) take(part);
      assert.deepEqual(heard, text.split(/[\r\n]/).filter(Boolean));
    }),
  );
});

test('a line of a build is an event, and its answer is none', () => {
  assert.deepEqual(parseProgress('{"step":"Running /a"}'), { step: 'Running /a' });
  assert.deepEqual(parseProgress('{"says":"done"}'), { says: 'done' });
  for (const text of ['{"built":{"size":1}}', '{"step":1}', 'null', '[]', 'oops', '', '"step"'])
    assert.equal(parseProgress(text), undefined, text);
});
