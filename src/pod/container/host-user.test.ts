import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parsePackageUnit } from '../../engine/host/package-unit.ts';
import type { SecurityContext } from '../api/kubernetes.ts';
import { hostUserOf } from './host-user.ts';

const directory = mkdtempSync(join(tmpdir(), 'host-user-'));
mkdirSync(join(directory, 'etc'));
writeFileSync(join(directory, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/false\n');
writeFileSync(join(directory, 'etc/group'), 'root:x:0:\nweb:x:33:\nlogs:x:4:web\n');
after(() => rmSync(directory, { recursive: true }));

const service = (lines: string) => parsePackageUnit(`[Service]\nExecStart=/bin/a\n${lines}\n`, 'a.service');
const userOf = (own: SecurityContext, pod: object = {}, of = service('')) => {
  const spec = { containers: [{ name: 'a', securityContext: own }], securityContext: pod };
  const { home: _home, ...user } = hostUserOf({ spec }, spec.containers[0] ?? { name: '' }, of, [
    { directory, opaque: new Set() },
  ]);
  return user;
};

test('the container names the user, else the pod, by number or name, else the unit of the package, else root', () => {
  const root = { as: 'packaged', ids: { uid: 0, gid: 0 }, isKnown: true, groups: [] };
  assert.deepEqual(userOf({}), root);
  assert.deepEqual(userOf({}, {}, service('User=web')).ids, { uid: 33, gid: 33 });
  assert.deepEqual(userOf({}, { windowsOptions: { runAsUserName: 'web' } }).as, 'given');
  assert.equal(userOf({ windowsOptions: { runAsUserName: 'web' } }, { runAsUser: 0 }).ids?.uid, 33);
  assert.equal(userOf({ runAsUser: 0 }, { windowsOptions: { runAsUserName: 'web' } }).ids?.uid, 0);
  assert.deepEqual(userOf({ runAsGroup: 4 }, {}, service('User=web')).ids, { uid: 33, gid: 4 });
  assert.throws(() => userOf({ windowsOptions: { runAsUserName: 'nobody-here' } }), { code: 'ERR_USER' });
});

test('numbers that the host does not know are told apart, and the groups of a user stay his', () => {
  assert.equal(userOf({ runAsUser: 33 }).isKnown, true);
  assert.equal(userOf({ runAsUser: 34 }).isKnown, false);
  assert.deepEqual(userOf({}, { fsGroup: 77 }, service('User=web')), {
    as: 'given',
    ids: { uid: 33, gid: 33 },
    isKnown: false,
    groups: [4, 77],
  });
});

test('a user whom the host knows in another way is left to systemd', () => {
  const user = { as: 'packaged', isKnown: true, groups: [] };
  assert.deepEqual(userOf({}, {}, service('User=from-a-directory')), user);
  assert.deepEqual(userOf({ runAsNonRoot: true }, {}, service('DynamicUser=yes')), user);
  assert.throws(() => userOf({ runAsNonRoot: true }), { code: 'ERR_RUN_AS_NON_ROOT' });
  assert.throws(() => userOf({}, { runAsNonRoot: true }, service('User=root')), {
    code: 'ERR_RUN_AS_NON_ROOT',
  });
});
