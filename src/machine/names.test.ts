import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { escapePath } from '../systemd/escape.ts';
import { parseMachineName, parseSnapshotName, whyNoName } from './names.ts';

test('a name is one label of DNS', () => {
  for (const name of ['a', '7', 'web-1', 'a--b', 'x'.repeat(63)]) assert.equal(parseMachineName(name), name);
  for (const [name, why] of [
    ['', /at least one/],
    ['x'.repeat(64), /at most 63/],
    ['Web', /small letters/],
    ['a_b', /letters, digits and -/],
    ['a.b', /letters, digits and -/],
    ['a/b', /letters, digits and -/],
    ['a\n', /letters, digits and -/],
    ['ä', /letters, digits and -/],
    ['-a', /begins and ends/],
    ['a-', /begins and ends/],
    ['localhost', /the host itself/],
    [`a${'-'.repeat(61)}a`, /fewer -/],
  ] as const) {
    assert.match(whyNoName(name) ?? '', why, name);
    assert.throws(() => parseMachineName(name), { code: 'ERR_MACHINE_NAME' });
  }
});

test('the mount unit of a name that is taken has a name that systemd takes', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z0-9-]{1,63}$/), name => {
      const unit = `${escapePath(`/var/lib/machines/${name}`)}.mount`;
      assert.ok(whyNoName(name) !== undefined || unit.length <= 255, unit);
    }),
  );
});

test('a snapshot’s name is that of a directory', () => {
  for (const name of ['before-upgrade', '20261122-142100', 'v1.2_3'])
    assert.equal(parseSnapshotName(name), name);
  for (const name of ['', '.', '..', 'a/b', '-a', 'x'.repeat(64), 'a\n'])
    assert.throws(() => parseSnapshotName(name), { code: 'ERR_MACHINE_NAME' });
});
