// runs in a lab: bookworm trixie
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

test('a test file runs in a lab with systemd as PID 1', () => {
  assert.match(execFileSync('systemctl', ['is-system-running'], { encoding: 'utf8' }), /^running/);
});
