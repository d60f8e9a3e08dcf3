import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allCapabilities, capabilitySet, defaultCapabilities, possibleCapabilities } from './capabilities.ts';

test('capabilities are added and dropped as Docker has it', () => {
  const of = (add: string[], drop: string[]) => capabilitySet(['CAP_CHOWN', 'CAP_KILL'], add, drop);
  assert.deepEqual(of([], []), ['CAP_CHOWN', 'CAP_KILL']);
  assert.deepEqual(of(['net_admin'], ['CAP_KILL']), ['CAP_CHOWN', 'CAP_NET_ADMIN']);
  assert.deepEqual(of(['CAP_SYS_TIME'], ['all']), ['CAP_SYS_TIME']);
  assert.deepEqual(
    of(['ALL'], ['sys_admin']),
    allCapabilities.filter(name => name !== 'CAP_SYS_ADMIN'),
  );
  assert.deepEqual(of(['kill'], ['kill']), ['CAP_CHOWN']);
  assert.throws(() => of(['fly'], []), { code: 'ERR_CAPABILITY' });
});

test('no more is asked for than this host can give', () => {
  assert.deepEqual(possibleCapabilities(defaultCapabilities, '0000000000000021'), ['CAP_CHOWN', 'CAP_KILL']);
  assert.deepEqual(possibleCapabilities(allCapabilities, '1ffffffffff'), allCapabilities);
});
