import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePackageUnit } from './package-unit.ts';

const service = (lines: string) => parsePackageUnit(`[Unit]\nAfter=x\n[Service]\n${lines}\n`, 'web.service');

test('what a program needs is taken over, and what places it among other units or opens the host is not', () => {
  const found = service(`Type=notify
NotifyAccess=all
ExecStartPre=/bin/mkdir -p /x
ExecStart=/usr/bin/web --name %n $ARGS
User=web
Group=www
EnvironmentFile=-/etc/default/web
LimitNOFILE=4096
ReadWritePaths=/
BindPaths=/etc:/etc
Restart=always
RemainAfterExit=yes
Slice=system.slice
RuntimeDirectory=web web/sub:link
CapabilityBoundingSet=CAP_NET_BIND_SERVICE`);
  assert.deepEqual(
    [found?.type, found?.start, found?.startPre, found?.user, found?.group],
    ['notify', ['/usr/bin/web --name web.service $ARGS'], ['/bin/mkdir -p /x'], 'web', 'www'],
  );
  assert.deepEqual(found?.kept, [
    ['EnvironmentFile', '-/etc/default/web'],
    ['LimitNOFILE', '4096'],
  ]);
  assert.deepEqual(found?.runtimeDirectories, ['web', 'web/sub']);
  assert.deepEqual(found?.boundingSet, ['CAP_NET_BIND_SERVICE']);
});

test('an empty value takes back what stood before it, and a unit that starts nothing is none', () => {
  assert.deepEqual(service('ExecStart=/bin/a\nExecStart=\nExecStart=/bin/b')?.start, ['/bin/b']);
  assert.equal(service('Type=oneshot\nExecStart=/bin/a\nExecStart='), undefined);
  assert.equal(parsePackageUnit('', 'a.service'), undefined);
});

test('a type without the bus, and one of a single command, is that of a program that is followed', () => {
  const types = ['simple', 'idle', 'dbus', 'oneshot', 'forking', 'exec'].map(
    type => service(`Type=${type}\nExecStart=/bin/a`)?.type,
  );
  assert.deepEqual(types, ['exec', 'exec', 'exec', 'exec', 'forking', 'exec']);
  assert.equal(service('Type=oneshot\nExecStart=/bin/a\nExecStart=/bin/b')?.type, 'oneshot');
  assert.equal(service('ExecStart=/bin/a')?.type, 'exec');
});
