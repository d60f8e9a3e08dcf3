import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { checkUnitName } from '../../systemd/escape.ts';
import { sliceOf, targetOf, unitOf } from './names.ts';

const uid = '0123abcd-0000-4000-8000-00000000000a';
const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
const names = fc.stringMatching(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/);

test('units of a pod have names that systemd takes, of 200 bytes at most', () => {
  fc.assert(
    fc.property(label, names, label, (namespace, name, container) => {
      const pod = { namespace, name, uid };
      for (const unit of [unitOf(pod, container), targetOf(pod), sliceOf(pod, 'Burstable')]) {
        assert.equal(checkUnitName(unit), unit);
        assert.ok(Buffer.byteLength(unit) <= 200, unit);
      }
    }),
  );
});

test('pods whose names are cut alike have units of their own', () => {
  const long = 'a'.repeat(200);
  const pods = ['1', '2'].map(last => ({
    namespace: 'default',
    name: `${long}${last}`,
    uid: `${uid}${last}`,
  }));
  assert.equal(new Set(pods.map(pod => unitOf(pod, 'web'))).size, 2);
});

test('slices are named as the kubelet names them', () => {
  const pod = { namespace: 'default', name: 'web', uid };
  const name = 'pod0123abcd_0000_4000_8000_00000000000a.slice';
  assert.equal(sliceOf(pod, 'Guaranteed'), `kubepods-${name}`);
  assert.equal(sliceOf(pod, 'Burstable'), `kubepods-burstable-${name}`);
  assert.equal(sliceOf(pod, 'BestEffort'), `kubepods-besteffort-${name}`);
});
