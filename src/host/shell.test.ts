import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { quoted } from './shell.ts';

test('every word is read by the shell as it was', () => {
  const word = fc.string({ unit: 'binary' }).map(text => text.replaceAll('\0', ''));
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 30 }), words => {
      const said = execFileSync('bash', ['-c', `printf '%s\\0' ${words.map(quoted).join(' ')}`]);
      assert.deepEqual(said.toString().split('\0').slice(0, -1), words);
    }),
    { numRuns: 30 },
  );
});
