import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { SpawnletError } from '../../host/error.ts';
import { defaultNetwork } from './default.ts';
import { parseNetworkList, programsOf } from './list.ts';

const list = (some: object) =>
  JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge' }], ...some });
const parse = (text: string) => parseNetworkList(text, '10-net.conflist');

test('a list is read with every setting of its plugins', () => {
  const plugins = [{ type: 'bridge', ipam: { type: 'host-local' }, odd: [1] }, { type: 'portmap' }];
  const network = parse(list({ plugins, comment: 'for us' }));
  assert.deepEqual(network, { cniVersion: '1.0.0', name: 'net', plugins });
  assert.deepEqual(programsOf(network), ['bridge', 'host-local', 'portmap']);
});

for (const [what, text, message] of [
  ['a text that is no JSON', '{', /not JSON/],
  ['a list as its root', '[]', /not an object/],
  ['one plugin alone', '{"cniVersion":"1.0.0","name":"a","type":"bridge"}', /of one plugin/],
  ['a version that is not known', list({ cniVersion: '9.0.0' }), /\.cniVersion is "9\.0\.0"/],
  ['a list without a version', list({ cniVersion: undefined }), /\.cniVersion is missing/],
  ['a name with a slash', list({ name: '../x' }), /\.name/],
  ['no plugin', list({ plugins: [] }), /\.plugins/],
  ['a plugin that is no object', list({ plugins: [1] }), /\.plugins\[0\] is not an object/],
  ['a plugin by a path', list({ plugins: [{ type: '../bin/sh' }] }), /\.plugins\[0\]\.type/],
  ['addresses by a path', list({ plugins: [{ type: 'a', ipam: { type: '/x' } }] }), /\[0\]\.ipam\.type/],
  [
    'capabilities that are no switches',
    list({ plugins: [{ type: 'a', capabilities: { dns: 1 } }] }),
    /capab/,
  ],
] as const)
  test(`${what} is refused, by file and field`, () => {
    assert.throws(
      () => parse(text),
      (error: SpawnletError) => {
        assert.equal(error.code, 'ERR_CNI_CONFIG');
        assert.match(error.message, message);
        assert.match(error.message, /^10-net\.conflist: /);
        assert.ok(error.hint);
        return true;
      },
    );
  });

test('any JSON is a list or is refused in plain words', () => {
  fc.assert(
    fc.property(fc.json(), text => {
      try {
        parse(text);
      } catch (error) {
        assert.ok(error instanceof SpawnletError);
      }
    }),
  );
});

test('the default network is a list that it reads itself, with a route for each family', () => {
  const network = defaultNetwork('pods', 'br0', { v4: '10.88.0.0/16', v6: 'fd00:88::/64' });
  assert.deepEqual(parse(JSON.stringify(network)), network);
  assert.match(JSON.stringify(network), /"routes":\[\{"dst":"0\.0\.0\.0\/0"\},\{"dst":"::\/0"\}\]/);
});
