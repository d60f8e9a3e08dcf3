import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { inspect } from 'node:util';
import type { Clock } from '../../src/host/clock.ts';
import type { Credential } from '../../src/image/credentials.ts';
import { maxDocumentSize, mediaTypes } from '../../src/image/document.ts';
import type { Descriptor } from '../../src/image/manifest.ts';
import { parseRegistryReference } from '../../src/image/reference.ts';
import { openRegistry, type Registry } from '../../src/image/registry.ts';
import type { RegistryOptions } from '../../src/image/registry-connection.ts';
import { resolveManifest } from '../../src/image/resolve.ts';
import { Secret } from '../../src/image/secret.ts';
import { type CertificateFiles, makeCertificate } from '../harness/certificate.ts';
import {
  type FakeRegistry,
  type Script,
  sendBlob,
  startFakeRegistry,
  tokenAuth,
} from '../harness/fake-registry.ts';
import { digestOf, makeImage, type TestImage } from '../harness/images.ts';

const signal = AbortSignal.timeout(600_000);
const content = randomBytes(3 * 1024 * 1024);
const image = makeImage({ layers: [[{ path: 'data', content }]], compression: 'none' });
const blob = [...image.blobs.values()].find(bytes => bytes.length > 1_000_000) ?? Buffer.alloc(0);
const layer: Descriptor = { mediaType: mediaTypes.ociLayer, digest: digestOf(blob), size: blob.length };
const user: Credential = { kind: 'basic', username: 'me', password: new Secret('hunter2') };

/** Time that passes as soon as somebody sleeps; tells how long they did. */
function fastClock(): Clock & { slept: number[] } {
  let now = 1_700_000_000_000;
  const slept: number[] = [];
  return {
    slept,
    now: () => now,
    sleep: async (ms, signal) => {
      signal?.throwIfAborted();
      slept.push(ms);
      now += ms;
    },
  };
}

function open(fake: FakeRegistry, options: Partial<RegistryOptions> = {}): Promise<Registry> {
  return openRegistry(parseRegistryReference(`${fake.host}/test/x:1`), {
    clock: fastClock(),
    env: {},
    isInsecure: () => false,
    credential: async () => undefined,
    ...options,
  });
}

const start = (script?: Script, served: TestImage = image) =>
  startFakeRegistry({ images: { 'test/x:1': served }, ...(script && { script }) });

const isBlob = (path: string) => path.includes('/blobs/');

async function digestOfBlob(source: Registry, descriptor = layer): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of await source.blob(descriptor, signal)) chunks.push(chunk as Buffer);
  return digestOf(Buffer.concat(chunks));
}

describe('a token', () => {
  it('is got without a password where none is known, for reading only, and used for the whole pull', async () => {
    await using fake = await start(async (request, response) => tokenAuthOf(request, response));
    const tokenAuthOf = tokenAuth({ realm: `http://${fake.host}/token` });
    await using source = await open(fake);
    await source.document(undefined, signal);
    assert.equal(await digestOfBlob(source), layer.digest);
    const asked = fake.seen.filter(({ path }) => path.startsWith('/token'));
    assert.equal(asked.length, 1);
    const query = new URL(asked[0]?.path ?? '', 'http://x').searchParams;
    assert.equal(query.get('scope'), 'repository:test/x:pull');
    assert.equal(query.get('service'), 'the service, of course');
    assert.equal(asked[0]?.authorization, undefined);
  });

  it('is got with the password, which the registry itself does not see', async () => {
    const script = tokenAuth({ username: 'me', password: 'hunter2', answerField: 'access_token' });
    await using tokens = await startFakeRegistry({ script });
    const guard = tokenAuth({ realm: `http://${tokens.host}/token` });
    await using fake = await start(guard);
    await using source = await open(fake, { credential: async () => user });
    await source.document(undefined, signal);
    assert.ok(tokens.seen.some(({ authorization }) => authorization?.startsWith('Basic ')));
    assert.ok(!fake.seen.some(({ authorization }) => authorization?.startsWith('Basic ')));
  });

  it('is got by POST with an identity token, which stands in no address', async () => {
    const script = tokenAuth({ identityToken: 'refresh-me' });
    await using tokens = await startFakeRegistry({ script });
    await using fake = await start(tokenAuth({ realm: `http://${tokens.host}/token` }));
    await using source = await open(fake, {
      credential: async () => ({ kind: 'identity-token', token: new Secret('refresh-me') }),
    });
    await source.document(undefined, signal);
    assert.ok(!tokens.seen.some(({ path }) => path.includes('refresh-me')));
  });

  it('that the registry no longer takes in the middle of a pull is renewed', async () => {
    const spent = new Set<string>();
    let guard: Script = () => false;
    await using fake = await start((request, response) => guard(request, response));
    guard = tokenAuth({ realm: `http://${fake.host}/token`, isSpent: token => spent.has(token) });
    await using source = await open(fake);
    await source.document(undefined, signal);
    spent.add('token-1');
    assert.equal(await digestOfBlob(source), layer.digest);
    assert.equal(fake.seen.filter(({ path }) => path.startsWith('/token')).length, 2);
  });

  it('that has run out by the clock is renewed before it is refused', async () => {
    let guard: Script = () => false;
    await using fake = await start((request, response) => guard(request, response));
    guard = tokenAuth({ realm: `http://${fake.host}/token`, expiresIn: 300 });
    const clock = fastClock();
    await using source = await open(fake, { clock });
    await source.document(undefined, signal);
    await clock.sleep(299_000);
    await source.document(undefined, signal);
    await clock.sleep(2000);
    await source.document(undefined, signal);
    assert.equal(fake.seen.filter(({ path }) => path.startsWith('/token')).length, 2);
  });

  it('is got once for many layers that are refused side by side', async () => {
    let guard: Script = () => false;
    await using fake = await start((request, response) => guard(request, response));
    guard = tokenAuth({ realm: `http://${fake.host}/token` });
    await using source = await open(fake);
    await Promise.all([1, 2, 3, 4].map(() => digestOfBlob(source)));
    assert.equal(fake.seen.filter(({ path }) => path.startsWith('/token')).length, 1);
  });

  it('that is never accepted ends in ERR_UNAUTHORIZED, not in a loop', async () => {
    let guard: Script = () => false;
    await using fake = await start((request, response) => guard(request, response));
    guard = tokenAuth({ realm: `http://${fake.host}/token`, isSpent: () => true });
    await using source = await open(fake);
    await assert.rejects(source.document(undefined, signal), { code: 'ERR_UNAUTHORIZED' });
    assert.ok(fake.seen.length < 12);
  });

  it('from a realm that is no address is not asked for', async () => {
    for (const realm of ['', 'file:///etc/passwd', 'javascript:0']) {
      await using fake = await start(tokenAuth({ realm }));
      await using source = await open(fake, { credential: async () => user });
      // An empty realm is relative to nothing.
      await assert.rejects(source.document(undefined, signal), { code: 'ERR_REGISTRY' });
    }
  });

  it('that has a line break in it becomes no header', async () => {
    await using fake = await start((request, response) => {
      if (request.path.startsWith('/token')) {
        response.end(JSON.stringify({ token: 'a\r\nX-Evil: 1' }));
        return true;
      }
      response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${fake.host}/token"` }).end();
      return true;
    });
    await using source = await open(fake);
    await assert.rejects(source.document(undefined, signal), {
      code: 'ERR_REGISTRY',
      message: /holds no token/,
    });
  });
});

describe('CVE-2020-15157: a password or a token', () => {
  const basicOnly: Script = (request, response) => {
    if (request.authorization?.startsWith('Basic ')) return false;
    response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    return true;
  };

  it('is not sent along when a blob is redirected to another host', async () => {
    await using store = await startFakeRegistry({
      script: (request, response) => {
        sendBlob(request, response, blob);
        return true;
      },
    });
    await using fake = await start((request, response) => {
      if (basicOnly(request, response)) return true;
      if (!isBlob(request.path)) return false;
      response.writeHead(307, { location: `http://${store.host}/data?signature=abc` }).end();
      return true;
    });
    await using source = await open(fake, { credential: async () => user });
    assert.equal(await digestOfBlob(source), layer.digest);
    assert.equal(store.seen.length, 1);
    assert.equal(store.seen[0]?.authorization, undefined);
    assert.ok(fake.seen.some(({ authorization }) => authorization !== undefined));
  });

  it('is not sent to another host that asks for it with 401', async () => {
    await using store = await startFakeRegistry({
      script: (_request, response) => {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
        return true;
      },
    });
    await using fake = await start((request, response) => {
      if (!isBlob(request.path)) return false;
      response.writeHead(307, { location: `http://${store.host}/data` }).end();
      return true;
    });
    await using source = await open(fake, { credential: async () => user });
    await assert.rejects(source.blob(layer, signal), { code: 'ERR_REGISTRY' });
    assert.ok(store.seen.every(({ authorization }) => authorization === undefined));
  });

  it('is not sent back to the registry by a host it was redirected to', async () => {
    await using store = await startFakeRegistry({
      script: (_request, response) => {
        response.writeHead(307, { location: `http://${fake.host}/v2/test/x/blobs/stolen` }).end();
        return true;
      },
    });
    await using fake: FakeRegistry = await start((request, response) => {
      if (request.path.endsWith('/stolen')) {
        sendBlob(request, response, blob);
        return true;
      }
      if (basicOnly(request, response)) return true;
      if (!isBlob(request.path)) return false;
      response.writeHead(307, { location: `http://${store.host}/data` }).end();
      return true;
    });
    await using source = await open(fake, { credential: async () => user });
    await digestOfBlob(source);
    const stolen = fake.seen.find(({ path }) => path.endsWith('/stolen'));
    assert.equal(stolen?.authorization, undefined);
  });

  it('is not sent on when the token server redirects to another host', async () => {
    await using thief = await startFakeRegistry({ script: tokenAuth() });
    await using tokens = await startFakeRegistry({
      script: (_request, response) => {
        response.writeHead(302, { location: `http://${thief.host}/token` }).end();
        return true;
      },
    });
    await using fake = await start(tokenAuth({ realm: `http://${tokens.host}/token` }));
    await using source = await open(fake, { credential: async () => user });
    await source.document(undefined, signal);
    assert.ok(tokens.seen[0]?.authorization);
    assert.equal(thief.seen[0]?.authorization, undefined);
  });

  describe('that belongs to a registry with TLS', () => {
    let directory: string;
    let tls: CertificateFiles;
    before(async () => {
      directory = await mkdtemp(join(tmpdir(), 'spawnlet-tls-'));
      tls = makeCertificate(directory);
    });
    after(() => rm(directory, { recursive: true, force: true }));
    const only = (host: string) => ({ isInsecure: (asked: string) => asked === host });

    it('is not sent to a token server without TLS', async () => {
      // Nobody answers at this address: it must be refused before anything is sent.
      const script = tokenAuth({ realm: 'http://192.0.2.1/token' });
      await using fake = await startFakeRegistry({ images: { 'test/x:1': image }, script, tls });
      await using source = await open(fake, { ...only(fake.host), credential: async () => user });
      await assert.rejects(source.document(undefined, signal), {
        code: 'ERR_REGISTRY',
        message: /192\.0\.2\.1\/token, without encryption/,
      });
    });

    it('is not taken to a host without TLS by a redirect', async () => {
      await using plain = await startFakeRegistry();
      const script: Script = (request, response) => {
        if (!isBlob(request.path)) return false;
        response.writeHead(307, { location: `http://${plain.host}/data` }).end();
        return true;
      };
      await using fake = await startFakeRegistry({ images: { 'test/x:1': image }, script, tls });
      await using source = await open(fake, only(fake.host));
      await source.document(undefined, signal);
      await assert.rejects(source.blob(layer, signal), {
        code: 'ERR_REGISTRY',
        message: /without encryption/,
      });
      assert.equal(plain.seen.length, 0);
    });
  });

  it('is in no error', async () => {
    await using fake = await start((_request, response) => {
      response.writeHead(500).end('me:hunter2');
      return true;
    });
    await using source = await open(fake, { credential: async () => user });
    await assert.rejects(source.document(undefined, signal), (error: Error) => {
      assert.doesNotMatch(inspect(error, { depth: 9, showHidden: true }), /hunter2|bWU6/);
      return true;
    });
  });
});

describe('a manifest', () => {
  const [document] = image.documents.values();
  const bytes = document?.bytes ?? Buffer.alloc(0);
  const answering = (mediaType: string, body: Buffer, headers: Record<string, string> = {}): Script => {
    return (request, response) => {
      if (!request.path.includes('/manifests/')) return false;
      response.writeHead(200, { 'content-type': mediaType, ...headers }).end(body);
      return true;
    };
  };

  it('with other bytes than its digest says is refused', async () => {
    const other = Buffer.from(bytes.toString().replace('"size":', '"size": '));
    await using fake = await start(answering(mediaTypes.ociManifest, other));
    await using source = await open(fake);
    await assert.rejects(source.document(image.root.digest, signal), { code: 'ERR_DIGEST' });
  });

  it('with another digest than the registry says of its tag is refused', async () => {
    const headers = { 'docker-content-digest': `sha256:${'0'.repeat(64)}` };
    await using fake = await start(answering(mediaTypes.ociManifest, bytes, headers));
    await using source = await open(fake);
    await assert.rejects(source.document(undefined, signal), { code: 'ERR_DIGEST' });
  });

  it('over 4 MiB is refused, told by its length or not, and not read to its end', async () => {
    const huge = Buffer.alloc(64 * 1024 * 1024, ' ');
    for (const headers of [{ 'content-length': String(huge.length) }, { 'transfer-encoding': 'chunked' }]) {
      await using fake = await start(answering(mediaTypes.ociManifest, huge, headers));
      await using source = await open(fake);
      await assert.rejects(source.document(undefined, signal), {
        code: 'ERR_REGISTRY',
        message: new RegExp(`over ${maxDocumentSize} bytes`),
      });
    }
  });

  it('CVE-2021-41190: served as what it does not say it is, is refused', async () => {
    await using fake = await start(answering(mediaTypes.ociIndex, bytes));
    await using source = await open(fake);
    await assert.rejects(resolveManifest(source, { os: 'linux', architecture: 'amd64' }, signal), {
      code: 'ERR_IMAGE_INVALID',
    });
  });

  it('in place of which a proxy sends its page is refused with the page’s type', async () => {
    await using fake = await start(answering('text/html; charset=utf-8', Buffer.from('<html>')));
    await using source = await open(fake);
    await assert.rejects(resolveManifest(source, { os: 'linux', architecture: 'amd64' }, signal), {
      code: 'ERR_IMAGE_UNSUPPORTED',
      message: /text\/html/,
    });
  });

  it('is asked for five times while the server is in trouble, each time after a longer wait', async () => {
    const clock = fastClock();
    await using fake = await start((request, response) => {
      if (!request.path.includes('/manifests/')) return false;
      response.writeHead(503).end();
      return true;
    });
    await using source = await open(fake, { clock });
    await assert.rejects(source.document(undefined, signal), { code: 'ERR_REGISTRY', message: /503/ });
    assert.deepEqual(clock.slept, [2000, 4000, 8000, 16_000]);
  });

  it('is asked for again when the server says it may be', async () => {
    const clock = fastClock();
    let refused = 0;
    await using fake = await start((request, response) => {
      if (!request.path.includes('/manifests/') || refused === 2) return false;
      refused += 1;
      const date = new Date(clock.now() + 30_000).toUTCString();
      response.writeHead(429, { 'retry-after': refused === 1 ? '7' : date }).end();
      return true;
    });
    await using source = await open(fake, { clock });
    assert.equal((await source.document(undefined, signal)).digest, image.root.digest);
    assert.equal(clock.slept[0], 7000);
    assert.ok((clock.slept[1] ?? 0) > 28_000 && (clock.slept[1] ?? 0) <= 30_000);
  });

  it('is not waited for by the hour', async () => {
    const clock = fastClock();
    await using fake = await start((request, response) => {
      if (!request.path.includes('/manifests/')) return false;
      response.writeHead(429, { 'retry-after': '21600' }).end();
      return true;
    });
    await using source = await open(fake, { clock });
    await assert.rejects(source.document(undefined, signal), { code: 'ERR_REGISTRY', hint: /log in/ });
    assert.deepEqual(clock.slept, []);
  });

  it('is not followed in circles', async () => {
    await using fake = await start((request, response) => {
      if (!request.path.includes('/manifests/')) return false;
      response.writeHead(302, { location: request.path }).end();
      return true;
    });
    await using source = await open(fake);
    await assert.rejects(source.document(undefined, signal), { code: 'ERR_REGISTRY', message: /circles/ });
  });

  it('that does not exist is told in the registry’s words, without its control characters', async () => {
    await using fake = await start((request, response) => {
      if (!request.path.includes('/manifests/')) return false;
      response.writeHead(404).end('{"errors":[{"message":"gone\\u001b[31m\\nfake line"}]}');
      return true;
    });
    await using source = await open(fake);
    await assert.rejects(source.document(undefined, signal), {
      code: 'ERR_IMAGE_NOT_FOUND',
      message: /: gone \[31m fake line$/,
    });
  });

  it('that does not come is given up when the caller does', async () => {
    const controller = new AbortController();
    await using fake = await start(request => {
      if (!request.path.includes('/manifests/')) return false;
      controller.abort(new Error('enough'));
      return true;
    });
    await using source = await open(fake);
    await assert.rejects(source.document(undefined, controller.signal), { message: 'enough' });
  });

  it('that does not come is asked for again after the stall, and then given up', async () => {
    const clock = fastClock();
    await using fake = await start(request => request.path.includes('/manifests/'));
    await using source = await open(fake, { clock, stall: 50 });
    await assert.rejects(source.document(undefined, signal), {
      code: 'ERR_REGISTRY',
      message: /no answer within 0\.05 s/,
    });
    assert.equal(clock.slept.length, 4);
  });

  it('that does not come is given up in all, and told as the registry’s', async () => {
    await using fake = await start(request => request.path.includes('/manifests/'));
    await using source = await open(fake, { patience: 50 });
    for (const asked of [source.document(undefined, signal), source.head(signal)])
      await assert.rejects(asked, { code: 'ERR_REGISTRY', message: /did not answer within 0\.05 seconds/ });
  });
});

describe('a blob', () => {
  it('whose connection breaks is read on from there', async () => {
    let breaks = 0;
    await using fake = await start((request, response) => {
      if (!isBlob(request.path) || breaks === 3) return false;
      breaks += 1;
      const from = Number(/\d+/.exec(request.range ?? '0')?.[0]);
      response.writeHead(from ? 206 : 200, {
        'content-length': blob.length - from,
        ...(from && { 'content-range': `bytes ${from}-${blob.length - 1}/${blob.length}` }),
      });
      response.write(blob.subarray(from, from + 500_000), () => response.destroy());
      return true;
    });
    await using source = await open(fake);
    assert.equal(await digestOfBlob(source), layer.digest);
    const ranges = fake.seen.filter(({ path }) => isBlob(path)).map(({ range }) => range);
    assert.equal(ranges.length, 4);
    assert.equal(ranges[0], undefined);
    assert.match(ranges[3] ?? '', /^bytes=\d{6,}-$/);
  });

  it('is whole also where the server does not know ranges', async () => {
    let breaks = 0;
    await using fake = await start((request, response) => {
      if (!isBlob(request.path)) return false;
      response.writeHead(200, { 'content-length': blob.length });
      if (breaks++ > 0) response.end(blob);
      else response.write(blob.subarray(0, 700_000), () => response.destroy());
      return true;
    });
    await using source = await open(fake);
    assert.equal(await digestOfBlob(source), layer.digest);
  });

  it('that never gets on ends in an error that says how far it got', async () => {
    const clock = fastClock();
    await using fake = await start((request, response) => {
      if (!isBlob(request.path)) return false;
      const from = Number(/\d+/.exec(request.range ?? '0')?.[0]);
      response.writeHead(from ? 206 : 200, {
        'content-length': blob.length - from,
        ...(from && { 'content-range': `bytes ${from}-${blob.length - 1}/${blob.length}` }),
      });
      response.write(blob.subarray(from, from + 10), () => response.destroy());
      return true;
    });
    await using source = await open(fake, { clock });
    await assert.rejects(digestOfBlob(source), { code: 'ERR_REGISTRY', message: /stopped after \d+ of/ });
    assert.deepEqual(clock.slept, [2000, 4000, 8000, 16_000]);
  });

  it('that stalls is asked for again', async () => {
    let stalls = 0;
    await using fake = await start((request, response) => {
      if (!isBlob(request.path) || stalls === 1) return false;
      stalls += 1;
      response.writeHead(200, { 'content-length': blob.length });
      response.write(blob.subarray(0, 100_000));
      return true;
    });
    await using source = await open(fake, { stall: 100 });
    assert.equal(await digestOfBlob(source), layer.digest);
    assert.equal(fake.seen.filter(({ path }) => isBlob(path)).length, 2);
  });

  it('that its reader lets wait has not stalled', async t => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    await using fake = await start();
    await using source = await open(fake, { stall: 40 });
    const stream = await source.blob(layer, signal);
    const chunks: Buffer[] = [];
    for await (const chunk of stream) {
      chunks.push(chunk as Buffer);
      if (chunks.length > 1) continue;
      // As far as it is read ahead, the server is waited for.
      while (stream.readableLength < stream.readableHighWaterMark) await nextTurn(undefined, { signal });
      t.mock.timers.tick(120);
    }
    assert.equal(digestOf(Buffer.concat(chunks)), layer.digest);
    assert.equal(fake.seen.filter(({ path }) => isBlob(path)).length, 1);
  });

  for (const [what, headers] of [
    ['fewer', (length: number) => ({ 'content-length': length })],
    ['fewer, without a length', () => ({ 'transfer-encoding': 'chunked' })],
  ] as const)
    it(`that the registry has with ${what} bytes is refused`, async () => {
      const short = blob.subarray(0, 1000);
      await using fake = await start((request, response) => {
        if (!isBlob(request.path)) return false;
        response.writeHead(200, headers(short.length)).end(short);
        return true;
      });
      await using source = await open(fake);
      await assert.rejects(digestOfBlob(source), { code: 'ERR_REGISTRY' });
    });

  it('that goes on beyond its size is cut off', async () => {
    let sent = 0;
    await using fake = await start((request, response) => {
      if (!isBlob(request.path)) return false;
      response.writeHead(200, { 'transfer-encoding': 'chunked' });
      const more = () => {
        if (response.destroyed) return;
        sent += blob.length;
        response.write(blob, more);
      };
      more();
      return true;
    });
    await using source = await open(fake);
    await assert.rejects(digestOfBlob(source), { code: 'ERR_REGISTRY', message: /more than its/ });
    assert.ok(sent < 20 * blob.length);
  });

  it('that continues with another part than was asked for is refused', async () => {
    await using fake = await start((request, response) => {
      if (!isBlob(request.path)) return false;
      if (request.range === undefined) {
        response.writeHead(200, { 'content-length': blob.length });
        response.write(blob.subarray(0, 500_000), () => response.destroy());
      } else {
        response.writeHead(206, { 'content-range': `bytes 0-${blob.length - 1}/${blob.length}` }).end(blob);
      }
      return true;
    });
    await using source = await open(fake);
    await assert.rejects(digestOfBlob(source), { code: 'ERR_REGISTRY', message: /another part/ });
  });

  it('ends when the caller gives up, and with it the connection', async () => {
    const controller = new AbortController();
    let closed: () => void = () => undefined;
    const gone = new Promise<void>(resolve => {
      closed = resolve;
    });
    await using fake = await start((request, response) => {
      if (!isBlob(request.path)) return false;
      response.on('close', closed);
      response.writeHead(200, { 'content-length': blob.length }).write(blob.subarray(0, 100_000));
      return true;
    });
    await using source = await open(fake);
    const stream = await source.blob(layer, controller.signal);
    await assert.rejects(async () => {
      for await (const _ of stream) controller.abort(new Error('enough'));
    });
    await gone;
  });

  it('of no bytes is not asked for', async () => {
    await using fake = await start();
    await using source = await open(fake);
    assert.equal(await digestOfBlob(source, { ...layer, size: 0 }), digestOf(Buffer.alloc(0)));
    assert.equal(fake.seen.length, 0);
  });
});
