import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { parseChallenges } from './challenge.ts';

const plain = (...values: string[]) =>
  parseChallenges(values).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe('WWW-Authenticate', () => {
  it('of Docker Hub is one challenge with commas in quotes', () => {
    assert.deepEqual(
      plain('Bearer realm="https://auth.docker.io/token",service="a, b",scope="repository:x:pull,push"'),
      [
        [
          'bearer',
          { realm: 'https://auth.docker.io/token', service: 'a, b', scope: 'repository:x:pull,push' },
        ],
      ],
    );
  });

  it('holds several challenges, in one value or in two', () => {
    const both = [
      ['bearer', { realm: 'r' }],
      ['basic', { realm: 'x', charset: 'UTF-8' }],
    ];
    assert.deepEqual(plain('Bearer realm="r", Basic realm=x, charset="UTF-8"'), both);
    assert.deepEqual(plain('Bearer realm="r"', 'BASIC realm="x",charset=UTF-8'), both);
  });

  it('may carry a token without a name, an escaped quote, spaces around =', () => {
    assert.deepEqual(plain('Negotiate YII=, Basic realm = "a \\"b\\""'), [
      ['negotiate', {}],
      ['basic', { realm: 'a "b"' }],
    ]);
    assert.deepEqual(plain('Negotiate, Basic realm=x'), [
      ['negotiate', {}],
      ['basic', { realm: 'x' }],
    ]);
  });

  it('keeps the first of two realms', () => {
    assert.deepEqual(plain('Bearer realm="good",realm="evil"'), [['bearer', { realm: 'good' }]]);
  });

  it('that is broken gives the challenges before the break', () => {
    assert.deepEqual(plain('Basic realm=x, "'), [['basic', { realm: 'x' }]]);
    assert.deepEqual(plain('realm="x"'), []);
  });

  it('of any text is parsed, quickly', () => {
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.constantFrom('a', 'B', '=', '"', '\\', ',', ' ', '\t', '~', '/'),
          maxLength: 400,
        }),
        text => {
          parseChallenges([text]);
        },
      ),
    );
    assert.deepEqual(parseChallenges(['"\\'.repeat(7000)]), []);
  });

  it('is read back from any realm', () => {
    fc.assert(
      fc.property(fc.string(), realm => {
        const quoted = realm.replaceAll(/["\\]/g, '\\$&');
        assert.deepEqual(plain(`Bearer service=x, realm="${quoted}"`), [['bearer', { service: 'x', realm }]]);
      }),
    );
  });
});
