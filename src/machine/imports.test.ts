import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainSpec } from '../../test/harness/machine-spec.ts';
import { FakeFiles } from '../host/files.ts';
import { FakeLocks } from '../host/lock.ts';
import { importedSpec } from './archive.ts';
import { importPlace, sweepImports } from './imports.ts';
import { lockOf } from './places.ts';

test('what a killed import has unpacked is removed, and that of one under way is not', async () => {
  const files = new FakeFiles();
  const locks = new FakeLocks();
  for (const name of ['gone', 'busy']) await files.makeDirectory(importPlace(name), 0o700);
  await files.makeDirectory('/var/lib/machines/web', 0o700);
  {
    await using _busy = await locks.take(lockOf('busy'));
    await sweepImports({ files, locks });
  }
  assert.deepEqual(await files.list('/var/lib/machines'), ['.#busy.import', 'web']);
  await sweepImports({ files, locks });
  assert.deepEqual(await files.list('/var/lib/machines'), ['web']);
});

test('an imported machine keeps its ports and its addresses elsewhere, and none on the other host’s bridge', () => {
  const addressing = { addresses: ['10.153.0.9/22'], gateways: ['10.153.0.1'], dns: ['10.153.0.1'] };
  const port = { protocol: 'tcp', hostPort: 80, port: 80 } as const;
  const nat = { kind: 'nat', ports: [port], name: 'host0' } as const;
  const lan = { kind: 'bridge', bridge: 'br0', name: 'host1', ...addressing } as const;
  const packed = {
    ...plainSpec,
    enabled: true,
    network: { kind: 'private', interfaces: [{ ...nat, ...addressing }, lan] },
  } as const;
  const { network, enabled, name } = importedSpec(packed, 'new', '/tmp/web.tar');
  assert.deepEqual(network, {
    kind: 'private',
    interfaces: [{ ...nat, addresses: [], gateways: [], dns: [] }, lan],
  });
  assert.deepEqual([enabled, name], [false, 'new']);
});
