import assert from 'node:assert/strict';
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:http2';
import { test } from 'node:test';
import { deadPort, httpServer, type Listening, listening, silentServer } from './fake-servers.ts';
import { askGrpc } from './grpc.ts';
import { healthRequest } from './health-message.ts';

const { signal } = new AbortController();

interface Call {
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A gRPC server that answers each call as `reply` does. */
const grpcServer = (reply: (stream: ServerHttp2Stream, call: Call) => void): Promise<Listening> =>
  listening(
    createServer().on('stream', (stream, headers) => {
      const chunks: Buffer[] = [];
      stream.on('error', () => undefined);
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => reply(stream, { headers, body: Buffer.concat(chunks) }));
    }),
  );

/** As gRPC's servers answer: headers, a message, and the status in trailers. */
function answer(
  stream: ServerHttp2Stream,
  message: number[],
  trailers: OutgoingHttpHeaders = { 'grpc-status': '0' },
) {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  stream.end(Buffer.from([0, 0, 0, 0, message.length, ...message]));
}

const ask = (port: number, service = '') =>
  askGrpc({ kind: 'grpc', host: '127.0.0.1', port, service }, signal);

test('a server that serves is healthy, and was asked as gRPC asks', async () => {
  const calls: Call[] = [];
  await using server = await grpcServer((stream, call) => {
    calls.push(call);
    answer(stream, [0x08, 1]);
  });
  assert.deepEqual(await ask(server.port, 'shop'), { kind: 'success', output: 'service healthy' });
  const [call] = calls;
  assert.ok(call);
  const { headers, body } = call;
  assert.deepEqual(
    [headers[':method'], headers[':path'], headers['content-type'], headers.te, headers['user-agent']],
    ['POST', '/grpc.health.v1.Health/Check', 'application/grpc', 'trailers', 'kube-probe/1.36'],
  );
  assert.deepEqual(body, healthRequest('shop'));
});

test('one that does not serve is not', async () => {
  await using server = await grpcServer(stream => answer(stream, [0x08, 2]));
  assert.deepEqual(await ask(server.port), {
    kind: 'failure',
    output: 'service unhealthy (responded with "NOT_SERVING")',
  });
});

test('errors of gRPC are failures that say what they are, also without a message before them', async () => {
  const only = (stream: ServerHttp2Stream, trailers: OutgoingHttpHeaders) =>
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...trailers }, { endStream: true });
  await using server = await grpcServer((stream, { body }) => {
    const service = body.subarray(7).toString();
    if (service === 'unknown') only(stream, { 'grpc-status': '5', 'grpc-message': 'unknown service%21' });
    else if (service === 'none') only(stream, { 'grpc-status': '12', 'grpc-message': '100%' });
    else if (service === 'garbage') answer(stream, [0x08]);
    else stream.respond({ ':status': 404 }, { endStream: true });
  });
  const output = async (service: string) => {
    const { kind, output } = await ask(server.port, service);
    assert.equal(kind, 'failure');
    return output;
  };
  assert.match(await output('unknown'), /code 5: unknown service!/);
  assert.match(await output('none'), /does not implement the grpc health protocol .*: 100%/);
  assert.match(await output('garbage'), /cannot be read/);
  assert.match(await output('web'), /HTTP status 404, no gRPC status/);
});

test('whoever does not speak HTTP/2, or is not there, has failed', async () => {
  const dead = await deadPort();
  const refused = await ask(dead);
  assert.equal(refused.kind, 'failure');
  assert.match(
    refused.output,
    new RegExp(`failed to connect service at "127.0.0.1:${dead}": .*ECONNREFUSED`),
  );
  await using plain = await httpServer((_request, response) => response.end());
  assert.equal((await ask(plain.port)).kind, 'failure');
});

test('a call that is given up leaves nothing open', async () => {
  await using silent = await silentServer();
  const abort = new AbortController();
  const asked = askGrpc({ kind: 'grpc', host: '127.0.0.1', port: silent.port, service: '' }, abort.signal);
  const reason = new Error('enough');
  abort.abort(reason);
  await assert.rejects(asked, reason);
});
