import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { TestObjects } from '../../../../test/harness/pod-volumes.ts';
import { SpawnletError } from '../../../host/error.ts';
import { payloadOf } from './payload.ts';
import type { Source } from './sources.ts';

const pod = { namespace: 'shop', name: 'web', uid: 'u' };
const signal = new AbortController().signal;

async function read(objects: TestObjects, ...sources: Source[]): Promise<Record<string, string>> {
  const payload = await payloadOf(pod, sources, objects, signal);
  return Object.fromEntries(
    [...payload].map(([path, { content, mode }]) => [
      path,
      `${mode.toString(8)} ${Buffer.from(content).toString()}`,
    ]),
  );
}

const config = (
  name: string,
  items: (Source & { kind: 'config-map' })['items'] = { mode: 0o644 },
): Source => ({
  kind: 'config-map',
  name,
  optional: false,
  items,
});
const text = (path: string, content = ''): Source => ({ kind: 'text', path, mode: 0o644, text: content });

describe('the files of a volume', () => {
  test('are every key of an object, or those that are named, with their modes', async () => {
    const objects = new TestObjects().config('app', { a: '1', b: '2' });
    assert.deepEqual(await read(objects, config('app')), { a: '644 1', b: '644 2' });
    const items = [{ key: 'b', path: 'etc//./app.conf', mode: 0o600 }];
    assert.deepEqual(await read(objects, config('app', items)), { 'etc/app.conf': '600 2' });
  });

  test('of binary data and of secrets are bytes', async () => {
    const objects = new TestObjects().hide('key', { pem: 'pem' });
    objects.configMaps.set('shop/app', { binaryData: { bin: '/wA=' } });
    const secret: Source = { kind: 'secret', name: 'key', optional: false, items: { mode: 0o400 } };
    const payload = await payloadOf(pod, [config('app'), secret], objects, signal);
    assert.deepEqual(payload.get('bin')?.content, Buffer.from([0xff, 0]));
    assert.deepEqual(payload.get('pem')?.content, Buffer.from('pem'));
  });

  test('of sources that name the same path are those of the last', async () => {
    const objects = new TestObjects().config('app', { a: 'config' });
    assert.deepEqual(await read(objects, config('app'), text('a', 'told')), { a: '644 told' });
  });

  test('that belong to one user are his', async () => {
    const token: Source = {
      kind: 'token',
      path: 'token',
      mode: 0o600,
      uid: 7,
      audience: 'vault',
      seconds: 600,
    };
    const payload = await payloadOf(pod, [token], new TestObjects(), signal);
    assert.deepEqual(payload.get('token'), {
      content: Buffer.from('token of web for vault'),
      mode: 0o600,
      uid: 7,
    });
  });
});

describe('an object or a key that is not there', () => {
  const objects = new TestObjects().config('app', { a: '1' });
  const items = [
    { key: 'a', path: 'a', mode: 0o644 },
    { key: 'none', path: 'b', mode: 0o644 },
  ];

  test('is named', async () => {
    await assert.rejects(read(objects, config('none')), {
      code: 'ERR_VOLUME_OBJECT',
      message: 'configmap "shop/none" not found',
    });
    await assert.rejects(read(objects, config('app', items)), {
      code: 'ERR_VOLUME_OBJECT',
      message: 'configmap "shop/app" has no key "none"',
    });
  });

  test('is left out where it is optional', async () => {
    assert.deepEqual(await read(objects, { ...config('none'), optional: true } as Source), {});
    assert.deepEqual(await read(objects, { ...config('app', items), optional: true } as Source), {
      a: '644 1',
    });
  });
});

test('a path that leaves the volume, or hides in it, is refused', async () => {
  const refused = [
    '/etc/passwd',
    '..',
    '../a',
    'a/../../b',
    'a/..',
    '..data',
    '..2026/a',
    '',
    '.',
    '/',
    'a\0b',
  ];
  for (const path of [...refused, 'n'.repeat(256), `${'a/'.repeat(2048)}b`])
    await assert.rejects(read(new TestObjects(), text(path)), { code: 'ERR_VOLUME_CONTENT' }, path);
  await assert.rejects(read(new TestObjects(), text('a'), text('a/b')), { code: 'ERR_VOLUME_CONTENT' });
  // Keys come from whoever may write the object.
  const objects = new TestObjects().config('app', { '..data': '', '../../x': '' });
  await assert.rejects(read(objects, config('app')), { code: 'ERR_VOLUME_CONTENT' });
  assert.deepEqual(await read(new TestObjects(), text('a..b'), text('b/..c')), {
    'a..b': '644 ',
    'b/..c': '644 ',
  });
});

test('whatever the keys and paths are, files are below the volume, under names of their own', async () => {
  const name = fc.oneof(
    fc.constantFrom('..', '.', '', '..data', 'a', 'b', '...', '..data_tmp'),
    fc.string({ unit: 'grapheme', maxLength: 4 }),
  );
  const path = fc.array(name, { maxLength: 4 }).map(names => names.join('/'));
  await fc.assert(
    fc.asyncProperty(fc.array(path, { maxLength: 4 }), async paths => {
      let payload: ReadonlyMap<string, unknown>;
      try {
        payload = await payloadOf(
          pod,
          paths.map(each => text(each)),
          new TestObjects(),
          signal,
        );
      } catch (error) {
        assert.ok(error instanceof SpawnletError && error.code === 'ERR_VOLUME_CONTENT', String(error));
        return;
      }
      const all = [...payload.keys()];
      for (const each of all) {
        const names = each.split('/');
        assert.ok(
          names.every(part => part !== '' && part !== '.' && part !== '..'),
          each,
        );
        assert.ok(!each.startsWith('..'), each);
        assert.ok(!all.some(other => other.startsWith(`${each}/`)), each);
      }
    }),
  );
});
