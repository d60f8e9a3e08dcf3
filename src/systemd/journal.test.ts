import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { bytesOf, type JournalEntry, journalCommand } from './journal.ts';
import { ExportParser } from './journal-export.ts';

/** As journalctl writes it: text where it may, bytes with their length where it must. */
function written(entry: Record<string, Buffer>): Buffer {
  const lines = Object.entries(entry).map(([name, value]) => {
    if (!value.includes(0x0a) && value.length % 2 === 0)
      return Buffer.concat([Buffer.from(`${name}=`), value, Buffer.from('\n')]);
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(value.length));
    return Buffer.concat([Buffer.from(`${name}\n`), size, value, Buffer.from('\n')]);
  });
  return Buffer.concat([...lines, Buffer.from('\n')]);
}

const value = fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes));
const text = fc
  .array(fc.constantFrom('\n', '=', 'a', '\0'), { maxLength: 12 })
  .map(parts => Buffer.from(parts.join('')));
const entry = fc.dictionary(fc.stringMatching(/^[A-Z_]{1,12}$/), fc.oneof(value, text), {
  minKeys: 1,
  noNullPrototype: true,
});

test('entries come out as they went in, wherever the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(entry, { maxLength: 5 }),
      fc.array(fc.nat(400), { maxLength: 8 }),
      (entries, cuts) => {
        const bytes = Buffer.concat(entries.map(written));
        const parser = new ExportParser();
        const found = [];
        let at = 0;
        for (const cut of [...cuts.filter(c => c < bytes.length).sort((a, b) => a - b), bytes.length]) {
          found.push(...parser.push(bytes.subarray(at, cut)));
          at = cut;
        }
        assert.deepEqual(
          found.map(fields => Object.fromEntries(fields)),
          entries,
        );
      },
    ),
    { numRuns: 500 },
  );
});

test('a field whose length is absurd is refused instead of buffered', () => {
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(1n << 62n);
  assert.throws(() => new ExportParser().push(Buffer.concat([Buffer.from('MESSAGE\n'), size])), {
    code: 'ERR_JOURNAL',
  });
});

const line = (message: string, ending: JournalEntry['ending'] = '\n'): JournalEntry => ({
  cursor: 's=1',
  timestamp: 1,
  unit: 'a.service',
  invocation: '',
  stream: 'stdout',
  message: Buffer.from(message),
  partial: ending === '',
  ending,
});

test('the bytes of a line have its newline, whether or not it is in the message', () => {
  assert.equal(bytesOf(line('a\n')).toString(), 'a\n');
  assert.equal(bytesOf(line('a')).toString(), 'a\n');
  assert.equal(bytesOf(line('')).toString(), '\n');
  assert.equal(bytesOf(line('a', '')).toString(), 'a');
  assert.equal(bytesOf(line('a', '\0')).toString(), 'a\0');
});

test('a query names its unit by the field that only journald writes', () => {
  const command = journalCommand({
    of: { kind: 'unit', unit: 'web.service', invocation: 'f'.repeat(32) },
    stream: 'stderr',
    follow: true,
    tail: 10,
    since: 1_700_000_000_000_005,
    namespace: 'spawnlet',
    afterCursor: 's=1;i=2',
  });
  for (const word of [
    '_SYSTEMD_UNIT=web.service',
    `_SYSTEMD_INVOCATION_ID=${'f'.repeat(32)}`,
    'PRIORITY=3',
    '--follow',
    '--lines=10',
    '--since=@1700000000.000005',
    '--namespace=spawnlet',
    '--after-cursor=s=1;i=2',
  ])
    assert.ok(command.includes(word), word);
  const container = journalCommand({
    of: { kind: 'container', name: 'web', invocation: 'abc' },
    follow: true,
  });
  assert.deepEqual(container.slice(-2), ['CONTAINER_NAME=web', 'CONTAINER_ID_FULL=abc']);
  assert.ok(container.includes('--no-tail'));
});
