import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  bindWord,
  checkUnitName,
  description,
  environmentWord,
  escapeName,
  escapePath,
  execArgument,
  execLine,
  jsonText,
  maxArgument,
  pathWord,
  plainPath,
  plainText,
  unescapeName,
} from './escape.ts';
import { parseUnit, renderUnit, section, unitFile } from './unit-file.ts';

const refused = { name: 'SpawnletError', code: 'ERR_UNIT_VALUE' };
const anyText = fc.string({ unit: 'binary', maxLength: 40 });

test('an argument is written as plainly as it can be', () => {
  const rows: [string, string][] = [
    ['plain-word_1.2/x', 'plain-word_1.2/x'],
    ['', '""'],
    ['two words', '"two words"'],
    ['a"b', '"a\\"b"'],
    ["it's", '"it\'s"'],
    ['a\\b', '"a\\\\b"'],
    ['line\nbreak\ttab\rreturn', '"line\\nbreak\\ttab\\rreturn"'],
    ['\u0001\u007f', '"\\x01\\x7f"'],
    ['$HOME ${X}', '"$$HOME $${X}"'],
    ['100%', '100%%'],
    [';', '";"'],
    ['-@+!:', '"-@+!:"'],
    ['ü€😀', '"ü€😀"'],
  ];
  for (const [argument, written] of rows) assert.equal(execArgument(argument), written);
});

test('a command line begins with an absolute program', () => {
  assert.equal(execLine(['/bin/sh', '-c', 'echo $0; exit']), '/bin/sh -c "echo $$0; exit"');
  assert.equal(execLine(['/bin/true'], '-'), '-/bin/true');
  assert.equal(execLine(['/opt/my app/run', 'x'], '-'), '"-/opt/my app/run" x');
  assert.equal(execLine(['/opt/a$b/run']), '@/opt/a$b/run /opt/a$$b/run');
  for (const program of ['true', '', '-/bin/true', '/a"b', "/a'b", '/a\\b', '/a\nb', '/bin/', '/a/../b'])
    assert.throws(() => execLine([program]), refused);
});

test('what no setting can hold is refused', () => {
  for (const bad of ['a\0b', 'a\ud800', 'a\ufffe', 'a\u{1ffff}', Buffer.from([0x61, 0xff])])
    for (const escape of [execArgument, (v: string | Uint8Array) => environmentWord('A', v)])
      assert.throws(() => escape(bad), refused);
});

test('an argument as long as the kernel takes is written, a longer one refused', () => {
  assert.equal(execArgument('x'.repeat(maxArgument)).length, maxArgument);
  assert.throws(() => execArgument('x'.repeat(maxArgument + 1)), refused);
  assert.throws(() => environmentWord('A', 'x'.repeat(maxArgument - 1)), refused);
});

test('a command line that grows beyond what systemd reads in a line is refused', () => {
  const argument = '\u0001'.repeat(100_000);
  assert.ok(execLine(['/bin/true', argument, argument]).length > 800_000);
  assert.throws(() => execLine(['/bin/true', argument, argument, argument]), refused);
});

test('environment names that systemd would drop are refused', () => {
  assert.equal(environmentWord('PATH', '/bin:$HOME %h'), '"PATH=/bin:$HOME %%h"');
  for (const name of ['', '1A', 'A.B', 'A B', 'A=B', 'A-B', 'Ä', 'A\n'])
    assert.throws(() => environmentWord(name, ''), refused);
});

test('paths are quoted where a setting takes several, and bare where it takes one', () => {
  assert.equal(pathWord('/var/lib/x'), '/var/lib/x');
  assert.equal(pathWord('/a b:c"\\%'), '"/a b:c\\"\\\\%%"');
  assert.equal(bindWord('/a:b', '/c', 'norbind'), '"/a:b":/c:norbind');
  assert.equal(plainPath('/a b:c"%'), '/a b:c"%%');
  for (const path of ['a', '', '/a/../b', '/a\nb', `/${'x'.repeat(4096)}`, '/a\0']) {
    assert.throws(() => pathWord(path), refused);
    assert.throws(() => plainPath(path), refused);
  }
  for (const path of ['/a ', '/a\\']) assert.throws(() => plainPath(path), refused);
});

test('a description is one line for people, whatever it was', () => {
  assert.equal(description('  web\nUser=root\u0007 100% \\\\ '), 'web User=root 100%%');
  assert.equal(description('x'.repeat(300)).length, 200);
  fc.assert(fc.property(anyText, text => assertOneLine(description(text))));
});

test('JSON is one line that reads back', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.string({ unit: 'binary' }), (value, extra) => {
      const text = jsonText([value, extra]);
      assertOneLine(text);
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify([value, extra])));
    }),
  );
});

test('every escaped value is one assignment of a unit', () => {
  const escapes: ((text: string) => string)[] = [
    execArgument,
    text => execLine(['/bin/true', text, text]),
    text => environmentWord('A', text),
    text => plainText('it', text),
    text => plainPath(`/${text}`),
    text => pathWord(`/${text}`),
    description,
    jsonText,
    escapeName,
  ];
  fc.assert(
    fc.property(anyText, fc.constantFrom(...escapes), (text, escape) => {
      let value: string;
      try {
        value = escape(text);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ERR_UNIT_VALUE');
        return;
      }
      assertOneLine(value);
    }),
    { numRuns: 2000 },
  );
});

function assertOneLine(value: string): void {
  const model = unitFile('', [
    section('Service', [
      ['A', value],
      ['B', 'c'],
    ]),
  ]);
  assert.deepEqual(parseUnit(renderUnit(model)), model);
}

test('names are escaped as systemd-escape does', () => {
  const rows: [string, string][] = [
    ['a/b', 'a-b'],
    ['.dot.dot', '\\x2edot.dot'],
    ['a-b\\c@d', 'a\\x2db\\x5cc\\x40d'],
    ['ü x', '\\xc3\\xbc\\x20x'],
    ['a:b_c', 'a:b_c'],
  ];
  for (const [text, name] of rows) {
    assert.equal(escapeName(text), name);
    assert.equal(unescapeName(name), text);
  }
  assert.equal(escapePath('/'), '-');
  assert.equal(escapePath('//var//lib/./my-app/'), 'var-lib-my\\x2dapp');
  assert.equal(escapePath('/.hidden'), '\\x2ehidden');
});

test('an escaped name makes a name of a unit', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 15 }), text => {
      fc.pre(text.isWellFormed() && !/\0|\p{Noncharacter_Code_Point}/u.test(text));
      const name = escapeName(text);
      assert.equal(unescapeName(name), text);
      checkUnitName(`${name}.service`);
    }),
  );
  for (const bad of [
    '',
    'a',
    'a.b',
    '../x.service',
    'a b.service',
    'a\n.service',
    '@a.service',
    `${'x'.repeat(250)}.service`,
  ])
    assert.throws(() => checkUnitName(bad), { code: 'ERR_UNIT_NAME' });
});
