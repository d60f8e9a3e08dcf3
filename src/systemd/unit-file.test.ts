import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseUnit, renderUnit, section, type UnitFile, unitFile, valuesOf } from './unit-file.ts';

const key = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,10}$/);
const name = fc.stringMatching(/^[A-Za-z][A-Za-z -]{0,8}[a-z]$/);
/** Pieces that the syntax gives a meaning to, so that random texts meet it. */
const piece = fc.constantFrom(
  '[',
  ']',
  '=',
  '\\',
  '\n',
  '\r',
  '\0',
  '#',
  ';',
  ' ',
  '\t',
  '"',
  '\ufeff',
  'A=b',
  '[S]',
);
const text = fc
  .array(fc.oneof(piece, fc.string({ unit: 'binary', maxLength: 4 })), { maxLength: 30 })
  .map(p => p.join(''));

const value = text.map(t =>
  t
    .replaceAll(/[\n\r\0]/g, '')
    .replace(/^[ \t]+/, '')
    .replace(/[\\ \t]+$/, '')
    .toWellFormed(),
);
const unit: fc.Arbitrary<UnitFile> = fc
  .array(fc.tuple(name, fc.array(fc.tuple(key, value), { maxLength: 5 })), { maxLength: 4 })
  .map(sections =>
    unitFile(
      'made by a test\n\nwith a blank line',
      sections.map(([n, lines]) => section(n, lines)),
    ),
  );

test('a rendered unit reads back as the same value', () => {
  fc.assert(fc.property(unit, model => assert.deepEqual(parseUnit(renderUnit(model)), model)));
});

test('any text reads and renders, and what comes out reads the same', () => {
  fc.assert(
    fc.property(text, source => {
      const model = parseUnit(source.toWellFormed());
      assert.deepEqual(parseUnit(renderUnit(model)), model);
    }),
    { numRuns: 1000 },
  );
});

test('text with newlines as line ends is kept byte for byte', () => {
  const source = `# a unit
; with two kinds of comments

[Unit]
Description = spaces around
After=a.service \\
# a comment inside
  b.service
[Service]
ExecStart=
ExecStart=/bin/true
  no assignment
[Unit]
Wants=c.service
`;
  const model = parseUnit(source);
  assert.equal(renderUnit(model), source);
  assert.deepEqual(valuesOf(model, 'Service', 'ExecStart'), ['', '/bin/true']);
  assert.deepEqual(valuesOf(model, 'Unit', 'After'), ['a.service    b.service']);
  assert.deepEqual(valuesOf(model, 'Unit', 'Description'), ['spaces around']);
  assert.deepEqual(valuesOf(model, 'Unit', 'Wants'), ['c.service']);
});

test('nothing that is rendered can add a line', () => {
  fc.assert(
    fc.property(key, text, (k, hostile) => {
      const model = unitFile('', [
        section('Service', [
          [k, hostile],
          ['User', 'nobody'],
        ]),
      ]);
      let rendered: string;
      try {
        rendered = renderUnit(model);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ERR_UNIT_TEXT');
        return;
      }
      assert.deepEqual(parseUnit(rendered), model);
      assert.equal(rendered.split(/[\n\r\0]/).length, 4);
    }),
    { numRuns: 1000 },
  );
});

for (const [what, hostile] of [
  ['a newline', 'x\nUser=root'],
  ['a carriage return, which systemd takes for a line end', 'x\rUser=root'],
  ['a NUL, which systemd takes for a line end', 'x\0User=root'],
  ['a backslash at its end, which swallows the next line', 'x\\'],
  ['half of a surrogate pair', 'x\ud800'],
] as const) {
  test(`a value with ${what} is refused`, () => {
    const model = unitFile('', [section('Service', [['Description', hostile]])]);
    assert.throws(() => renderUnit(model), { code: 'ERR_UNIT_TEXT' });
  });
}

test('a source that hides another line is refused', () => {
  const line = { kind: 'assignment', key: 'A', value: 'b' } as const;
  for (const source of ['A=b\nC=d', 'A=c', 'A=b \\', '[Unit]', 'A=b\r'])
    assert.throws(
      () => renderUnit({ head: [], sections: [{ name: 'Unit', lines: [{ ...line, source }] }] }),
      {
        code: 'ERR_UNIT_TEXT',
      },
    );
  for (const hidden of ['A=b', '[Service]', '# x\nA=b', 'junk\\', '# x\rA=b'])
    assert.throws(() => renderUnit({ head: [{ kind: 'other', text: hidden }], sections: [] }), {
      code: 'ERR_UNIT_TEXT',
    });
});

test('a comment for a unit cannot hold a line that is none', () => {
  assert.throws(() => renderUnit(unitFile('a\rUser=root', [])), { code: 'ERR_UNIT_TEXT' });
  assert.equal(renderUnit(unitFile('a\nb', [])), '# a\n# b\n');
});

test('a line of a mebibyte is refused, since systemd refuses the unit', () => {
  const fits = 'x'.repeat(1024 * 1024 - 1 - 'A='.length);
  const unitWith = (v: string) => unitFile('', [section('Unit', [['A', v]])]);
  assert.equal(renderUnit(unitWith(fits)).length, '[Unit]\n'.length + 1024 * 1024);
  assert.throws(() => renderUnit(unitWith(`${fits}x`)), { code: 'ERR_UNIT_TEXT' });
});
