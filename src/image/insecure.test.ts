import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeFiles } from '../host/files.ts';
import { isLoopback } from './http.ts';
import { insecureRegistries, insecureRule } from './insecure.ts';

describe('a registry without TLS', () => {
  it('is one that is listed with its port, or lies in a listed network', () => {
    const rule = insecureRule(['reg.lan:5000', 'plain.lan', '10.1.0.0/16', 'fd00::/8']);
    for (const host of ['reg.lan:5000', 'plain.lan', '10.1.2.3:5000', '10.1.2.3', '[fd00::1]:5000'])
      assert.equal(rule(host), true, host);
    for (const host of [
      'reg.lan',
      'reg.lan:5001',
      'plain.lan:80',
      '10.2.0.1:5000',
      '[fe80::1]',
      'xplain.lan',
    ])
      assert.equal(rule(host), false, host);
  });

  it('may be this machine, by its own names only', () => {
    for (const host of ['localhost', 'localhost:5000', '127.0.0.1:1', '127.9.9.9', '[::1]:5000'])
      assert.equal(isLoopback(host), true, host);
    for (const host of ['localhost.evil.com', '127.0.0.1.evil.com', '128.0.0.1', '10.0.0.1:5000', '[::2]'])
      assert.equal(isLoopback(host), false, host);
  });

  it('is not listed by an entry that is neither host nor network', () => {
    for (const entry of ['', 'a b', '10.0.0.0/33', '10.0.0/8', 'host/path', '::/129'])
      assert.throws(() => insecureRule([entry]), { code: 'ERR_SETTINGS' }, entry);
  });
});

describe('insecureRegistries in the settings', () => {
  async function read(text?: string): Promise<string[]> {
    const files = new FakeFiles();
    if (text !== undefined) await files.write('/config.yaml', text, 0o644);
    return await insecureRegistries(files, '/config.yaml');
  }

  it('is a list, or nothing', async () => {
    assert.deepEqual(await read('insecureRegistries: ["10.0.0.1:5000", reg.lan]'), [
      '10.0.0.1:5000',
      'reg.lan',
    ]);
    for (const text of [undefined, '', '# nothing yet', 'insecureRegistries:'])
      assert.deepEqual(await read(text), []);
  });

  it('that is something else is refused', async () => {
    for (const text of ['insecureRegistries: reg.lan', 'insecureRegistries: [5000]', 'a: ]'])
      await assert.rejects(read(text), { code: 'ERR_SETTINGS', hint: /./ });
  });

  it('has no neighbour that nobody knows: it may be misspelled', async () => {
    await assert.rejects(read('insecureRegistrys: [reg.lan]'), {
      code: 'ERR_SETTINGS',
      message: /"insecureRegistrys"/,
      hint: /it has insecureRegistries/,
    });
    for (const text of ['- reg.lan', 'reg.lan'])
      await assert.rejects(read(text), { code: 'ERR_SETTINGS', hint: /it has insecureRegistries/ });
  });
});
