import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeCertificate } from '../../../test/harness/certificate.ts';
import { deadPort, httpServer, listening } from './fake-servers.ts';
import type { HttpHandler } from './handler.ts';
import { askHttp } from './http.ts';

const { signal } = new AbortController();

const get = (port: number, rest: Partial<HttpHandler> = {}): HttpHandler => ({
  kind: 'httpGet',
  scheme: 'http',
  host: '127.0.0.1',
  port,
  path: '/',
  headers: [],
  ...rest,
});

test('a status from 200 to 299 is success with its body, from 300 a warning, from 400 failure without it', async () => {
  await using server = await httpServer((request, response) => {
    response.writeHead(Number(request.url?.slice(1))).end('secret');
  });
  const at = (status: number) => askHttp(get(server.port, { path: `/${status}` }), signal);
  assert.deepEqual(await at(200), { kind: 'success', output: 'secret' });
  assert.deepEqual(await at(299), { kind: 'success', output: 'secret' });
  assert.deepEqual(await at(399), {
    kind: 'warning',
    output: 'Probe terminated redirects, Response body: secret',
  });
  for (const status of [400, 404, 500, 503])
    assert.deepEqual(await at(status), {
      kind: 'failure',
      output: `HTTP probe failed with statuscode: ${status}`,
    });
});

/** Asks once and gives what the server was asked. */
async function asked(rest: Partial<HttpHandler>): Promise<Pick<IncomingMessage, 'url' | 'rawHeaders'>> {
  const requests: IncomingMessage[] = [];
  await using server = await httpServer((request, response) => {
    requests.push(request);
    response.end();
  });
  assert.equal((await askHttp(get(server.port, rest), signal)).kind, 'success');
  const [request] = requests;
  assert.ok(request && requests.length === 1);
  const rawHeaders = request.rawHeaders.map(text => text.replace(`:${server.port}`, ':PORT'));
  return { url: request.url ?? '', rawHeaders };
}

test('a probe introduces itself as the kubelet’s does, and keeps no connection', async () => {
  const { url, rawHeaders } = await asked({});
  assert.equal(url, '/');
  const ours = [
    'Host',
    '127.0.0.1:PORT',
    'User-Agent',
    'kube-probe/1.36',
    'Accept',
    '*/*',
    'Connection',
    'close',
  ];
  assert.deepEqual(rawHeaders, ours);
});

test('headers of the spec are sent as they are, twice if they are there twice, and stand for a probe’s own', async () => {
  const { rawHeaders } = await asked({
    headers: [
      ['X-One', '1'],
      ['x-one', '2'],
      ['host', 'shop.test'],
      ['user-agent', 'mine'],
      ['Accept', ''],
    ],
  });
  const sent = ['Host', 'shop.test', 'X-One', '1', 'x-one', '2', 'user-agent', 'mine', 'Connection', 'close'];
  assert.deepEqual(rawHeaders, sent);
});

test('a path is sent as the spec has it, fit for a request line', async () => {
  const table = [
    ['/a/../b?x=1&y=%20', '/a/../b?x=1&y=%20'],
    ['healthz', '/healthz'],
    ['', '/'],
    ['/a#part', '/a'],
    ['/ü b', '/%C3%BC%20b'],
    ['/a\r\nX-Evil: 1', '/a%0D%0AX-Evil:%201'],
  ] as const;
  for (const [path, url] of table) assert.equal((await asked({ path })).url, url);
});

test('a header that HTTP does not allow is a failure, and nothing is sent', async () => {
  const answer = await askHttp(get(await deadPort(), { headers: [['X', 'a\r\nY: b']] }), signal);
  assert.equal(answer.kind, 'failure');
  assert.match(answer.output, /Invalid character in header/);
});

test('redirects on the same host are followed, elsewhere they end the probe well', async () => {
  const seen: string[] = [];
  await using server = await httpServer((request, response) => {
    seen.push(`${request.headers.host?.split(':')[0]} ${request.url}`);
    const to = (location: string) => response.writeHead(302, { location }).end('moved');
    if (request.url === '/') to('/next?a=1');
    else if (request.url === '/next?a=1') to(`http://127.0.0.1:${server.port}/bad`);
    else if (request.url === '/away') to('http://other.test/');
    else if (request.url === '/nowhere') response.writeHead(302).end('moved');
    else if (request.url === '/loop') to('/loop');
    else response.writeHead(500).end();
  });
  const at = (path: string, headers: HttpHandler['headers'] = []) =>
    askHttp(get(server.port, { path, headers }), signal);
  assert.equal((await at('/', [['Host', 'shop.test']])).output, 'HTTP probe failed with statuscode: 500');
  // A host that the spec names goes along, but not to an address that is written out.
  assert.deepEqual(seen, ['shop.test /', 'shop.test /next?a=1', '127.0.0.1 /bad']);
  const moved = { kind: 'warning', output: 'Probe terminated redirects, Response body: moved' };
  assert.deepEqual(await at('/away'), moved);
  assert.deepEqual(await at('/nowhere'), moved);
  const loop = await at('/loop');
  assert.equal(loop.kind, 'failure');
  assert.match(loop.output, /stopped after 10 redirects/);
  assert.equal(seen.filter(each => each.endsWith('/loop')).length, 10);
});

test('https is asked whoever has signed the certificate', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'probe-'));
  try {
    const { key, certificate } = makeCertificate(directory);
    const options = { key: readFileSync(key), cert: readFileSync(certificate) };
    await using server = await listening(
      createHttpsServer(options, (_request, response) => response.end('safe')),
    );
    assert.deepEqual(await askHttp(get(server.port, { scheme: 'https' }), signal), {
      kind: 'success',
      output: 'safe',
    });
    // Another host than the one of the certificate, too.
    const named = get(server.port, { scheme: 'https', headers: [['Host', 'shop.test']] });
    assert.equal((await askHttp(named, signal)).kind, 'success');
    assert.equal((await askHttp(get(server.port), signal)).kind, 'failure');
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('of a body 10 kB are kept, and the rest is not waited for', async () => {
  await using server = await httpServer((_request, response) => {
    response.write('x'.repeat(20_000));
  });
  const answer = await askHttp(get(server.port), signal);
  assert.deepEqual([answer.kind, answer.output.length], ['success', 10 * 1024]);
});

test('a server that is not there is a failure that says so', async () => {
  const port = await deadPort();
  const answer = await askHttp(get(port, { path: '/healthz' }), signal);
  assert.equal(answer.kind, 'failure');
  assert.match(answer.output, new RegExp(`^Get "http://127.0.0.1:${port}/healthz": .*ECONNREFUSED`));
});
