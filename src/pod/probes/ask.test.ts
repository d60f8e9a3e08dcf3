import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, systemClock } from '../../host/clock.ts';
import { askProbe, type ProbeTools } from './ask.ts';
import type { ExecInContainer } from './exec.ts';
import { deadPort, silentServer } from './fake-servers.ts';
import type { Handler } from './handler.ts';

const { signal } = new AbortController();

const noExec: ExecInContainer = () => Promise.reject(new Error('nothing is run here'));
const tools = (exec: ExecInContainer = noExec): ProbeTools => ({ clock: systemClock, exec });
const exec: Handler = { kind: 'exec', command: ['check'] };

test('a command succeeds with exit code 0, and what it said is kept up to 10 kB', async () => {
  const ended = (exitCode: number, output: string) =>
    askProbe(
      exec,
      {},
      tools(async () => ({ exitCode, output: Buffer.from(output) })),
      signal,
    );
  assert.deepEqual(await ended(0, 'fine'), { kind: 'success', output: 'fine' });
  assert.deepEqual(await ended(1, 'not fine'), { kind: 'failure', output: 'not fine' });
  assert.equal((await ended(1, 'x'.repeat(20_000))).output.length, 10 * 1024);
});

test('a command that could not be run is tried three times, and says nothing of the container', async () => {
  let count = 0;
  const broken = tools(() => Promise.reject(new Error(`no ${++count}`)));
  assert.deepEqual(await askProbe(exec, {}, broken, signal), { kind: 'error', output: 'no 3' });
  count = 0;
  const mended = tools(async () => {
    if (++count < 3) throw new Error('no');
    return { exitCode: 0, output: Buffer.alloc(0) };
  });
  assert.equal((await askProbe(exec, {}, mended, signal)).kind, 'success');
});

test('a port takes connections or does not', async () => {
  await using server = await silentServer();
  const at = (port: number) => askProbe({ kind: 'tcpSocket', host: '127.0.0.1', port }, {}, tools(), signal);
  assert.deepEqual(await at(server.port), { kind: 'success', output: '' });
  const refused = await at(await deadPort());
  assert.equal(refused.kind, 'failure');
  assert.match(refused.output, /ECONNREFUSED/);
});

test('no answer within the timeout is a failure, and the work is told to end', async () => {
  const clock = new FakeClock();
  await using server = await silentServer();
  const { port } = server;
  const signals: AbortSignal[] = [];
  const slow: ExecInContainer = (_command, own) => {
    signals.push(own);
    return new Promise(() => undefined);
  };
  const handlers: Handler[] = [
    exec,
    { kind: 'httpGet', scheme: 'http', host: '127.0.0.1', port, path: '/', headers: [] },
    { kind: 'httpGet', scheme: 'https', host: '127.0.0.1', port, path: '/', headers: [] },
    { kind: 'grpc', host: '127.0.0.1', port, service: '' },
  ];
  for (const handler of handlers) {
    const asked = askProbe(handler, { timeoutSeconds: 3 }, { clock, exec: slow }, signal);
    clock.advance(3000);
    assert.deepEqual(await asked, { kind: 'failure', output: 'no answer within 3s (timeout)' }, handler.kind);
  }
  assert.deepEqual(
    signals.map(({ aborted }) => aborted),
    [true],
  );
});

test('a timeout that is not set is one second', async () => {
  const clock = new FakeClock();
  const asked = askProbe(exec, {}, { clock, exec: () => new Promise(() => undefined) }, signal);
  clock.advance(1000);
  assert.equal((await asked).kind, 'failure');
});

test('a probe that is given up ends with the reason of its signal', async () => {
  await using server = await silentServer();
  const { port } = server;
  const hanging: ExecInContainer = (_command, own) =>
    new Promise((_resolve, reject) => {
      own.addEventListener('abort', () => reject(own.reason));
    });
  for (const handler of [
    exec,
    { kind: 'httpGet', scheme: 'http', host: '127.0.0.1', port, path: '/', headers: [] },
    { kind: 'grpc', host: '127.0.0.1', port, service: '' },
  ] satisfies Handler[]) {
    const abort = new AbortController();
    const reason = new Error('the container has ended');
    const asked = askProbe(handler, {}, tools(hanging), abort.signal);
    abort.abort(reason);
    await assert.rejects(asked, error => error === reason, handler.kind);
  }
});

test('what cannot be asked is an error, not a failure', async () => {
  assert.deepEqual(await askProbe({ kind: 'invalid', message: 'port x not found' }, {}, tools(), signal), {
    kind: 'error',
    output: 'port x not found',
  });
});
