import assert from 'node:assert/strict';
import { test } from 'node:test';
import { passedOn } from './variables.ts';

test('values of variables are in the environment of who passes them on, not in its arguments', () => {
  assert.deepEqual(passedOn(['TOKEN=hunter2', 'B=x=y\nz', 'TOKEN=last']), {
    flags: ['--setenv=TOKEN', '--setenv=B', '--setenv=TOKEN'],
    env: { TOKEN: 'last', B: 'x=y\nz' },
  });
});

test('variables that would change the program that passes them on do not reach it', () => {
  const pairs = ['PATH=/x', 'LD_PRELOAD=/x.so', 'SYSTEMD_LOG_LEVEL=debug', 'HOME=/root', 'DBUS_X=1'];
  assert.deepEqual(passedOn(pairs), { flags: pairs.map(pair => `--setenv=${pair}`), env: {} });
});
