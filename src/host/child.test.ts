import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { check, ended, FakeChildren, programMissing, systemChildren } from './child.ts';

describe('a child', () => {
  test('gives its exit code and what it wrote, streams apart, byte for byte', async () => {
    const script = String.raw`printf '\377\000a'; printf 'said' >&2; exit 7`;
    const { code, stdout, stderr } = await systemChildren.capture(['sh', '-c', script]);
    assert.deepEqual({ code, stderr, bytes: [...stdout] }, { code: 7, stderr: 'said', bytes: [255, 0, 97] });
  });

  test('that a signal has ended has 128 and its number, as in a shell', async () => {
    for (const [name, code] of [
      ['TERM', 143],
      ['KILL', 137],
      ['HUP', 129],
    ] as const)
      assert.equal((await systemChildren.capture(['sh', '-c', `kill -${name} $$`])).code, code);
  });

  test('that is not there is an error that names its package', async () => {
    await assert.rejects(systemChildren.capture(['no-such-program', 'x']), {
      code: 'ERR_PROGRAM_MISSING',
      message: 'no-such-program is not installed',
    });
    const { code, hint } = programMissing('/usr/bin/systemd-nspawn');
    assert.deepEqual([code, hint], ['ERR_PROGRAM_MISSING', 'apt-get install systemd-container']);
    await assert.rejects(ended(systemChildren.spawn(['no-such-program'], {})), { code: 'ENOENT' });
  });

  test('gets its input to the end, and may end before it has read it', async () => {
    const input = 'x'.repeat(1 << 20);
    assert.equal((await systemChildren.capture(['wc', '-c'], { input })).stdout.toString().trim(), '1048576');
    assert.equal((await systemChildren.capture(['sh', '-c', 'exec 0<&-; exit 3'], { input })).code, 3);
    assert.equal((await systemChildren.capture(['cat'])).stdout.length, 0);
  });

  test('runs where and with what it is told', async () => {
    const { stdout } = await systemChildren.capture(['/bin/sh', '-c', 'pwd; echo $A; echo ${HOME-none}'], {
      cwd: '/proc',
      env: { A: 'b c' },
    });
    assert.equal(stdout.toString(), '/proc\nb c\nnone\n');
  });

  test('that is aborted is ended, and the reason is thrown', async () => {
    const abort = new AbortController();
    const reason = new Error('enough');
    const run = systemChildren.capture(['sh', '-c', 'echo $$; exec sleep 1000'], { signal: abort.signal });
    setImmediate(() => abort.abort(reason));
    await assert.rejects(run, reason);
    await assert.rejects(systemChildren.capture(['sleep', '1000'], { signal: abort.signal }), reason);
  });

  test('whose exit code is checked is an error that carries what it said', async () => {
    assert.equal((await check(systemChildren, ['echo', 'fine'])).toString(), 'fine\n');
    await assert.rejects(check(systemChildren, ['sh', '-c', 'echo because >&2; exit 4']), {
      code: 'ERR_PROGRAM_FAILED',
      message: /ended with 4: because$/,
    });
  });
});

test('fake children answer by their first word, know what was asked, and miss what they have no answer for', async () => {
  const children = new FakeChildren({ ip: argv => ({ code: argv.length, stderr: 'no' }) });
  assert.deepEqual(await children.capture(['ip', 'link']), {
    code: 2,
    stdout: Buffer.alloc(0),
    stderr: 'no',
  });
  await assert.rejects(children.capture(['nft']), {
    code: 'ERR_PROGRAM_MISSING',
    hint: 'apt-get install nftables',
  });
  assert.deepEqual(children.calls, [['ip', 'link'], ['nft']]);
});
