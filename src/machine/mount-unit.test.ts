import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseUnit, valuesOf } from '../systemd/unit-file.ts';
import { mountUnit, mountUnitName } from './mount-unit.ts';

const layers = { lower: ['/b/low', '/b/high'], upper: '/m/upper', work: '/m/work' };
const value = (key: string, section = 'Mount') =>
  valuesOf(parseUnit(mountUnit('we-b', layers)), section, key);

test('the unit has the name that systemd wants for its path', () => {
  assert.equal(mountUnitName('we-b'), 'var-lib-machines-we\\x2db.mount');
  assert.deepEqual(value('Where'), ['/var/lib/machines/we-b']);
});

test('the lowest layer comes last, as overlayfs has it, and an upper directory can be a copy', () => {
  assert.deepEqual(value('Options'), ['lowerdir=/b/high:/b/low,upperdir=/m/upper,workdir=/m/work,index=off']);
});

test('it is no part of local-fs.target, is unmounted at shutdown, and comes after its layers', () => {
  assert.deepEqual(value('DefaultDependencies', 'Unit'), ['no']);
  assert.deepEqual(value('Conflicts', 'Unit'), ['umount.target']);
  assert.deepEqual(value('Before', 'Unit'), ['umount.target']);
  assert.deepEqual(value('RequiresMountsFor', 'Unit'), ['/b/low /b/high /m/upper']);
});

test('a path that mount(8), overlayfs or systemd would take apart is refused', () => {
  for (const path of ['/a,b', '/a:b', '/a b', '/a\\b', '/a"b', '/a\nb', '/a%n', '/a/../b', 'a'])
    assert.throws(() => mountUnit('web', { ...layers, lower: [path] }), { code: 'ERR_UNIT_VALUE' }, path);
});

test('options of more than a page, and an overlay of nothing, are refused', () => {
  assert.throws(() => mountUnit('web', { ...layers, lower: [] }), { code: 'ERR_UNIT_VALUE' });
  const lower = Array.from({ length: 50 }, (_each, index) => `/${'a'.repeat(90)}${index}`);
  assert.throws(() => mountUnit('web', { ...layers, lower }), { code: 'ERR_UNIT_VALUE' });
});
