// runs in a lab: bookworm trixie
/** The journal's reader against a live journald. Runs as root where systemd is PID 1. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import * as fc from 'fast-check';
import { type Children, systemChildren } from '../../src/host/child.ts';
import { SystemdClient } from '../../src/systemd/client.ts';
import { execLine } from '../../src/systemd/escape.ts';
import { bytesOf, type JournalEntry, type JournalQuery, readJournal } from '../../src/systemd/journal.ts';
import { syncJournal } from '../../src/systemd/journal-sync.ts';

const signal = AbortSignal.timeout(600_000);
const prefix = `spawnlet-test-journal-${process.pid}`;
const written: string[] = [];
let client: SystemdClient;

before(async () => {
  client = await SystemdClient.connect({ signal });
});
after(async () => {
  for (const name of written) rmSync(`/run/systemd/system/${name}`);
  await client[Symbol.asyncDispose]();
});

function service(lines: string): string {
  const name = `${prefix}-${written.length}.service`;
  writeFileSync(
    `/run/systemd/system/${name}`,
    `[Service]\nLogRateLimitIntervalSec=0\nSyslogLevelPrefix=no\n${lines}\n`,
  );
  written.push(name);
  return name;
}

async function entries(query: JournalQuery): Promise<JournalEntry[]> {
  await syncJournal(query.namespace, signal);
  const found: JournalEntry[] = [];
  for await (const entry of readJournal(systemChildren, query, signal)) found.push(entry);
  return found;
}

const unit = (name: string, invocation?: string) =>
  ({ kind: 'unit', unit: name, ...(invocation !== undefined && { invocation }) }) as const;

/** A shell script that lives until the test lets it go, so that journald can tell whose its lines are. */
async function held(script: string): Promise<{ name: string; release: () => Promise<void> }> {
  const fifo = `/run/${prefix}-${written.length}.fifo`;
  const shell = execLine(['/bin/sh', '-c', `${script}; exec >&- 2>&-; read line < ${fifo}`]);
  const name = service(
    `Type=exec\nSyslogLevel=info\nExecStartPre=/usr/bin/mkfifo ${fifo}\nExecStart=${shell}\nExecStopPost=/bin/rm -f ${fifo}`,
  );
  await client.startUnit(name, 'replace', signal);
  const release = async () => {
    writeFileSync(fifo, '\n');
    await client.stopUnit(name, 'replace', signal);
  };
  return { name, release };
}

/** Follows a unit until `enough` of what it has said. */
async function followed(
  query: JournalQuery,
  enough: (found: readonly JournalEntry[]) => boolean,
): Promise<JournalEntry[]> {
  const found: JournalEntry[] = [];
  for await (const entry of readJournal(systemChildren, { ...query, follow: true }, signal)) {
    found.push(entry);
    if (enough(found)) break;
  }
  return found;
}

const joined = (found: readonly JournalEntry[]) => Buffer.concat(found.map(bytesOf)).toString();

const texts = (found: readonly JournalEntry[]) => found.map(entry => bytesOf(entry).toString());

/** Sends messages as conmon does: natively, with fields and bytes of its own. */
const sender = (messages: readonly (readonly [fields: string, message: Buffer])[]) => {
  const chunks = messages.map(([fields, message]) => {
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(message.length));
    return Buffer.concat([Buffer.from(`${fields}MESSAGE\n`), size, message, Buffer.from('\n')]).toString(
      'hex',
    );
  });
  // Node cannot send datagrams to a unix socket; Debian's base has Perl.
  const program = `use Socket; socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die;
    for (qw(${chunks.join(' ')})) { send($s, pack('H*', $_), 0, sockaddr_un('/run/systemd/journal/socket')) or die "$!" }`;
  return execLine(['/usr/bin/perl', '-e', program]);
};

test('what a unit prints is read by stream, run and unit', async () => {
  const one = await held('echo one; echo two');
  const first = await client.unitProperty(one.name, 'InvocationID', signal);
  const found = await followed({ of: unit(one.name, first) }, all => all.length === 2);
  assert.deepEqual(texts(found), ['one\n', 'two\n']);
  assert.ok(
    found.every(entry => entry.unit === one.name && entry.stream === 'stdout' && entry.invocation === first),
  );
  await one.release();
  await client.startUnit(one.name, 'replace', signal);
  const second = await client.unitProperty(one.name, 'InvocationID', signal);
  assert.notEqual(first, second);
  await followed({ of: unit(one.name, second) }, all => all.length === 2);
  await one.release();
  assert.equal((await entries({ of: unit(one.name) })).length, 4);
  assert.deepEqual(await entries({ of: unit(one.name), stream: 'stderr' }), []);
  assert.deepEqual(await entries({ of: unit('nobody.service') }), []);
});

test('random bytes logged as conmon logs them come back byte for byte, in order, with their stream', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          bytes: fc.uint8Array({ maxLength: 200 }),
          stream: fc.constantFrom('stdout' as const, 'stderr' as const),
          partial: fc.boolean(),
        }),
        { minLength: 1, maxLength: 12 },
      ),
      async lines => {
        const run = randomBytes(16).toString('hex');
        const messages = lines.map(({ bytes, stream, partial }) => {
          const text = Buffer.from(Buffer.from(bytes).map(byte => (byte === 0x0a ? 0x20 : byte)));
          const fields = `CONTAINER_NAME=${prefix}\nCONTAINER_ID_FULL=${run}\nPRIORITY=${stream === 'stderr' ? 3 : 6}\n`;
          return partial
            ? ([`${fields}CONTAINER_PARTIAL_MESSAGE=true\n`, text] as const)
            : ([fields, Buffer.concat([text, Buffer.from('\n')])] as const);
        });
        const name = service(`Type=oneshot\nExecStart=${sender(messages)}`);
        await client.startUnit(name, 'replace', signal);
        const of = { kind: 'container', name: prefix, invocation: run } as const;
        const found = await entries({ of });
        assert.deepEqual(
          found.map(entry => [bytesOf(entry).toString('hex'), entry.stream, entry.partial]),
          messages.map(([, message], at) => [message.toString('hex'), lines[at]?.stream, lines[at]?.partial]),
        );
        assert.ok(found.every(entry => entry.invocation === run));
        const errors = await entries({ of, stream: 'stderr' });
        assert.equal(errors.length, lines.filter(line => line.stream === 'stderr').length);
      },
    ),
    { numRuns: 15 },
  );
});

test('a message of a megabyte is whole', async () => {
  const one = await held(`perl -e 'print "x" x 1000000, "\\n"'`);
  const found = await followed({ of: unit(one.name) }, all => joined(all).length > 1_000_000);
  assert.equal(joined(found), `${'x'.repeat(1_000_000)}\n`);
  assert.ok(found.length > 1, 'journald cuts it, and the pieces join');
  await one.release();
});

test('a last line without a newline is told from one with it', async () => {
  for (const [script, output] of [
    ['printf "a\\nb"', 'a\nb'],
    ['printf "a\\nb\\n"', 'a\nb\n'],
    ['printf "nul\\000in\\n"', 'nul\0in\n'],
  ] as const) {
    const one = await held(script);
    const found = await followed({ of: unit(one.name) }, all => all.length === 2);
    assert.equal(joined(found), output);
    await one.release();
  }
});

test('a reader goes on after a cursor, takes the last lines, and keeps to a span of time', async () => {
  const one = await held('for i in 1 2 3 4 5; do echo $i; done');
  const of = unit(one.name);
  const all = await followed({ of }, found => found.length === 5);
  await one.release();
  assert.deepEqual(texts(await entries({ of, tail: 2 })), ['4\n', '5\n']);
  assert.deepEqual(texts(await entries({ of, tail: 0 })), []);
  const [, second, third] = all;
  assert.ok(second && third);
  assert.deepEqual(texts(await entries({ of, afterCursor: second.cursor })), ['3\n', '4\n', '5\n']);
  const since = await entries({ of, since: third.timestamp });
  assert.ok(since.every(entry => entry.timestamp >= third.timestamp) && since.length >= 3);
  assert.deepEqual(await entries({ of, until: 1_000_000 }), []);
});

test('a follower gets what comes, and leaves no journalctl behind', async () => {
  const started: number[] = [];
  const children: Children = {
    ...systemChildren,
    spawn: (argv, options) => {
      const child = systemChildren.spawn(argv, options);
      started.push(child.pid ?? 0);
      return child;
    },
  };
  const fifo = `/run/${prefix}.fifo`;
  const name = service(
    `Type=exec\nExecStartPre=/usr/bin/mkfifo ${fifo}\nExecStart=${execLine(['/bin/sh', '-c', `echo ready; cat <>${fifo}`])}\nExecStopPost=/bin/rm -f ${fifo}`,
  );
  await client.startUnit(name, 'replace', signal);
  const seen: string[] = [];
  for await (const entry of readJournal(children, { of: unit(name), follow: true }, signal)) {
    seen.push(bytesOf(entry).toString());
    if (seen.length === 3) break;
    writeFileSync(fifo, `line ${seen.length}\n`);
  }
  assert.deepEqual(seen, ['ready\n', 'line 1\n', 'line 2\n']);
  const abort = new AbortController();
  const following = readJournal(children, { of: unit(name), follow: true, tail: 1 }, abort.signal);
  assert.equal((await following.next()).done, false);
  abort.abort(new Error('enough'));
  await assert.rejects(following.next(), { message: 'enough' });
  await client.stopUnit(name, 'replace', signal);
  assert.equal(started.length, 2);
  for (const pid of started) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});

test('a journal namespace is read apart from the host, and one that is not there is empty', async () => {
  const namespace = `sltest${process.pid}`;
  const name = service(`Type=oneshot\nLogNamespace=${namespace}\nExecStart=/bin/echo apart`);
  await client.runUnit(name, 'replace', signal);
  assert.deepEqual(texts(await entries({ of: unit(name), namespace })), ['apart\n']);
  assert.deepEqual(await entries({ of: unit(name) }), []);
  assert.deepEqual(await entries({ of: unit(name), namespace: 'nonexistent' }), []);
  await client.stopUnit(`systemd-journald@${namespace}.service`, 'replace', signal);
});

test('a cursor that is none is an error that says so', async () => {
  await assert.rejects(entries({ of: unit('a.service'), afterCursor: 'nonsense' }), { code: 'ERR_JOURNAL' });
});

test('a journald that is too busy to answer does not keep its journal from being read', async () => {
  const directory = '/run/systemd/journal.busy';
  await mkdir(directory, { recursive: true });
  const server = createServer(() => undefined).listen(`${directory}/io.systemd.journal`);
  await once(server, 'listening');
  await syncJournal('busy', signal);
  const abort = new AbortController();
  const waiting = syncJournal('busy', abort.signal);
  abort.abort(new Error('the caller has no time'));
  await assert.rejects(waiting, /no time/);
  server.close();
  await rm(directory, { recursive: true });
});
