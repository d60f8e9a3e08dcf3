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

test('a change in a directory is noticed, also where all inotify instances of the user are in use', async () => {
  const exhausted = 'echo 0 >/proc/sys/user/max_inotify_instances; exec "$@"';
  assert.equal(await told('unshare', '--user', '--map-root-user', 'sh', '-c', exhausted, 'sh'), 'null');
  assert.match(await told(), /^(?:here|null)$/);
});
