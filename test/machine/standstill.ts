/** A machine stays as it is while it is copied: whoever wants to start it is refused. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { makeContext } from '../../src/context.ts';
import { systemChildren } from '../../src/host/child.ts';
import type { MachineChange } from '../../src/machine/api.ts';
import { system, words } from '../app/tools.ts';
import { createHere as create, machineHere as machine, statusHere as status } from './here.ts';
import { useBase } from './machines.ts';

/** Does a change in this process, and calls `visit` once: at the first border between two steps where `when` holds. */
async function interrupted(
  change: MachineChange,
  when: () => boolean,
  visit: () => Promise<void>,
): Promise<void> {
  let visited = false;
  const border = async () => {
    if (visited || !when()) return;
    visited = true;
    await visit();
  };
  await using context = await makeContext(['machine', change.do], { border });
  await (await context.machines()).perform(change, AbortSignal.timeout(60_000));
  assert.ok(visited, `${change.do} was not interrupted`);
}

const copies: readonly (readonly [change: MachineChange, undo: string])[] = [
  [{ do: 'snapshot', name: 'calm', snapshot: 'one' }, 'spawnlet machine rm calm/one'],
  [{ do: 'clone', name: 'calm', to: 'other', start: false }, 'spawnlet machine rm other'],
  [{ do: 'export', name: 'calm', file: '/root/calm.tar' }, 'rm /root/calm.tar'],
  [{ do: 'eject', name: 'calm' }, 'spawnlet machine adopt calm'],
];

/** Tests of clones of a base, whatever they are on the file system at hand. */
export function testStandstill(): void {
  let made: AsyncDisposable;

  before(async () => {
    made = await useBase();
  });

  after(() => made[Symbol.asyncDispose]());

  test('a machine that is copied cannot be started by hand meanwhile, and can afterwards', async () => {
    const lock = '/var/lib/machines/.#calm.lck';
    const start = () => systemChildren.capture(['systemctl', 'start', 'systemd-nspawn@calm']);
    await create('calm');
    // A tree that is no overlay is ejected as it is.
    const { tree } = await status('calm');
    for (const [change, undo] of copies) {
      if (change.do === 'eject' && tree.kind !== 'overlay') continue;
      await interrupted(
        change,
        () => existsSync(lock),
        async () => {
          assert.equal((await start()).code, 1, change.do);
          await system('systemctl', 'reset-failed', 'systemd-nspawn@calm');
        },
      );
      assert.ok(!existsSync(lock), change.do);
      assert.equal((await start()).code, 0, change.do);
      await system('systemctl', 'stop', 'systemd-nspawn@calm');
      await rm(lock, { force: true });
      await system('sh', '-c', undo.replace('spawnlet', words().join(' ')));
    }
    const said = await system('journalctl', '--no-pager', '--unit=systemd-nspawn@calm');
    // One that is gone before journald has looked at it is not always known for the unit's.
    assert.match(said, /tree \/var\/lib\/machines\/calm is currently busy/);
    await machine('rm', 'calm');
    await rm('/var/lib/machines/calm', { recursive: true, force: true });
  });

  test('a machine that is started by hand before it can be copied is not, and nothing is left of the copy', async () => {
    await create('late');
    // Of what it is itself, the directory of snapshots alone may come, and stay.
    const made = () =>
      system(
        'sh',
        '-c',
        'find /var/lib/spawnlet/machine /var/lib/spawnlet/journal /var/lib/machines /root -maxdepth 4 -not -path "*/late/*" -o -path "*/late/snapshots/*"',
      );
    const before = await made();
    for (const [change] of copies.slice(0, 3)) {
      const early = interrupted(
        'name' in change ? { ...change, name: 'late' } : change,
        () => true,
        async () => void (await system('systemctl', 'start', 'systemd-nspawn@late')),
      );
      await assert.rejects(early, { code: 'ERR_RUNNING' });
      assert.equal((await status('late')).state, 'running');
      await machine('stop', 'late');
      await rm('/var/lib/machines/.#late.lck', { force: true });
      assert.equal(await made(), before, change.do);
    }
    await machine('rm', 'late');
  });
}
