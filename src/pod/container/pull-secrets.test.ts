import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assert as always, json, oneof, property, string } from 'fast-check';
import type { Secret } from '../api/kubernetes.ts';
import { credentialsFor, pullSecretsOf } from './pull-secrets.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** A Secret whose entries' passwords are their keys. */
const secretOf = (keys: readonly string[], type: 'dockerconfigjson' | 'dockercfg' = 'dockerconfigjson') => {
  const entries = Object.fromEntries(keys.map(key => [key, { auth: base64(`me:${key}`) }]));
  const table = type === 'dockercfg' ? entries : { auths: entries };
  return {
    metadata: { name: type },
    type: `kubernetes.io/${type}`,
    data: { [`.${type}`]: base64(JSON.stringify(table)) },
  } satisfies Secret;
};

const found = (image: string, ...secrets: readonly Secret[]) =>
  credentialsFor(secrets, image).map(each => (each.kind === 'basic' ? each.password.reveal() : each.kind));

test('an image gets the credentials of its registry and path, the longest path first', () => {
  const keys = ['a.example', 'a.example/team', 'a.example/team/app', 'a.example/other', 'b.example'];
  assert.deepEqual(found('a.example/team/app', secretOf(keys)), [
    'a.example/team/app',
    'a.example/team',
    'a.example',
  ]);
  assert.deepEqual(found('a.example/x', secretOf(['b.example']), secretOf(['a.example'], 'dockercfg')), [
    'a.example',
  ]);
  assert.deepEqual(found('c.example/x', secretOf(keys)), []);
});

test('a key may be a URL, have a port, and stars in the labels of its host', () => {
  const of = (key: string, image: string) => found(image, secretOf([key])).length === 1;
  const rows: readonly (readonly [key: string, image: string, isFor: boolean])[] = [
    ['https://index.docker.io/v1/', 'docker.io/library/nginx', true],
    ['docker.io', 'docker.io/library/nginx', true],
    ['https://a.example/v2/', 'a.example/x', true],
    ['http://a.example/v2/team', 'a.example/team/x', true],
    ['http://a.example/v2/team', 'a.example/x', false],
    ['a.example:5000', 'a.example:5000/x', true],
    ['a.example:5000', 'a.example/x', false],
    ['a.example', 'a.example:5000/x', false],
    ['*.example', 'a.example/x', true],
    ['*.example', 'a.b.example/x', false],
    ['*.*.example', 'a.b.example/x', true],
    ['re*.a1.example/team', 'registry.a1.example/team/x', true],
    ['re*.a1.example/team', 'store.a1.example/team/x', false],
  ];
  for (const [key, image, isFor] of rows) assert.equal(of(key, image), isFor, `${key} for ${image}`);
});

test('what a Secret holds is told by nothing, and what is broken in it is not quoted', () => {
  const [one] = credentialsFor([secretOf(['a.example'])], 'a.example/x');
  assert.equal(JSON.stringify({ one }), '{"one":{"kind":"basic","username":"me","password":"[redacted]"}}');
  const broken = {
    ...secretOf([]),
    data: { '.dockerconfigjson': base64('{"auths":{"a":{"auth":"c2Vj"}}}') },
  };
  assert.throws(
    () => credentialsFor([broken], 'a.example/x'),
    (error: Error) => /Secret dockerconfigjson/.test(error.message) && !/c2Vj|sec\b/.test(error.message),
  );
});

test('any text in a Secret is taken or refused, soon', () => {
  always(
    property(oneof(string(), json()), string(), (text, key) => {
      const data = { '.dockerconfigjson': base64(text) };
      assert.deepEqual(found('a.example/x', { type: 'kubernetes.io/dockerconfigjson', data }), []);
      found('a.example/x', secretOf([key]));
    }),
  );
  found(`${'a'.repeat(5000)}.example/x`, secretOf([`${'a*'.repeat(2000)}b.example`]));
});

test('Secrets that are not there are told by name; a reference without a name is none', () => {
  const pod = { spec: { containers: [], imagePullSecrets: [{ name: 'a' }, { name: 'b' }, {}] } };
  const secret = secretOf([]);
  assert.deepEqual(
    pullSecretsOf(pod, name => (name === 'a' ? secret : undefined)),
    { found: [secret], missing: ['b'] },
  );
});
