import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Children, systemChildren } from '../../host/child.ts';
import { runBuilder } from './bootstrap.ts';

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
