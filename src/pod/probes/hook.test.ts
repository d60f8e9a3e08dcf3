import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, systemClock } from '../../host/clock.ts';
import type { ProbeTools } from './ask.ts';
import { deadPort, httpServer, silentServer } from './fake-servers.ts';
import type { Handler } from './handler.ts';
import { runHook } from './hook.ts';

const { signal } = new AbortController();

const tools = (exitCode = 0): ProbeTools => ({
  clock: systemClock,
  exec: async () => ({ exitCode, output: Buffer.from('what it said') }),
});

const exec: Handler = { kind: 'exec', command: ['drain'] };
const get = (port: number, scheme: 'http' | 'https' = 'http'): Handler => ({
  kind: 'httpGet',
  scheme,
  host: '127.0.0.1',
  port,
  path: '/drain',
  headers: [['Authorization', 'Bearer x']],
});

test('a command is a hook that is done with exit code 0', async () => {
  assert.deepEqual(await runHook(exec, tools(), undefined, signal), { kind: 'done' });
  assert.deepEqual(await runHook(exec, tools(3), undefined, signal), {
    kind: 'failed',
    message: 'Exec lifecycle hook failed: command ended with 3: "what it said"',
  });
});

test('over HTTP any answer will do, and a server without TLS is asked without, and without credentials', async () => {
  const seen: (string | undefined)[] = [];
  await using server = await httpServer(({ headers }, response) => {
    seen.push(`${headers['user-agent']} ${headers.authorization}`);
    response.writeHead(500).end();
  });
  assert.deepEqual(await runHook(get(server.port), tools(), undefined, signal), { kind: 'done' });
  assert.deepEqual(await runHook(get(server.port, 'https'), tools(), undefined, signal), { kind: 'done' });
  assert.deepEqual(seen, ['kube-lifecycle/1.36 Bearer x', 'kube-lifecycle/1.36 undefined']);
  const refused = await runHook(get(await deadPort()), tools(), undefined, signal);
  assert.match(
    refused.kind === 'failed' ? refused.message : '',
    /^HTTP lifecycle hook failed: .*ECONNREFUSED/,
  );
});

test('a connection is a hook too', async () => {
  await using server = await silentServer();
  const at = (port: number) =>
    runHook({ kind: 'tcpSocket', host: '127.0.0.1', port }, tools(), undefined, signal);
  assert.deepEqual(await at(server.port), { kind: 'done' });
  assert.equal((await at(await deadPort())).kind, 'failed');
});

test('a hook sleeps by the clock, and no longer than it may', async () => {
  const clock = new FakeClock();
  const sleep: Handler = { kind: 'sleep', seconds: 5 };
  const run = (ms: number | undefined) => runHook(sleep, { ...tools(), clock }, ms, signal);
  const long = run(undefined);
  clock.advance(5000);
  assert.deepEqual(await long, { kind: 'done' });
  const cut = run(2000);
  clock.advance(2000);
  assert.deepEqual(await cut, {
    kind: 'failed',
    message: 'Sleep lifecycle hook failed: it was not done within 2s',
  });
});

test('a hook that is given up ends with the reason of its signal', async () => {
  const abort = new AbortController();
  const hook = runHook(
    { kind: 'sleep', seconds: 5 },
    { ...tools(), clock: new FakeClock() },
    60_000,
    abort.signal,
  );
  const reason = new Error('enough');
  abort.abort(reason);
  await assert.rejects(hook, reason);
});
