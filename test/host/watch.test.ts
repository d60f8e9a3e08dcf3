import assert from 'node:assert/strict';
import { test } from 'node:test';
import { check, systemChildren } from '../../src/host/child.ts';

/** Watches a directory, makes a file in it, and says what it was told once it is there. */
const script = (path: string) => `
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
const { watchDirectory } = await import(${JSON.stringify(path)});
const directory = mkdtempSync('/tmp/watch-');
const file = directory + '/here';
const watcher = watchDirectory(directory, name => {
  if (!existsSync(file)) return;
  watcher.close();
  rmSync(directory, { recursive: true });
  process.stdout.write(String(name));
});
writeFileSync(file, '');
`;

async function told(...within: readonly string[]): Promise<string> {
  const path = new URL('../../src/host/watch.ts', import.meta.url).href;
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', '--input-type=module'];
  const late = AbortSignal.timeout(20_000);
  return String(await check(systemChildren, [...within, ...node, '--eval', script(path)], { signal: late }));
}

/** Of another user than the tests', who may read what they read; inotify_init1(2) until there are no more. */
const exhausted = [
  'sh',
  '-c',
  'ulimit -n "$(ulimit -H -n)"; exec "$@"',
  'sh',
  ...'setpriv --reuid=65534 --regid=65534 --clear-groups'.split(' '),
  ...'--inh-caps=+dac_read_search --ambient-caps=+dac_read_search'.split(' '),
  'perl',
  '-e',
  `1 while syscall(${process.arch === 'arm64' ? 26 : 294}, 0) >= 0; exec @ARGV or die`,
];

test('a change in a directory is noticed, also where all inotify instances of the user are in use', async () => {
  assert.equal(await told(...exhausted), 'null');
  assert.match(await told(), /^(?:here|null)$/);
});
