import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseManifest, plainValue } from './manifest.ts';
import { isWithin, pathText } from './path.ts';

const pod = (name: string) => `apiVersion: v1
kind: Pod
metadata: { name: ${name} }
spec:
  # the only one
  containers:
  - name: main
    image: nginx
`;

test('a file has documents, each with its kind, its text and its lines', async () => {
  const source = `# for the web\n---\n${pod('a')}---\n# nothing\n---\n${pod('b')}`;
  const documents = await parseManifest(source, '/etc/web.yaml');
  assert.deepEqual(
    documents.map(({ file, apiVersion, kind, faults }) => [file, apiVersion, kind, faults]),
    [1, 2].map(() => ['/etc/web.yaml', 'v1', 'Pod', []]),
  );
  assert.deepEqual(
    documents.map(({ text }) => text),
    [`# for the web\n---\n${pod('a')}`, pod('b')],
  );
  const image = ['spec', 'containers', 0, 'image'];
  assert.deepEqual(
    documents.map(each => [each.lineOf([]), each.lineOf(image), each.lineOf(['spec', 'containers', 3, 'x'])]),
    [
      [3, 10, 9],
      [14, 21, 20],
    ],
  );
});

test('JSON is read as well, with its lines', async () => {
  const [document] = await parseManifest(
    '{\n  "kind": "Pod",\n  "spec": {\n    "hostPID": true\n  }\n}\n',
    'x.json',
  );
  assert.equal(document?.kind, 'Pod');
  assert.equal(document?.lineOf(['spec', 'hostPID']), 4);
});

test('a document that cannot be read does not hide the others', async () => {
  const documents = await parseManifest(`${pod('a')}---\nkind: [\n---\nkind: a\nkind: b\n`, 'x');
  assert.equal(documents.length, 3);
  assert.deepEqual(documents[0]?.faults, []);
  assert.match(documents[1]?.faults[0]?.text ?? '', /is not YAML/);
  assert.deepEqual(documents[2]?.faults, [{ line: 13, path: '', text: 'has the key kind twice' }]);
});

test('a file of comments has no documents, and one that is too long is not read', async () => {
  assert.deepEqual(await parseManifest('# nothing\n---\n', 'x'), []);
  const [document] = await parseManifest(' '.repeat(8 * 1024 * 1024 + 1), 'x');
  assert.match(document?.faults[0]?.text ?? '', /is longer than 8 MiB/);
});

test('words without quotes are what Kubernetes takes them for', () => {
  for (const [word, value] of [
    ['0644', 0o644],
    ['0o644', 0o644],
    ['-010', -8],
    ['08', 8],
    ['0', 0],
    ['0x1F', 31],
    ['0b101', 5],
    ['1_000', 1000],
    ['+5', 5],
    ['1e3', 1000],
    ['.5', 0.5],
    ['1.', 1],
    ['yes', true],
    ['n', false],
    ['Off', false],
    ['~', null],
    ['', null],
    ['nginx', 'nginx'],
    ['_1', '_1'],
    ['1:30', '1:30'],
    ['2001-01-01', '2001-01-01'],
    ['1Gi', '1Gi'],
    ['0b12', '0b12'],
    ['0xyz', '0xyz'],
    ['-', '-'],
    ['+', '+'],
    ['.', '.'],
    ['1.2.3', '1.2.3'],
    ['yES', 'yES'],
    ['.nan', undefined],
    ['-.inf', undefined],
    ['9007199254740993', undefined],
  ] as const)
    assert.equal(plainValue(word), value, word);
});

test('quotes make a text of anything, and a number that no value holds is refused', async () => {
  const [document] = await parseManifest('a: "0644"\nb: !!str 5\n', 'x');
  const { root } = document ?? {};
  assert.ok(root?.kind === 'map');
  assert.deepEqual(root.entries.get('a'), { line: 1, kind: 'scalar', value: '0644' });
  assert.deepEqual(root.entries.get('b'), { line: 2, kind: 'scalar', value: '5' });
  const [wrong] = await parseManifest('a:\n  - 1\n  - .nan\n', 'x');
  assert.deepEqual(wrong?.faults, [
    { line: 3, path: '', text: 'has .nan, which is no value; in quotes it is a text' },
  ]);
});

test('no word is anything but a value', () => {
  const character = fc.constantFrom(...Array.from('0123456789+-._xXbBoOeEynfF'));
  fc.assert(
    fc.property(fc.string({ unit: character }), word => {
      const value = plainValue(word);
      assert.ok(value === undefined || value === null || !Number.isNaN(value), word);
    }),
    { numRuns: 1000 },
  );
});

test('places are written as Kubernetes writes them', () => {
  assert.equal(pathText(['spec', 'containers', 0, 'image']), 'spec.containers[0].image');
  assert.equal(
    pathText(['metadata', 'labels', 'app.kubernetes.io/name']),
    'metadata.labels[app.kubernetes.io/name]',
  );
  assert.equal(pathText([]), '');
  assert.equal(isWithin(['a', 0, 'b'], ['a', 0]), true);
  assert.equal(isWithin(['a'], ['a', 0]), false);
});
