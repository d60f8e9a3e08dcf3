import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Faults, type Node, parseYaml, tellFaults } from './yaml.ts';

/** What a node holds, as a value of JavaScript. */
function valueOf(node: Node): unknown {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(valueOf);
  return Object.fromEntries([...node.entries].map(([key, each]) => [key, valueOf(each)]));
}

async function valuesOf(source: string): Promise<unknown[]> {
  return (await parseYaml(source, { aliases: 'followed' })).map(document => valueOf(document.root()));
}

const refuses = (source: string, why: RegExp) => assert.rejects(valuesOf(source), why);

test('aliases, merges and tags of plain types are followed', async () => {
  assert.deepEqual(await valuesOf('a: &a { x: 1, y: [2] }\nb: *a\nc: { <<: *a, y: 3 }\nd: !!str 5\n'), [
    { a: { x: 1, y: [2] }, b: { x: 1, y: [2] }, c: { x: 1, y: 3 }, d: '5' },
  ]);
  assert.deepEqual(await valuesOf('a: &a { x: 1 }\nb: &b { y: 2 }\nc:\n  "<<": 1\n  <<: [*a, *b]\n'), [
    { a: { x: 1 }, b: { y: 2 }, c: { '<<': 1, x: 1, y: 2 } },
  ]);
});

test('a word that means another value is kept', async () => {
  const plain = (word: string) => (word === 'yes' ? true : word);
  const [document] = await parseYaml('[yes, no, "yes", 1]', { aliases: 'followed', plain });
  const root = document?.root();
  assert.deepEqual(root?.kind === 'list' && root.items, [
    { line: 1, kind: 'scalar', value: true, written: 'yes' },
    { line: 1, kind: 'scalar', value: 'no' },
    { line: 1, kind: 'scalar', value: 'yes' },
    { line: 1, kind: 'scalar', value: '1' },
  ]);
});

test('aliases cannot make a small text large, nor stand for what they are in', async () => {
  const bomb = [
    'a: &a [x,x,x,x,x,x,x,x,x,x]',
    ...Array.from(
      'bcdefghi',
      key =>
        `${key}: &${key} [${Array.from(
          { length: 10 },
          () => `*${String.fromCodePoint((key.codePointAt(0) ?? 0) - 1)}`,
        ).join(',')}]`,
    ),
  ];
  await refuses(bomb.join('\n'), /has more than 200000 values/);
  await refuses('a: &a [*a]', /has an alias, \*a, with no anchor before it/);
  await refuses('a: *b\nb: &b 1', /no anchor before it/);
  await refuses(`${'['.repeat(150)}${']'.repeat(150)}`, /is nested deeper than 100 levels|is not YAML/);
});

test('keys are texts, and each is there once', async () => {
  assert.deepEqual(await valuesOf('1: a\ntrue: b\n'), [{ 1: 'a', true: 'b' }]);
  await refuses('1: a\n"1": b\n', /has the key 1 twice/);
  await refuses('? [a]\n: b\n', /has a key that is no text/);
  await refuses('null: b\n', /has a key that is no text/);
  await refuses('a: { <<: 5 }', /has a << of something that is no mapping/);
  await refuses('a: !!binary aGk=', /has a tag, tag:yaml.org,2002:binary/);
});

test('each document has its own text, its lines count from the first of the file', async () => {
  const source = '# head\n---\na: 1 # x\n---\n# second\nb:\n  - 2\n...\n--- {c: 3}\n---\n---\nd: 4\n';
  const documents = await parseYaml(source, { aliases: 'followed' });
  assert.deepEqual(
    documents.map(({ text }) => text),
    ['# head\n---\na: 1 # x\n', '# second\nb:\n  - 2\n...\n', '--- {c: 3}\n', '', 'd: 4\n'],
  );
  const second = documents[1]?.root();
  assert.equal(second?.kind === 'map' && second.entries.get('b')?.line, 7);
  assert.deepEqual(await valuesOf('# nothing\n'), []);
  assert.deepEqual(await valuesOf('{"a": [1, null, "x"]}'), [{ a: [1, null, 'x'] }]);
});

test('many keys are read in the time of a few', async () => {
  const started = process.cpuUsage().user;
  await valuesOf(Array.from({ length: 20_000 }, (_, index) => `k${index}: v`).join('\n'));
  assert.ok(process.cpuUsage().user - started < 3_000_000);
});

test('faults are told in the order of the file, and not more than are wanted', () => {
  const faults = [3, 1, 2].map(line => ({ line, path: line === 1 ? '' : 'a.b', text: `is wrong ${line}` }));
  assert.equal(tellFaults(faults, 'x', 2), 'x:1: is wrong 1\n  x:2: a.b is wrong 2\n  and 1 more');
});

test('what is written as JSON is read as the same value', async () => {
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), async value => {
      const plain: unknown = JSON.parse(JSON.stringify(value));
      if (JSON.stringify(plain).includes('__proto__')) return;
      assert.deepEqual(await valuesOf(JSON.stringify(value)), [plain]);
    }),
  );
});

test('no text is anything but documents or faults', async () => {
  const fragment = fc.constantFrom(
    'a: ',
    '- ',
    '{',
    '}',
    '[',
    ']',
    '\n',
    '  ',
    '&a ',
    '*a',
    '!!x ',
    '<<: ',
    '---\n',
    '"',
    "'",
    '|\n',
    '?',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(fragment, fc.string({ maxLength: 4 }))), async parts => {
      for (const document of await parseYaml(parts.join(''), { aliases: 'followed' })) {
        try {
          document.root();
        } catch (error) {
          assert.ok(error instanceof Faults, String(error));
        }
      }
    }),
    { numRuns: 300 },
  );
});
