import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { linkName, maxLinkName, stableMac } from './names.ts';

/** What systemd takes for a machine's name, and more. */
const machine = fc.stringMatching(/^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$/);
const role = fc.constantFrom('outer' as const, 'inner' as const);
const index = fc.integer({ min: 0, max: 20 });

test('a link of any machine has a name that the kernel takes', () => {
  fc.assert(
    fc.property(role, machine, index, (role, machine, index) => {
      const name = linkName(role, machine, index);
      assert.ok(Buffer.byteLength(name) <= maxLinkName);
      assert.match(name, /^v[si]\d*[-+][a-z0-9._-]+$/);
    }),
  );
});

test('two links have two names, however much their machines’ names have in common', () => {
  const similar = fc
    .tuple(machine, machine, machine)
    .map(([beginning, one, other]): [string, string] => [beginning + one, beginning + other]);
  const pair = fc.tuple(similar, role, role, index, index);
  fc.assert(
    fc.property(pair, ([[one, other], roleOfOne, roleOfOther, first, second]) => {
      fc.pre(one !== other || roleOfOne !== roleOfOther || first !== second);
      assert.notEqual(linkName(roleOfOne, one, first), linkName(roleOfOther, other, second));
    }),
    { numRuns: 2000 },
  );
});

test('a name that fits is in the link’s as it is, and a machine cannot be named as a cut one', () => {
  assert.equal(linkName('outer', 'web', 0), 'vs-web');
  assert.equal(linkName('inner', 'web', 2), 'vi2-web');
  assert.equal(linkName('outer', 'abcdefghijkl', 0), 'vs-abcdefghijkl');
  assert.match(linkName('outer', 'abcdefghijklm', 0), /^vs\+abc[0-9a-v]{9}$/);
});

test('a hardware address is of one station, locally administered, and the same at every start', () => {
  fc.assert(
    fc.property(fc.string(), machine, index, (hostId, machine, index) => {
      const mac = stableMac(hostId, machine, index);
      assert.match(mac, /^02(:[0-9a-f]{2}){5}$/);
      assert.equal(mac, stableMac(hostId, machine, index));
    }),
  );
  assert.notEqual(stableMac('a', 'web', 0), stableMac('b', 'web', 0));
  assert.notEqual(stableMac('a', 'web', 0), stableMac('a', 'web', 1));
});
