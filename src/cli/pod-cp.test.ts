import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePodPlace } from './pod-cp.ts';

const pod = (name: string, path: string, namespace?: string) => ({ kind: 'pod', namespace, pod: name, path });

test('places are said as kubectl has them', () => {
  assert.deepEqual(parsePodPlace('web:/etc/hosts'), pod('web', '/etc/hosts'));
  assert.deepEqual(parsePodPlace('shop/web-0:data/.'), pod('web-0', 'data/.', 'shop'));
  assert.deepEqual(parsePodPlace('web:a:b'), pod('web', 'a:b'));
  for (const [text, path] of [
    ['/srv/a:b', '/srv/a:b'],
    ['./web:x', `${process.cwd()}/web:x`],
    ['a/b/c:d', `${process.cwd()}/a/b/c:d`],
    ['Web:x', `${process.cwd()}/Web:x`],
    ['logs/.', `${process.cwd()}/logs/.`],
  ] as const)
    assert.deepEqual(parsePodPlace(text), { kind: 'host', path });
  for (const wrong of ['web:', 'web:a\0b']) assert.throws(() => parsePodPlace(wrong), { code: 'ERR_USAGE' });
});
