import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { exhausted, messageOf } from './error.ts';

test('a device that is full is told as such', async () => {
  const error = exhausted(await writeFile('/dev/full', 'x').catch((reason: unknown) => reason));
  assert.equal(error?.code, 'ERR_NO_SPACE');
  assert.match(error.message, /no space left on device/);
});

test('inotify instances and watches that are all in use are told with the setting that has more', () => {
  const full = (code: string) =>
    exhausted(Object.assign(new Error(`${code}: …, watch '/x'`), { code, syscall: 'watch' }));
  assert.equal(full('EMFILE')?.code, 'ERR_INOTIFY');
  assert.equal(full('EMFILE')?.hint, 'sysctl fs.inotify.max_user_instances=1024');
  assert.equal(full('ENOSPC')?.hint, 'sysctl fs.inotify.max_user_watches=524288');
});

test('files that a process leaves open are a defect', () => {
  assert.equal(exhausted(Object.assign(new Error('EMFILE'), { code: 'EMFILE', syscall: 'open' })), undefined);
});

test('several errors in one that says nothing are told one after the other', () => {
  assert.equal(messageOf(new AggregateError([new Error('no ::1'), 'no 127.0.0.1'])), 'no ::1; no 127.0.0.1');
  assert.equal(messageOf(new AggregateError([new Error('a')], 'all failed')), 'all failed');
});
