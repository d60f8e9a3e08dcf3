import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeFiles } from '../../host/files.ts';
import { networkOf } from './directory.ts';

const list = (name: string) => JSON.stringify({ cniVersion: '1.0.0', name, plugins: [{ type: 'bridge' }] });
const one = (name: string) => JSON.stringify({ cniVersion: '0.4.0', name, type: 'ptp', ipam: {} });

async function found(entries: Readonly<Record<string, string>>) {
  const files = new FakeFiles();
  await files.makeDirectory('/net.d', 0o755);
  for (const [name, text] of Object.entries(entries)) await files.write(`/net.d/${name}`, text, 0o644);
  const { network, file } = (await networkOf(files, '/net.d')) ?? {};
  return [file, network?.name, network?.plugins.map(({ type }) => type).join()];
}

test('the first file by name has the network, whether it is a list or one plugin', async () => {
  assert.deepEqual(await found({}), [undefined, undefined, undefined]);
  assert.deepEqual(await found({ README: 'x', '.conf~': 'y', '99-a.txt': 'z' }), [
    undefined,
    undefined,
    undefined,
  ]);
  const both = { '20-b.conflist': list('b'), '10-a.conf': one('a') };
  assert.deepEqual(await found(both), ['/net.d/10-a.conf', 'a', 'ptp']);
  assert.deepEqual(await found({ ...both, '05-c.json': list('c') }), ['/net.d/05-c.json', 'c', 'bridge']);
});

test('a file that is wrong is told, and the next one does not take its place', async () => {
  for (const text of ['', '{', '[]', '{"type":"bridge"}', '{"cniVersion":"9","name":"a","plugins":[]}'])
    await assert.rejects(found({ '10-a.conf': text, '20-b.conflist': list('b') }), (error: Error) =>
      error.message.startsWith('/net.d/10-a.conf: '),
    );
});
