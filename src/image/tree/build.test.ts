import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeFiles } from '../../host/files.ts';
import { stoppedMachine } from './build.ts';

for (const [state, is] of [
  ['active', 'refused'],
  ['activating', 'refused'],
  ['deactivating', 'refused'],
  ['reloading', 'refused'],
  ['inactive', 'taken'],
  ['failed', 'taken'],
  ['unknown', 'taken'],
] as const)
  test(`the tree of a machine that is ${state} is ${is}`, async () => {
    const files = new FakeFiles();
    await files.makeDirectory('/var/lib/machines/web', 0o755);
    const children = {
      capture: async () => ({ code: 3, stdout: Buffer.from(`${state}\n`), stderr: '' }),
      spawn: () => assert.fail('nothing is started'),
    };
    const found = stoppedMachine({ children, files }, 'web');
    if (is === 'taken') assert.equal(await found, '/var/lib/machines/web');
    else await assert.rejects(found, { code: 'ERR_TREE_SOURCE', message: /runs/ });
  });
