import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { get } from 'node:https';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { broken } from './registry-error.ts';

test('a registry that does not speak TLS is told as that, in one line', async () => {
  const server = createServer((_request, response) => response.end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/v2/`);
  const [error] = (await once(get(url), 'error').catch((reason: unknown) => [reason])) as [unknown];
  server.close();
  const { message, hint } = broken(url, error);
  assert.equal(message, `no answer from ${url.href}: it does not speak TLS`);
  assert.match(hint ?? '', /insecureRegistries/);
});

test('of the words of OpenSSL the reason is told', () => {
  const said =
    'write EPROTO 40F0:error:0A000410:SSL routines:ssl3_read_bytes:tls alert handshake failure:rec.c:1:\n';
  const { message } = broken(new URL('https://a.test/v2/'), new Error(said));
  assert.equal(message, 'no answer from https://a.test/v2/: TLS failed, tls alert handshake failure');
});

test('a name with several addresses is told with the error of each', () => {
  const errors = ['::1', '127.0.0.1'].map(address => new Error(`connect ECONNREFUSED ${address}:5000`));
  const error = Object.assign(new AggregateError(errors), { code: 'ECONNREFUSED' });
  const { message, hint } = broken(new URL('https://localhost:5000/v2/'), error);
  assert.match(message, /: connect ECONNREFUSED ::1:5000; connect ECONNREFUSED 127\.0\.0\.1:5000$/);
  assert.match(hint ?? '', /nothing listens/);
});
