import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { SpawnletError } from '../host/error.ts';
import { flagsBeside, parseBind, parseLabSpec, parseMemory, parseName } from './spec.ts';

const refused = { code: 'ERR_LAB_OPTION' };

test('without flags a lab is a Debian 12 host named lab, with no way out', () => {
  assert.deepEqual(parseLabSpec({}), {
    name: 'lab',
    suite: 'bookworm',
    packages: [],
    memory: null,
    cpuPercent: null,
    egress: 'none',
    binds: [],
    network: 'spawnlet-lab',
  });
});

test('packages are a set in one order, so that the same ones are the same tree', () => {
  assert.deepEqual(parseLabSpec({ packages: ['skopeo', 'podman', 'skopeo'] }).packages, ['podman', 'skopeo']);
});

test('memory is read as podman reads it', () => {
  for (const [text, bytes] of [
    ['64m', 64 * 2 ** 20],
    ['1.5g', 1.5 * 2 ** 30],
    ['2GiB', 2 * 2 ** 30],
    ['134217728', 134_217_728],
  ] as const)
    assert.equal(parseMemory(text), bytes);
  for (const text of ['', '0', '1m', '-1g', '1e9', '1gg', 'lots', '99999999t'])
    assert.throws(() => parseMemory(text), refused, text);
});

test('processors are a number above nothing', () => {
  assert.equal(parseLabSpec({ cpus: '1.5' }).cpuPercent, 150);
  for (const cpus of ['0', '-1', '1e3', 'two', ''])
    assert.throws(() => parseLabSpec({ cpus }), refused, cpus);
});

test('a bind names a source, a target and how', () => {
  assert.deepEqual(parseBind('/a'), { source: '/a', target: '/a', access: 'read-write' });
  assert.deepEqual(parseBind('/a:/b:ro'), { source: '/a', target: '/b', access: 'read-only' });
  for (const text of ['', 'a', '/a:b', '/a:/', '/a/../b', '/a:/b:rw:x', '/a:/b:x', '/a\n:/b'])
    assert.throws(() => parseBind(text), refused, text);
});

test('a name is a host name of one label, or refused', () => {
  fc.assert(
    fc.property(fc.string(), text => {
      try {
        assert.match(parseName(text), /^[a-z0-9-]{1,40}$/);
      } catch (error) {
        assert.equal((error as SpawnletError).code, refused.code);
      }
    }),
  );
  for (const name of ['..', 'a/b', '-a', 'a-', 'A', '', 'a b', 'a'.repeat(41)])
    assert.throws(() => parseName(name), refused, name);
});

test('what differs between two specs is told as flags', () => {
  const plain = parseLabSpec({});
  const other = parseLabSpec({
    nat: true,
    memory: '1g',
    cpus: '1.5',
    packages: ['podman'],
    binds: ['/a:/b:ro'],
  });
  assert.equal(
    flagsBeside(other, plain),
    '--packages podman, --memory 1073741824, --cpus 1.5, --nat, --bind /a:/b:ro',
  );
  assert.equal(flagsBeside(plain, other), '');
  assert.equal(
    flagsBeside(plain, parseLabSpec({ suite: 'trixie', network: 'n' })),
    '--suite bookworm, --network spawnlet-lab',
  );
});

test('specs that differ, differ in a flag', () => {
  const options = fc.record(
    {
      suite: fc.constantFrom('bookworm', 'trixie'),
      packages: fc.subarray(['podman', 'skopeo']),
      memory: fc.constantFrom('64m', '1g'),
      cpus: fc.constantFrom('1', '1.5'),
      nat: fc.boolean(),
      binds: fc.subarray(['/a', '/a:/b', '/a:/b:ro']),
      network: fc.constantFrom('m', 'n'),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(options, options, (one, other) => {
      const [a, b] = [parseLabSpec(one), parseLabSpec(other)];
      const same = flagsBeside(a, b) === '' && flagsBeside(b, a) === '';
      assert.equal(same, JSON.stringify(a) === JSON.stringify(b));
    }),
  );
});

test('of a lab that is there, what no flag says is as it is', () => {
  const there = parseLabSpec({
    name: 'a',
    suite: 'trixie',
    memory: '1g',
    nat: true,
    binds: ['/srv'],
    network: 'n',
  });
  assert.deepEqual(parseLabSpec({ name: 'a', there }), there);
  assert.deepEqual(parseLabSpec({ name: 'a', there, memory: '2g' }), { ...there, memory: 2 ** 31 });
});
