import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Children, systemChildren } from '../../host/child.ts';
import { packageMissing, runBuilder } from './bootstrap.ts';

test('a builder that is aborted has ended when the reason is thrown', async () => {
  const abort = new AbortController();
  const reason = new Error('enough');
  let ended = false;
  const children: Children = {
    ...systemChildren,
    spawn: (_argv, options) =>
      systemChildren.spawn(['sleep', '1000'], options).once('close', () => (ended = true)),
  };
  const failed = () => assert.fail('it has not failed');
  const run = runBuilder(children, ['mmdebstrap'], failed, () => undefined, abort.signal);
  setImmediate(() => abort.abort(reason));
  await assert.rejects(run, reason);
  assert.ok(ended);
});

test('a package that is not there is found in what apt says', () => {
  const said =
    'E: Unable to locate package no-such-package\nE: apt-get --yes install failed: process exited with 100\n';
  assert.equal(packageMissing(said), 'no-such-package');
  assert.equal(packageMissing('E: Failed to fetch http://deb.debian.org/debian'), undefined);
});
