/** A command about machines that is killed at any border of its plans is undone or finished by the next one. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { machineUnit } from '../../src/machine/drop-in.ts';
import { SystemdClient } from '../../src/systemd/client.ts';
import { spawnlet, system } from '../app/tools.ts';
import { type KilledCommand, useKilledCommand } from '../host/killed-command.ts';
import { createHere as create, here, machineHere as machine, statusHere as status } from './here.ts';
import { createWords, useBase, world } from './machines.ts';

let command: KilledCommand;
const runUntil = (border: number, words: readonly string[], borders?: 'calls') =>
  command.runUntil(border, ['machine', ...words], borders);

/**
 * Any next command: it says what it has cleaned up, and nothing else. Names of the machines that there are. The program itself is asked
 * once in a walk, within its first plan.
 */
async function nextCommand(at: string, border: number): Promise<string[]> {
  const words = ['machine', 'ls', '--quiet'];
  const { code, out, err } = await (border === 4 ? spawnlet(words) : here(words));
  assert.equal(code, 0, `${at}: ${err}`);
  assert.match(err, /^(cleaned up after '.*', which was cut off\n)?$/, at);
  return out.split('\n').filter(Boolean);
}

async function walk(least: number, visit: (border: number, at: string) => Promise<boolean>): Promise<void> {
  let border = 1;
  while (await visit(border, `killed at border ${border}`)) border++;
  assert.ok(border > least, `${border} borders: is anything journalled?`);
}

/** What a machine runs that is not to take the time of a boot. */
const sleeper = ['--no-boot', '--', '/bin/sleep', 'infinity'];

/** Waits until systemd has nothing in its queue for a machine. */
async function jobsEnd(name: string): Promise<void> {
  const signal = AbortSignal.timeout(60_000);
  await using client = await SystemdClient.connect({ signal });
  await client.waitUntil(machineUnit(name), ({ Job }) => Job === 0, signal);
}

/** Tests of clones of a base, whatever they are on the file system at hand. */
export function testKills(): void {
  let made: AsyncDisposable;
  let clean = '';

  before(async () => {
    command = await useKilledCommand();
    made = await useBase();
    // What the first machine leaves for all that follow.
    await create('first', '--enable');
    await machine('start', 'first');
    await machine('rm', '--force', 'first');
    clean = await world();
  });

  after(async () => {
    await made[Symbol.asyncDispose]();
    await command[Symbol.asyncDispose]();
  });

  test('a create that is killed between any two steps is gone', async () => {
    await walk(10, async (border, at) => {
      const stopped = await runUntil(border, createWords('w', '--enable'));
      const names = await nextCommand(at, border);
      assert.deepEqual(names, stopped ? [] : ['w'], at);
      if (!stopped) await machine('rm', 'w');
      assert.equal(await world(), clean, at);
      return stopped;
    });
  });

  test('a create --start that is killed is gone, or systemd starts what was made', async () => {
    const ends: string[] = [];
    await walk(8, async (border, at) => {
      const stopped = await runUntil(border, createWords('w', '--start'), 'calls');
      const [name] = await nextCommand(at, border);
      if (name === undefined) ends.push('gone');
      else {
        await jobsEnd('w');
        ends.push((await status('w')).state);
        await machine('rm', '--force', 'w');
      }
      assert.equal(await world(), clean, at);
      return stopped;
    });
    assert.match(ends.join(' '), /^(gone )+(running ?)+$/);
  });

  test('a clone that is killed between any two steps is gone, and its origin as it was', async () => {
    await create('origin');
    await system('sh', '-c', 'echo hello >/var/lib/machines/origin/srv/text');
    const before = await world();
    await walk(10, async (border, at) => {
      const stopped = await runUntil(border, ['clone', 'origin', 'w']);
      const names = await nextCommand(at, border);
      assert.deepEqual(names, stopped ? ['origin'] : ['origin', 'w'], at);
      if (!stopped) await machine('rm', 'w');
      assert.equal(await world(), before, at);
      return stopped;
    });
    await machine('rm', 'origin');
  });

  test('a snapshot that is killed between any two steps is gone', async () => {
    await create('kept');
    const before = await world();
    await walk(4, async (border, at) => {
      const stopped = await runUntil(border, ['snapshot', 'kept', 's']);
      await nextCommand(at, border);
      assert.equal(await machine('snapshots', '--quiet', 'kept'), stopped ? '' : 's\n', at);
      if (!stopped) await machine('rm', 'kept/s');
      // The first snapshot makes their directory, which stays.
      assert.equal((await world()).replaceAll(/^.*\/kept\/snapshots\n/gm, ''), before, at);
      return stopped;
    });
    await machine('rm', 'kept');
  });

  test('a rename that is killed has not begun, or is finished', async () => {
    await walk(8, async (border, at) => {
      await create('old', '--enable');
      await system('sh', '-c', 'echo hello >/var/lib/machines/old/srv/text');
      const stopped = await runUntil(border, ['rename', 'old', 'new']);
      const names = await nextCommand(at, border);
      assert.deepEqual(names, border === 1 ? ['old'] : ['new'], at);
      const [name = ''] = names;
      assert.equal(await system('cat', `/var/lib/machines/${name}/srv/text`), 'hello\n', at);
      assert.match(await system('systemctl', 'is-enabled', `systemd-nspawn@${name}`), /^enabled$/m, at);
      await machine('rm', name);
      assert.equal(await world(), clean, at);
      return stopped;
    });
  });

  test('an rm --force that is killed has not begun, or is finished', async () => {
    await walk(6, async (border, at) => {
      await create('w', '--enable', ...(border % 6 === 1 ? [] : sleeper));
      await machine('start', 'w');
      const stopped = await runUntil(border, ['rm', '--force', 'w']);
      const names = await nextCommand(at, border);
      assert.deepEqual(names, border === 1 ? ['w'] : [], at);
      if (names.length > 0) await machine('rm', '--force', 'w');
      assert.equal(await world(), clean, at);
      return stopped;
    });
  });

  test('a restore that is killed leaves the machine as it was, or as it was to be', async () => {
    await walk(5, async (border, at) => {
      await create('w', ...sleeper);
      const text = '/var/lib/machines/w/srv/text';
      await system('sh', '-c', `echo then >${text}`);
      await machine('snapshot', 'w', 's');
      await system('sh', '-c', `echo now >${text}`);
      const stopped = await runUntil(border, ['restore', 'w', 's']);
      await nextCommand(at, border);
      await machine('start', 'w');
      const is = await system('cat', text);
      assert.ok(is === 'then\n' || (stopped && is === 'now\n'), `${at}: ${is}`);
      await machine('rm', '--force', 'w');
      assert.equal(await world(), clean, at);
      return stopped;
    });
  });

  test('a start that is killed has not begun, or systemd finishes it; another start waits for nobody', async () => {
    await create('w');
    const states: string[] = [];
    await walk(8, async (border, at) => {
      const stopped = await runUntil(border, ['start', 'w'], 'calls');
      await nextCommand(at, border);
      await jobsEnd('w');
      const { state, leader } = await status('w');
      states.push(state);
      await machine('start', 'w');
      const now = await status('w');
      assert.equal(now.state, 'running', at);
      if (state === 'running') assert.equal(now.leader, leader, `${at}: it was started twice`);
      // Whoever changes it next is not kept out by locks of the dead.
      await machine('stop', '--force', 'w');
      await machine('set', '-q', 'w', `memory=${100 + border}m`);
      return stopped;
    });
    assert.match(states.join(' '), /^(stopped )+(running ?)+$/);
    assert.ok(states.filter(state => state === 'running').length > 2, states.join(' '));
    await machine('rm', 'w');
    assert.equal(await world(), clean);
  });

  test('an enable or a set that is killed has changed nothing', async () => {
    await create('w');
    const look = async () => `${await world()}${await machine('status', '-o', 'yaml', 'w')}`;
    for (const words of [
      ['enable', 'w'],
      ['set', '-q', 'w', 'memory=96m', 'bind=/srv'],
    ]) {
      const before = await look();
      await walk(3, async (border, at) => {
        const stopped = await runUntil(border, words);
        await nextCommand(at, border);
        assert.equal((await look()) === before, stopped, `${words.join(' ')} ${at}`);
        return stopped;
      });
    }
    await machine('rm', 'w');
    assert.equal(await world(), clean);
  });
}
